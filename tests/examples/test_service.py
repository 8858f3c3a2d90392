"""The HTTP service as a person runs it: a process of its own, asked over loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from edgedl import runtime
from tests.graphs import (
    LABELS,
    TOKENS,
    change_manifest,
    classifier_weights,
    replace_variant,
    write_classifier_bundle,
)

pytest.importorskip("uvicorn")

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}
NESTED = b'{"pixels": ' + b"[" * 2400 + b"]" * 2400 + b"}"


@dataclass(frozen=True)
class Reply:
    """An HTTP response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Running:
    """A service's process and its port on loopback."""

    process: subprocess.Popen[str]
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """GET, or POST where there is a body; a dict goes as JSON."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), {**JSON, **(headers or {})}
        connection = self.connect()
        try:
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            got = connection.getresponse()
            fields = {name.lower(): value for name, value in got.getheaders()}
            return Reply(got.status, fields, got.read())
        finally:
            connection.close()

    def counted(self, condition: Callable[[dict[str, int]], bool]) -> None:
        """Wait until the classifier's counters are like that."""
        end = time.monotonic() + 30
        while not condition(self.ask("/stats").json["classify"]):
            assert time.monotonic() < end
            time.sleep(0.01)

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; the exit code, and what stood on stderr since the start."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


def launch(*arguments: object, **settings: object) -> subprocess.Popen[str]:
    environment = {f"EDGEDL_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def service(*bundles: Path, **settings: object) -> Iterator[Running]:
    """The example as it is run, on a free port, ready."""
    process = launch("examples/service/app.py", *bundles, "--port", 0, **settings)
    try:
        yield Running(process, _port(process))
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _port(process: subprocess.Popen[str]) -> int:
    said = []
    for line in process.stderr or ():
        said.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(said))


@pytest.fixture(scope="module")
def running(classifier_bundle: Path, text_bundle: Path) -> Iterator[Running]:
    """Both tasks; a request waits long enough for others that come with it."""
    with service(
        classifier_bundle, text_bundle, max_wait_ms=100, max_body=5000, max_tokens=300
    ) as started:
        yield started


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8)


def picture(kind: str, seed: int = 0) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, kind)
    return buffer.getvalue()


def test_a_picture_gets_the_models_label_and_scores(
    running: Running, classifier_bundle: Path
) -> None:
    expected = runtime.load(classifier_bundle, threads=1).classifier().classify(pixels(0))
    for reply in (
        running.ask("/classify", picture("PNG"), {"content-type": "image/png"}),
        running.ask("/classify", {"pixels": pixels(0).tolist()}),
        running.ask("/classify", {"pixels": pixels(0)[..., None].tolist()}),
    ):
        assert reply.status == 200, reply.body
        assert reply.json["label"] == expected.label
        assert reply.json["score"] == pytest.approx(expected.score, rel=1e-4)
        assert reply.json["scores"] == pytest.approx(expected.scores, rel=1e-4)
    jpeg = running.ask("/classify", picture("JPEG"))
    assert (jpeg.status, jpeg.json["label"] in LABELS) == (200, True)


