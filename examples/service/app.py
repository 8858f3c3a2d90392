"""An HTTP service over bundles: pictures are classified, prompts are continued.

    python examples/service/app.py digits.bundle text.bundle --port 8000
    EDGEDL_BUNDLE=digits.bundle:text.bundle uvicorn examples.service.app:app

    POST /classify   a PNG or JPEG, or {"pixels": [[0, 255, ...], ...]} as application/json
    POST /generate   {"prompt": "Once", "seed": 1} and what else `Prompt` has; text in chunks
    GET  /health     200 while a golden case still gets the answer that was proved at start
    GET  /stats      counters

Every error is {"error": cause, "hint": next step}: 400 bad input, 404 no model for this,
413 body too large, 503 (with Retry-After) too many at once. Needs `edgedl[service]`;
configured by the environment, see `Settings`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import msgspec
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from edgedl import __version__, runtime
from edgedl.images import decode_image
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import ImageClassification, TextGeneration

SEND = "send a PNG or JPEG, or JSON with `content-type: application/json`"
RETRY_AFTER_S = "1"
MOST_PIXELS = 16_000_000  # of a picture before it is resized: 64 MB while it is unpacked
FORMATS = ("PNG", "JPEG")
DECODERS = 2  # pictures unpacked at the same time
STOPPING_S = 10  # for what still runs when the service is told to stop
Asked = TypeVar("Asked")
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True):
    """What the environment sets: EDGEDL_BUNDLE, EDGEDL_VARIANT, EDGEDL_MAX_BATCH and so on."""

    bundle: str = ""  # paths, separated as in PATH; at most one for each task
    variant: str | None = None  # of every bundle; each one's default where not given
    device: str = "cpu"
    threads: Positive | None = None  # all that the process may use where not given
    max_batch: Positive = 8
    max_wait_ms: float = 2.0
    max_queue: Positive = 64
    max_streams: Positive = 4  # texts that are written at the same time
    max_prompt: Positive = 10_000  # characters
    max_tokens: Positive = 2000
    max_body: Positive = 4_000_000  # bytes


def settings_in(environment: Mapping[str, str]) -> Settings:
    """The settings in EDGEDL_*; InputError where a value means nothing."""
    given = {
        name.removeprefix("EDGEDL_").lower(): value
        for name, value in environment.items()
        if name.startswith("EDGEDL_")
    }
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise runtime.InputError(f"the environment's EDGEDL_*: {error}") from None


class Picture(msgspec.Struct, forbid_unknown_fields=True):
    """Pixels as JSON: rows of numbers from 0 to 255, or rows of lists of channels."""

    pixels: list[list[Any]]


class Prompt(msgspec.Struct, forbid_unknown_fields=True):
    """What to continue and how; see `TextGenerator.generate`."""

    prompt: str
    max_tokens: int = 200
    temperature: float = 0.8
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_k: int | None = None
    top_p: float = 1.0
    stop: list[str] = []


class Texts:
    """Writes texts, each in one thread, at most `most` at the same time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.writing = 0
        self._threads = ThreadPoolExecutor(most, "text")
        self._stopping = threading.Event()

    async def write(self, pieces: Iterator[str]) -> AsyncIterator[str]:
        """The pieces as they are written; ends when the client goes.

        What a slow client hasn't read yet is kept: no more than `max_tokens` pieces.
        """
        loop, ready = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        gone = threading.Event()

        def write() -> None:
            try:
                for piece in pieces:
                    if gone.is_set() or self._stopping.is_set():
                        return
                    loop.call_soon_threadsafe(ready.put_nowait, piece)
            finally:
                loop.call_soon_threadsafe(ready.put_nowait, None)

        self.writing += 1
        try:
            done = loop.run_in_executor(self._threads, write)
            while (piece := await ready.get()) is not None:
                yield piece
                # Nothing above waits while text is there: others would, and so would the
                # news that the client is gone.
                await asyncio.sleep(0)
            await done  # raises what ended it early
        finally:
            self.writing -= 1
            gone.set()

    def close(self) -> None:
        """End after the token that is being made."""
        self._stopping.set()
        self._threads.shutdown()


