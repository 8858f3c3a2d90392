"""Concurrent single requests run together: a model behind asyncio, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from edgedl.runtime.errors import EdgedlError, EngineError, InputError, QueueFullError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.session import check_inputs

if TYPE_CHECKING:
    from edgedl.runtime.session import Model

# Batches in the thread's hands: one that runs, and a full one that it takes up without waiting
# for the event loop. One that isn't full stays open until the thread is free.
AHEAD = 2
BATCH = "batch"  # what a manifest calls the axis of independent samples


@dataclass(frozen=True)
class BatcherStats:
    """What a batcher has done so far.

    `requests` were taken, `refused` found the queue full, `cancelled` gave up before their
    answer, `failed` got an error. `batches` were run, `rows` in them. `waiting` are in the queue.
    """

    requests: int
    refused: int
    cancelled: int
    failed: int
    batches: int
    rows: int
    waiting: int

    @property
    def mean_batch(self) -> float:
        """Rows of a batch, on average; 0 before the first."""
        return self.rows / self.batches if self.batches else 0.0


@dataclass(frozen=True, eq=False)
class _Request:
    """`single`: one sample, given and answered without the batch axis."""

    feeds: Arrays
    rows: int
    single: bool
    sizes: dict[str, int]  # of the axes that aren't the batch: alike in one batch
    arrived: float  # seconds on the loop's clock
    answer: asyncio.Future[Arrays]


class Batcher:
    """Runs requests that come in at the same time as one batch; belongs to one event loop.

        async with Batcher(model) as batcher:
            outputs = await batcher.run(image=image)

    A request is one sample without the batch axis, and so is its answer; or it is several
    with that axis, wherever the manifest has it. The oldest request waits `max_wait_s` for
    others whose other dynamic axes have its sizes; then they run in the batcher's own
    thread, one batch at a time, while the event loop goes on. What comes in meanwhile is the
    next batch. With `max_batch` 1 every request runs alone.

    Rows don't influence each other, except in a variant that quantises activations as it
    runs (`int8-dynamic`): there the scale is the whole batch's. See docs/serving.md.

    Args:
        model: A loaded model without state whose tensors all have the axis `batch`.
        max_batch: Most rows in one run.
        max_wait_s: Seconds the oldest request waits for company; 0 groups only what is there.
        max_queue: Most requests that wait; those that run don't count.

    Raises:
        InputError: The model can't be batched, or a limit makes no sense.
    """

    def __init__(
        self, model: Model, max_batch: int = 8, max_wait_s: float = 0.002, max_queue: int = 64
    ) -> None:
        if max_batch < 1 or max_queue < 1 or not max_wait_s >= 0:
            raise InputError(
                f"max_batch {max_batch}, max_wait_s {max_wait_s} and max_queue {max_queue} "
                "make no batches",
                "at least 1, 0 and 1",
            )
        self.model = model
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self.max_queue = max_queue
        self._axes = _batch_axes(model)
        self._waiting: deque[_Request] = deque()
        self._running: set[asyncio.Future[list[Arrays | EdgedlError]]] = set()
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="edgedl-batcher")
        self._dispatcher: asyncio.Task[None] | None = None
        self._closed = False
        self._requests = self._refused = self._cancelled = self._failed = 0
        self._batches = self._rows = 0

    async def run(self, **inputs: Array) -> Arrays:
        """One request's outputs, new arrays by name. Don't change the inputs until then.

        Args:
            inputs: As for `Model.run`, or all of them without their batch axis.

        Raises:
            InputError: Inputs that don't fit, or more than `max_batch` rows; only this
                request is refused.
            QueueFullError: `max_queue` requests wait already; raised at once.
            EngineError: The model failed on this request, or the batcher is closed or belongs to
                another event loop.
        """
        if self._closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        if self._dispatcher is None:
            self._dispatcher = loop.create_task(self._dispatch())
        elif self._dispatcher.done() or self._dispatcher.get_loop() is not loop:
            raise EngineError("the batcher belongs to another event loop", "make one in this")
        request = self._request(inputs)
        if len(self._waiting) >= self.max_queue:
            self._refused += 1
            raise QueueFullError(self.max_queue)
        self._waiting.append(request)
        self._requests += 1
        self._changed.set()
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._cancelled += 1
            if request in self._waiting:
                self._waiting.remove(request)
            raise

    @property
    def stats(self) -> BatcherStats:
        """What was done so far."""
        return BatcherStats(
            self._requests,
            self._refused,
            self._cancelled,
            self._failed,
            self._batches,
            self._rows,
            len(self._waiting),
        )

    async def close(self, drain: bool = True) -> None:
        """Take no more requests; answer those that wait, then end the thread.

        The model stays open. A close that is itself cancelled cancels what isn't started.

        Args:
            drain: False refuses those that wait with an EngineError; what runs is answered.
        """
        self._closed = True
        while not drain and self._waiting:
            answer = self._waiting.popleft().answer
            if not answer.done():
                answer.set_exception(_closed())
        self._changed.set()
        if self._dispatcher is not None and not self._dispatcher.cancelled():
            await self._dispatcher
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _request(self, inputs: Arrays) -> _Request:
        """The inputs, checked, with their batch axis."""
        specs, axes = self.model.inputs, self._axes
        single = all(getattr(inputs.get(s.name), "ndim", -1) == len(s.shape) - 1 for s in specs)
        if single:
            inputs = {
                name: np.expand_dims(array, axes[name]) if name in axes else array
                for name, array in inputs.items()
            }
        sizes = check_inputs(specs, inputs)
        rows = sizes.pop(BATCH)
        if not 1 <= rows <= self.max_batch:
            raise InputError(
                f"a request has 1 to {self.max_batch} rows, not {rows}",
                "split it, or raise max_batch",
            )
        loop = asyncio.get_running_loop()
        return _Request(inputs, rows, single, sizes, loop.time(), loop.create_future())

    async def _dispatch(self) -> None:
        """Start batches until closed and empty; whatever ends it leaves no request hanging."""
        try:
            while self._waiting or self._running or not self._closed:
                delay = self._delay()
                if delay == 0:
                    self._start(self._take())
                else:
                    await self._wait(delay)
        finally:
            for request in self._waiting:
                request.answer.cancel()

    async def _wait(self, delay: float | None) -> None:
        """Until a request comes in, the batcher is closed or the delay is over."""
        self._changed.clear()
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            pass  # the delay is over

    def _delay(self) -> float | None:
        """Seconds until the next batch may start; None where only a change can tell."""
        if not self._waiting or len(self._running) == AHEAD:
            return None
        first = self._waiting[0]
        if sum(r.rows for r in self._waiting if r.sizes == first.sizes) >= self.max_batch:
            return 0
        if self._running:  # until it is done, others may come and make the batch larger
            return None
        if self._closed or len(self._waiting) >= self.max_queue:
            return 0
        return max(0.0, first.arrived + self.max_wait_s - asyncio.get_running_loop().time())

    def _take(self) -> list[_Request]:
        """The oldest request and those that fit to it, off the queue; none overtakes its like."""
        first = self._waiting[0]
        alike = [r for r in self._waiting if r.sizes == first.sizes]
        room, batch = self.max_batch, []
        for request in alike:
            room -= request.rows
            if room < 0:
                break
            batch.append(request)
        for request in batch:
            self._waiting.remove(request)
        return batch

    def _start(self, batch: list[_Request]) -> None:
        self._batches += 1
        self._rows += sum(r.rows for r in batch)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, _run, self.model, self._axes, batch)
        self._running.add(running)
        running.add_done_callback(partial(self._finish, batch))

    def _finish(
        self, batch: list[_Request], ran: asyncio.Future[list[Arrays | EdgedlError]]
    ) -> None:
        """Answer a batch's requests, whatever came of it."""
        self._running.discard(ran)
        self._changed.set()
        error = ran.exception()
        answers = [error] * len(batch) if error else ran.result()
        for request, answer in zip(batch, answers, strict=True):
            self._answer(request, answer)

    def _answer(self, request: _Request, answer: Arrays | BaseException) -> None:
        if request.answer.done():  # its caller gave up
            return
        if isinstance(answer, BaseException):
            self._failed += 1
            request.answer.set_exception(answer)
        else:
            request.answer.set_result(answer)