def test_concurrent_requests_share_batches_and_get_their_own_answers(
    running: Running, classifier_bundle: Path
) -> None:
    classifier = runtime.load(classifier_bundle, threads=1).classifier()
    before = running.ask("/stats").json["classify"]
    with ThreadPoolExecutor(16) as threads:
        replies = list(
            threads.map(lambda seed: running.ask("/classify", picture("PNG", seed)), range(32))
        )
    after = running.ask("/stats").json["classify"]
    for seed, reply in enumerate(replies):
        expected = classifier.classify(pixels(seed)).scores
        assert reply.json["scores"] == pytest.approx(expected, rel=1e-4), seed
    assert after["requests"] - before["requests"] == 32
    assert after["batches"] - before["batches"] < 32


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/classify", b"no picture", {}, 400, "the body is not an image"),
        ("/classify", b"", {}, 400, "the body is not an image"),
        ("/classify", picture("GIF"), {}, 400, "the body is not an image"),
        ("/classify", picture("PNG")[:40], {}, 400, "the body"),
        ("/classify", {"pixels": [[0] * 4] * 3}, {}, 400, "shape [1, 3, 4, 1]"),
        ("/classify", {"pixels": [[0] * 4, [0]]}, {}, 400, "differ in length"),
        ("/classify", {"pixels": [[256] * 4] * 4}, {}, 400, "0 to 255"),
        ("/classify", {"pixels": [[0.5] * 4] * 4}, {}, 400, "0 to 255"),
        ("/classify", {"pixels": [[{}] * 4] * 4}, {}, 400, "0 to 255"),
        ("/classify", {"picture": 1}, {}, 400, "picture"),
        ("/classify", NESTED, JSON, 400, "the body is not what is asked for"),
        ("/classify", bytes(5001), {}, 413, "at most 5000"),
        ("/classify", (bytes(100) for _ in range(51)), {}, 413, "at most 5000"),
        ("/generate", {"prompt": ""}, {}, 400, "the prompt is empty"),
        ("/generate", {"prompt": "a", "max_tokens": -1}, {}, 400, "max_tokens is -1"),
        ("/generate", {"prompt": "a", "max_tokens": 301}, {}, 400, "at most 300"),
        ("/generate", {"prompt": "a", "tokens": 3}, {}, 400, "tokens"),
        ("/generate", b'{"prompt": "a\xff"}', JSON, 400, "the body is not what is asked for"),
        ("/nothing", {}, {}, 404, "Not Found"),
        ("/health", {}, {}, 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(
    running: Running, path: str, body: Any, headers: dict[str, str], status: int, said: str
) -> None:
    reply = running.ask(path, body, headers)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert said in reply.json["error"]
    assert "\n" not in reply.json["error"]
    assert running.ask("/health").status == 200


def test_text_comes_in_pieces_and_is_the_same_for_a_seed(
    running: Running, text_bundle: Path
) -> None:
    asked = {"prompt": "abc", "max_tokens": 40, "temperature": 0.9, "seed": 5}
    generator = runtime.load(text_bundle, threads=1).generator()
    expected = "".join(generator.generate("abc", max_tokens=40, temperature=0.9, seed=5))
    first = running.ask("/generate", asked)
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    assert first.body.decode() == expected
    assert running.ask("/generate", asked).body == first.body
    assert running.ask("/generate", {**asked, "seed": 6}).body != first.body
    assert _chunks(running, asked) == [token.encode() for token in expected]


def _chunks(running: Running, asked: dict[str, Any]) -> list[bytes]:
    """The chunks of a response as they were sent, read off the socket."""
    content = json.dumps(asked).encode()
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(
            b"POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(content), content)
        )
        with client.makefile("rb") as reader:
            while reader.readline().strip():
                pass
            chunks = []
            while size := int(reader.readline(), 16):
                chunks.append(reader.read(size))
                reader.readline()
    return chunks


def test_a_client_that_goes_leaves_its_place_to_others(text_bundle: Path) -> None:
    content = json.dumps({"prompt": "a", "max_tokens": 300}).encode()
    head = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content)
    with service(text_bundle) as running:
        for sent in (content, content[:5]) * 8:
            with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
                client.sendall(head + sent)
                if sent is content:
                    client.recv(1)
        end = time.monotonic() + 30
        while running.ask("/stats").json["generate"]["writing"]:
            assert time.monotonic() < end
        reply = running.ask("/generate", {"prompt": "a", "max_tokens": 5})
        assert (reply.status, len(reply.body)) == (200, 5)
        assert set(reply.body.decode()) <= set(TOKENS)
        code, said = running.interrupt()
    assert code == 0
    assert "Traceback" not in said
    assert "socket.send() raised" not in said  # nobody writes to who is gone


def test_health_names_what_is_loaded(running: Running) -> None:
    state = running.ask("/health").json
    assert state["status"] == "ok"
    assert [(m["name"], m["variant"], m["ok"]) for m in state["models"]] == [
        ("shapes", "fp32", True),
        ("letters", "fp32", True),
    ]


def test_an_endpoint_without_its_model_says_so(classifier_bundle: Path) -> None:
    with service(classifier_bundle) as running:
        reply = running.ask("/generate", {"prompt": "a"})
        assert (reply.status, reply.json["error"]) == (404, "no text generator is loaded")
        code, said = running.interrupt()
    assert code == 0
    assert "Traceback" not in said