@dataclass(frozen=True)
class Served:
    """Everything that is loaded while the service runs."""

    settings: Settings
    proofs: tuple[runtime.Proof, ...]
    classifier: runtime.Classifier | None
    batcher: runtime.Batcher | None
    generator: runtime.TextGenerator | None
    texts: Texts
    decoders: anyio.CapacityLimiter
    started: float = field(default_factory=time.monotonic)


def load_models(settings: Settings) -> list[runtime.Model]:
    """Every bundle's model, at most one for each task."""
    models: list[runtime.Model] = []
    for path in filter(None, settings.bundle.split(os.pathsep)):
        model = runtime.load(path, settings.variant, settings.device, settings.threads)
        task = type(model.manifest.task)
        if task is type(None) or any(type(m.manifest.task) is task for m in models):
            raise runtime.InputError(f"{path} has no task of its own", "give one bundle a task")
        models.append(model)
    if not models:
        raise runtime.InputError("no bundle is given", "name them, or set EDGEDL_BUNDLE")
    return models


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Served]:
    """The models, loaded and proved; what waits is answered before they go."""
    async with AsyncExitStack() as stack:
        models = load_models(settings)
        for model in models:
            stack.enter_context(model)
        proofs = tuple(runtime.prove(model) for model in models)
        image, text = of_task(models, ImageClassification), of_task(models, TextGeneration)
        batcher = None
        if image is not None:
            wait_s = settings.max_wait_ms / 1000
            batcher = runtime.Batcher(image, settings.max_batch, wait_s, settings.max_queue)
            await stack.enter_async_context(batcher)
        yield Served(
            settings,
            proofs,
            image.classifier() if image else None,
            batcher,
            text.generator() if text else None,
            stack.enter_context(closing(Texts(settings.max_streams))),
            anyio.CapacityLimiter(DECODERS),
        )


def of_task(models: Sequence[runtime.Model], task: type) -> runtime.Model | None:
    """The model for a task, if there is one."""
    return next((m for m in models if isinstance(m.manifest.task, task)), None)


async def classify(request: Request) -> Response:
    """The label and score of a picture."""
    served: Served = request.state.served
    if served.classifier is None or served.batcher is None:
        raise HTTPException(404, "no image classifier is loaded")
    content = await body(request, served.settings.max_body)
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    size = served.classifier.image_size
    if kind == "application/json":
        pixels = pixels_of(decoded(content, Picture))
    else:
        unpack = partial(decode_image, content, size, "the body", SEND, MOST_PIXELS, FORMATS)
        pixels = await anyio.to_thread.run_sync(unpack, limiter=served.decoders)
    task = served.classifier.task
    outputs = await served.batcher.run(**{task.input: served.classifier.prepare(pixels)})
    found = served.classifier.prediction(outputs)
    return answer({"label": found.label, "score": found.score, "scores": found.scores})


async def generate(request: Request) -> Response:
    """The text after a prompt, in chunks as it is written."""
    served: Served = request.state.served
    if served.generator is None:
        raise HTTPException(404, "no text generator is loaded")
    wanted = decoded(await body(request, served.settings.max_body), Prompt)
    if len(wanted.prompt) > served.settings.max_prompt:
        raise runtime.InputError(f"a prompt has at most {served.settings.max_prompt} characters")
    if wanted.max_tokens > served.settings.max_tokens:
        raise runtime.InputError(f"max_tokens is at most {served.settings.max_tokens}")
    if served.texts.writing >= served.texts.most:
        raise HTTPException(503, f"{served.texts.most} texts are being written already")
    pieces = served.generator.generate(**msgspec.structs.asdict(wanted))
    written = served.texts.write(pieces)
    return StreamingResponse(written, media_type="text/plain; charset=utf-8")


async def health(request: Request) -> Response:
    """Whether every model still answers what it answered when it was proved."""
    served: Served = request.state.served
    models = [
        {
            "name": proof.model.manifest.name,
            "variant": proof.model.variant.name,
            "device": proof.model.device,
            "threads": proof.model.settings.threads,
            "ok": await anyio.to_thread.run_sync(proof.holds),
        }
        for proof in served.proofs
    ]
    well = all(model["ok"] for model in models)
    state = {"status": "ok" if well else "failed", "edgedl": __version__, "models": models}
    return answer(state, 200 if well else 503)