def _run(
    model: Model, axes: dict[str, int], batch: Sequence[_Request]
) -> list[Arrays | EdgedlError]:
    """Each request's outputs. Where a batch fails each runs alone: one can't spoil the rest."""
    try:
        return list(_run_together(model, axes, batch))
    except EdgedlError as error:
        if len(batch) == 1:
            return [error]
    return [answer for request in batch for answer in _run(model, axes, [request])]


def _run_together(model: Model, axes: dict[str, int], batch: Sequence[_Request]) -> list[Arrays]:
    feeds = batch[0].feeds
    if len(batch) > 1:
        feeds = {name: np.concatenate([r.feeds[name] for r in batch], axes[name]) for name in feeds}
    outputs = model.run_feeds(feeds)
    answers, start = [], 0
    for request in batch:
        rows = start if request.single else slice(start, start + request.rows)
        # Copied, so that one answer that is kept doesn't keep the whole batch.
        answers.append(
            {
                name: np.array(array[(*[slice(None)] * axes[name], rows)], order="C")
                for name, array in outputs.items()
            }
        )
        start += request.rows
    return answers


def _batch_axes(model: Model) -> dict[str, int]:
    """Where each tensor has its batch axis; refuses a model whose rows can't share a run."""
    name = model.manifest.name
    if model.manifest.state:
        raise InputError(
            f"{name!r} keeps state, so its requests can't share a run",
            "give each of them its own model.stream()",
        )
    return {spec.name: _batch_axis(spec, name) for spec in (*model.inputs, *model.outputs)}


def _batch_axis(spec: TensorSpec, name: str) -> int:
    if spec.shape.count(BATCH) != 1:
        raise InputError(
            f"{name!r} can't be batched: {spec} hasn't one axis {BATCH!r} of its own",
            "export it with --dynamic INPUT:AXIS=batch, or call model.run() for each request",
        )
    return spec.shape.index(BATCH)


def _closed() -> EngineError:
    return EngineError("the batcher is closed", "make another")