def slow_bundle(path: Path) -> Path:
    """A classifier whose first pixel says how long it takes; pixels go in as they are.

    Up to 3, as in the golden vectors, it is quick; 120 takes a second or two.
    """
    parsed = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        graph (float[batch, 4, 4, 1] image) => (float[batch, 3] probabilities)
        <float[1] hundred = {100.0}, int64[1] first = {0}, int64[2] size = {200, 200}> {
            flat = Flatten<axis = 1>(image)
            all = Flatten<axis = 0>(image)
            one = Constant<value = int64[1] {1}>()
            pixel = Slice(all, first, one, one)
            squeezed = Squeeze(pixel)
            wanted = Mul(squeezed, hundred)
            count = Cast<to = 7>(wanted)
            yes = Constant<value = bool {1}>()
            zeros = ConstantOfShape(size)
            done = Loop(count, yes, zeros) <body = step (int64 i, bool on, float[200, 200] m)
                => (bool still, float[200, 200] next)
                { still = Identity(on)
                  next = MatMul(m, zeros) }>
            nothing = ReduceSum<keepdims = 0>(done)
            product = MatMul(flat, kernel)
            scores = Add(product, bias)
            same = Add(scores, nothing)
            probabilities = Softmax<axis = -1>(same)
        }
    """)
    weights = classifier_weights()
    for name, array in vars(weights).items():
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    write_classifier_bundle(path)
    replace_variant(path, "fp32", parsed.SerializeToString())
    task = runtime.open_bundle(path).manifest.task
    change_manifest(
        path, task=runtime.manifest.ImageClassification(task.input, task.output, LABELS)
    )
    return path


def test_too_many_at_once_are_told_when_to_come_again(tmp_path: Path) -> None:
    slow = {"pixels": np.full((4, 4), 120).tolist()}
    with (
        service(slow_bundle(tmp_path / "slow.bundle"), max_queue=1, max_wait_ms=0) as running,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(running.ask, "/classify", slow)
        running.counted(lambda now: now["batches"] == 1)
        second = threads.submit(running.ask, "/classify", slow)
        running.counted(lambda now: now["waiting"] == 1)
        third = running.ask("/classify", slow)
        assert (third.status, third.headers["retry-after"]) == (503, "1")
        assert "queue is full" in third.json["error"]
        assert (first.result().status, second.result().status) == (200, 200)
        assert running.ask("/stats").json["classify"]["refused"] == 1


def test_ctrl_c_answers_what_was_asked_and_ends(tmp_path: Path) -> None:
    slow = {"pixels": np.full((4, 4), 100).tolist()}
    with (
        service(slow_bundle(tmp_path / "slow.bundle"), max_wait_ms=0) as running,
        ThreadPoolExecutor(1) as threads,
    ):
        asked = threads.submit(running.ask, "/classify", slow)
        running.counted(lambda now: now["batches"] == 1)
        code, said = running.interrupt()
        assert asked.result().status == 200
    assert code == 0
    assert "Traceback" not in said


def test_a_bundle_that_answers_wrongly_is_not_served(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "wrong.bundle")
    rounded = (path / "rounded.onnx").read_bytes()
    replace_variant(path, "fp32", rounded)
    process = launch("examples/service/app.py", path, "--port", 0)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "probabilities" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bundle": "nothing.bundle"}, "nothing.bundle"),
        ({}, "no bundle is given"),
        ({"max_batch": "many"}, "max_batch"),
        ({"max_batch": 0}, "max_batch"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(settings: dict[str, Any], said: str) -> None:
    process = launch("examples/service/app.py", "--port", 0, **settings)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    (error,) = [line for line in log.splitlines() if "error:" in line]
    assert said in error
    assert "Traceback" not in log


def test_uvicorn_serves_it_by_name(classifier_bundle: Path) -> None:
    process = launch(
        "-m", "uvicorn", "examples.service.app:app", "--port", "0", bundle=classifier_bundle
    )
    try:
        running = Running(process, _port(process))
        assert running.ask("/health").json["status"] == "ok"
        running.interrupt()
    finally:
        process.kill()
        process.wait()