async def stats(request: Request) -> Response:
    """Counters since the start."""
    served: Served = request.state.served
    counters: dict[str, Any] = {"uptime_s": round(time.monotonic() - served.started, 3)}
    if served.batcher is not None:
        done = served.batcher.stats
        counters["classify"] = {**asdict(done), "mean_batch": done.mean_batch}
    if served.generator is not None:
        counters["generate"] = {"writing": served.texts.writing}
    return answer(counters)


async def body(request: Request, most: int) -> bytes:
    """The request's body, of at most so many bytes; what is more is not read."""
    content, declared = bytearray(), request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise HTTPException(413, f"the body has {declared} bytes; at most {most} are read")
    async for piece in request.stream():
        content += piece
        if len(content) > most:
            raise HTTPException(413, f"the body is too large; at most {most} bytes are read")
    return bytes(content)


def decoded(content: bytes, kind: type[Asked]) -> Asked:
    """A JSON body as what it should be."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise runtime.InputError(f"the body is not what is asked for: {error}") from None


def pixels_of(picture: Picture) -> Array:
    """uint8 pixels, (height, width) or (height, width, channels)."""
    try:
        pixels = np.array(picture.pixels)
    except ValueError:
        raise runtime.InputError("the pixels' rows differ in length") from None
    if pixels.dtype.kind not in "iu" or not pixels.size or pixels.min() < 0 or pixels.max() > 255:
        raise runtime.InputError("pixels are whole numbers from 0 to 255")
    return pixels.astype(np.uint8)


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; what is not a number becomes null."""
    return Response(msgspec.json.encode(content), status, headers, "application/json")


REFUSED = (HTTPException, ClientDisconnect, runtime.EdgedlError)


async def refused(request: Request, error: Exception) -> Response:
    """What went wrong and what to do, in a line each."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)  # nobody reads it
    if isinstance(error, HTTPException):
        status, cause, hint = error.status_code, error.detail, ""
    else:
        assert isinstance(error, runtime.EdgedlError)
        statuses = {runtime.InputError: 400, runtime.QueueFullError: 503}
        status, cause, hint = statuses.get(type(error), 500), error.message, error.hint
    again = {"retry-after": RETRY_AFTER_S} if status == 503 else None
    return answer({"error": " ".join(cause.split()), "hint": hint}, status, again)


class Service:
    """The ASGI application; without settings they are the environment's when it starts.

    A start that fails for a reason a person can act on is one line in the server's log, and
    is kept in `failure`.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings
        self.failure: runtime.EdgedlError | None = None
        self._starlette = Starlette(
            routes=[
                Route("/classify", classify, methods=["POST"]),
                Route("/generate", generate, methods=["POST"]),
                Route("/health", health),
                Route("/stats", stats),
            ],
            exception_handlers=dict.fromkeys(REFUSED, refused),
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; a start that failed says so in one line instead of Starlette's traceback."""

        async def say(message: Message) -> None:
            if self.failure is not None and message["type"] == "lifespan.startup.failed":
                hint = f" ({self.failure.hint})" if self.failure.hint else ""
                message = {**message, "message": f"error: {self.failure}{hint}"}
            await send(message)

        await self._starlette(scope, receive, say if scope["type"] == "lifespan" else send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[dict[str, Any]]:
        try:
            settings = self.settings or settings_in(os.environ)
            async with serving(settings) as served:
                yield {"served": served}
        except runtime.EdgedlError as error:
            self.failure = error
            raise


app = Service()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="instead of EDGEDL_BUNDLE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    given = parser.parse_args(arguments)
    if given.bundles:
        os.environ["EDGEDL_BUNDLE"] = os.pathsep.join(given.bundles)
    config = uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        access_log=False,
        lifespan="on",
        limit_concurrency=500,
        timeout_graceful_shutdown=STOPPING_S,
    )
    try:
        uvicorn.Server(config).run()
    except KeyboardInterrupt:
        return 0  # uvicorn has stopped in order, and raises it again
    except SystemExit:
        return app.failure.exit_code if app.failure else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
