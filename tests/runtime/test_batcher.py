"""Requests that come in together run together, and none spoils another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgedl import runtime
from edgedl.runtime import Batcher, EngineError, InputError, QueueFullError, TensorSpec
from edgedl.runtime.golden import Array, Arrays
from tests.graphs import (
    change_manifest,
    classifier_answer,
    classifier_images,
    classifier_weights,
    replace_variant,
    write_classifier_bundle,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
LONG = 60.0  # seconds that no test waits: only a full batch, or closing, ends the wait

# The batch is the middle axis of x, and out of `rate` a row takes its factor.
SEQUENCE = """
<ir_version: 8, opset_import: ["" : 17]>
graph (float[time, batch, 2] x, int64[batch] pick) => (float[time, batch, 2] y, float[batch] rate)
<float[3] rates = {1.0, 10.0, 100.0}> {
    rate = Gather(rates, pick)
    last = Constant<value = int64[1] {-1}>()
    column = Unsqueeze(rate, last)
    y = Mul(x, column)
}
"""


@pytest.fixture(scope="module")
def classifier(classifier_bundle: Path) -> runtime.Model:
    return runtime.load(classifier_bundle, threads=1)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    """x: float32[time, batch, 2] times one of three rates by row."""
    x = TensorSpec("x", "float32", ("time", "batch", 2))
    y = TensorSpec("y", "float32", ("time", "batch", 2))
    pick, rate = (
        TensorSpec("pick", "int64", ("batch",)),
        TensorSpec("rate", "float32", ("batch",)),
    )
    path = write_classifier_bundle(tmp_path_factory.mktemp("sequence") / "sequence.bundle")
    replace_variant(path, "fp32", onnx.parser.parse_model(SEQUENCE).SerializeToString())
    change_manifest(path, task=None, inputs=(x, pick), outputs=(y, rate))
    return runtime.load(path, threads=1)


class Gate(runtime.Model):
    """A model whose runs begin only when the test opens the gate."""

    def __init__(self, path: Path) -> None:
        bundle = runtime.open_bundle(path)
        super().__init__(bundle, bundle.manifest.variant())
        self.entered, self.opened = threading.Event(), threading.Event()

    def run_feeds(self, feeds: Arrays) -> Arrays:
        self.entered.set()
        assert self.opened.wait(timeout=30)
        return super().run_feeds(feeds)


def serve(
    model: runtime.Model, use: Callable[[Batcher], Awaitable[Any]], **options: Any
) -> tuple[Any, runtime.BatcherStats]:
    """What comes of using a batcher, and its counters after it closed."""

    async def go() -> tuple[Any, runtime.BatcherStats]:
        async with Batcher(model, **options) as batcher:
            result = await asyncio.wait_for(use(batcher), 30)
        return result, batcher.stats

    return asyncio.run(go())


async def together(batcher: Batcher, *requests: Arrays) -> list[Any]:
    return await asyncio.gather(*(batcher.run(**r) for r in requests), return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def rows_of(images: Array) -> list[Arrays]:
    return [{"image": image} for image in images]


def test_concurrent_samples_are_one_batch_and_each_gets_its_own_answer(
    classifier: runtime.Model,
) -> None:
    images = classifier_images(8)
    answers, stats = serve(
        classifier, lambda b: together(b, *rows_of(images)), max_batch=8, max_wait_s=LONG
    )
    expected = classifier_answer(classifier_weights(), images)
    assert [a["probabilities"].shape for a in answers] == [(3,)] * 8
    np.testing.assert_allclose([a["probabilities"] for a in answers], expected, **CLOSE)
    assert (stats.requests, stats.batches, stats.rows) == (8, 1, 8)
    assert stats.mean_batch == 8.0


def test_a_request_may_hold_several_rows_and_keeps_its_batch_axis(
    classifier: runtime.Model,
) -> None:
    images = classifier_images(6)
    requests = [{"image": images[:3]}, {"image": images[3]}, {"image": images[4:6]}]
    answers, stats = serve(
        classifier, lambda b: together(b, *requests), max_batch=6, max_wait_s=LONG
    )
    probabilities = [a["probabilities"] for a in answers]
    assert [p.shape for p in probabilities] == [(3, 3), (3,), (2, 3)]
    expected = classifier_answer(classifier_weights(), images)
    np.testing.assert_allclose(np.vstack(probabilities), expected, **CLOSE)
    assert stats.batches == 1


def test_no_batch_is_larger_than_allowed_and_order_is_kept(classifier: runtime.Model) -> None:
    images = classifier_images(10)
    requests = [{"image": images[i : i + 2]} for i in range(0, 10, 2)]
    _, stats = serve(classifier, lambda b: together(b, *requests), max_batch=5, max_wait_s=0)
    # 2 + 2 fit into 5, a third pair doesn't.
    assert (stats.requests, stats.batches, stats.rows) == (5, 3, 10)


def test_with_a_batch_of_one_every_request_runs_alone(classifier: runtime.Model) -> None:
    answers, stats = serve(
        classifier, lambda b: together(b, *rows_of(classifier_images(5))), max_batch=1
    )
    assert len(answers) == stats.batches == 5


def test_the_oldest_request_waits_no_longer_than_the_deadline(classifier: runtime.Model) -> None:
    """Nobody else comes; only the deadline lets it run."""
    answers, stats = serve(
        classifier, lambda b: together(b, *rows_of(classifier_images(1))), max_wait_s=0.01
    )
    assert answers[0]["probabilities"].shape == (3,)
    assert (stats.batches, stats.rows) == (1, 1)


def test_only_requests_whose_other_axes_agree_share_a_run(sequence: runtime.Model) -> None:
    """The batch stands where the manifest has it: second in x, first in pick."""
    rng = np.random.default_rng(1)
    requests = [
        {"x": rng.standard_normal((time, 2)).astype(np.float32), "pick": np.array(pick)}
        for time, pick in ((4, 0), (3, 1), (4, 2), (3, 0))
    ]
    answers, stats = serve(sequence, lambda b: together(b, *requests), max_batch=2, max_wait_s=LONG)
    for request, answer in zip(requests, answers, strict=True):
        rate = 10.0 ** request["pick"]
        np.testing.assert_allclose(answer["y"], request["x"] * rate, **CLOSE)
        assert answer["rate"] == rate
        assert answer["rate"].shape == ()
    assert (stats.batches, stats.rows) == (2, 4)


def test_a_bad_input_is_refused_alone(classifier: runtime.Model) -> None:
    images = classifier_images(2)
    bad = [
        {"image": images[0].astype(np.float64)},
        {"image": images[0, :3]},
        {"image": [[1.0]]},
        {},
        {"image": images[0], "picture": images[0]},
        {"image": classifier_images(0)},
        {"image": classifier_images(3)},
    ]
    answers, stats = serve(
        classifier, lambda b: together(b, *bad, *rows_of(images)), max_batch=2, max_wait_s=LONG
    )
    assert [type(a) for a in answers[:-2]] == [InputError] * len(bad)
    assert "float64" in str(answers[0])
    assert "missing" in str(answers[3])
    assert "1 to 2 rows, not 3" in str(answers[6])
    assert all(a["probabilities"].shape == (3,) for a in answers[-2:])
    assert (stats.requests, stats.batches) == (2, 1)


def test_values_that_fail_in_the_engine_fail_their_own_request_only(
    sequence: runtime.Model,
) -> None:
    """pick 7 is outside of the table, which only the engine can tell."""
    x = np.ones((2, 2), np.float32)
    requests = [{"x": x, "pick": np.array(pick)} for pick in (1, 7, 2)]
    answers, stats = serve(sequence, lambda b: together(b, *requests), max_batch=3, max_wait_s=LONG)
    assert answers[0]["rate"] == 10.0
    assert isinstance(answers[1], EngineError)
    assert answers[2]["rate"] == 100.0
    assert (stats.requests, stats.failed, stats.batches) == (3, 1, 1)


def test_a_full_queue_refuses_at_once_and_says_what_to_do(classifier_bundle: Path) -> None:
    model = Gate(classifier_bundle)

    async def overfill(batcher: Batcher) -> None:
        running = asyncio.create_task(batcher.run(image=classifier_images(1)[0]))
        await until(model.entered.is_set)
        waiting = [asyncio.create_task(batcher.run(image=i)) for i in classifier_images(4)]
        await until(lambda: batcher.stats.waiting == 4)
        with pytest.raises(QueueFullError, match="4 requests wait") as caught:
            await batcher.run(image=classifier_images(1)[0])
        assert "max_queue" in caught.value.hint
        model.opened.set()
        answers = await asyncio.gather(running, *waiting)
        assert [a["probabilities"].shape for a in answers] == [(3,)] * 5

    _, stats = serve(model, overfill, max_wait_s=0, max_queue=4)
    assert (stats.requests, stats.refused, stats.batches) == (5, 1, 2)


def test_nobody_is_refused_while_the_model_has_nothing_to_do(classifier: runtime.Model) -> None:
    """A queue smaller than a batch: once it is full, nobody waits for the deadline."""
    answers, stats = serve(
        classifier,
        lambda b: together(b, *rows_of(classifier_images(3))),
        max_batch=8,
        max_wait_s=LONG,
        max_queue=3,
    )
    assert [a["probabilities"].shape for a in answers] == [(3,)] * 3
    assert stats.batches == 1


def test_the_event_loop_goes_on_while_the_model_runs(classifier_bundle: Path) -> None:
    """The loop itself opens the gate that the model waits for; what came meanwhile is next."""
    model = Gate(classifier_bundle)

    async def use(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.run(image=classifier_images(1)))
        await until(model.entered.is_set)
        others = asyncio.create_task(together(batcher, *rows_of(classifier_images(3))))
        await until(lambda: batcher.stats.waiting == 3)
        model.opened.set()
        await asyncio.gather(first, others)

    _, stats = serve(model, use, max_wait_s=0)
    assert (stats.requests, stats.batches) == (4, 2)


def test_only_a_full_batch_is_made_ready_while_another_runs(classifier_bundle: Path) -> None:
    """The thread takes it up without the event loop; one with room stays open to others."""
    model = Gate(classifier_bundle)

    async def use(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.run(image=classifier_images(1)))
        await until(model.entered.is_set)
        two = asyncio.create_task(together(batcher, *rows_of(classifier_images(2))))
        await until(lambda: batcher.stats.waiting == 2)
        assert batcher.stats.batches == 1
        third = asyncio.create_task(batcher.run(image=classifier_images(1)))
        await until(lambda: batcher.stats.batches == 2)
        assert batcher.stats.waiting == 0
        model.opened.set()
        await asyncio.gather(first, two, third)

    _, stats = serve(model, use, max_batch=3, max_wait_s=0)
    assert (stats.batches, stats.rows) == (2, 4)


def test_a_cancelled_request_is_dropped_and_spoils_nothing(classifier_bundle: Path) -> None:
    model = Gate(classifier_bundle)

    async def use(batcher: Batcher) -> list[Any]:
        running = [asyncio.create_task(batcher.run(image=i)) for i in classifier_images(2)]
        await until(model.entered.is_set)
        waiting = [asyncio.create_task(batcher.run(image=i)) for i in classifier_images(3)]
        await until(lambda: batcher.stats.waiting == 3)
        running[0].cancel()
        waiting[1].cancel()
        await until(lambda: batcher.stats.waiting == 2)
        model.opened.set()
        return await asyncio.gather(*running, *waiting, return_exceptions=True)

    answers, stats = serve(model, use, max_wait_s=0)
    gone = [isinstance(a, asyncio.CancelledError) for a in answers]
    assert gone == [True, False, False, True, False]
    assert (stats.cancelled, stats.batches, stats.rows) == (2, 2, 4)


def test_a_crowd_of_all_kinds_is_answered_to_the_last(sequence: runtime.Model) -> None:
    """Lengths, rows, faults and callers that give up, all mixed; nobody hangs or gets another's."""
    rng = np.random.default_rng(3)

    async def ask(batcher: Batcher) -> str:
        time, rows, fault, patience = rng.integers((1, 1, 0, 0), (4, 4, 10, 4))
        x = rng.standard_normal((time, rows, 2)).astype(np.float32)
        pick = np.full(rows, 7 if fault == 0 else rng.integers(3))
        await asyncio.sleep(rng.uniform(0, 0.05))
        limit = 0.001 if patience == 0 and fault else None
        try:
            answer = await asyncio.wait_for(batcher.run(x=x, pick=pick), limit)
        except TimeoutError:
            return "cancelled"
        except EngineError:
            assert fault == 0
            return "failed"
        np.testing.assert_allclose(answer["y"], x * np.float32(10) ** pick[None, :, None], **CLOSE)
        return "answered"

    async def crowd(batcher: Batcher) -> list[str]:
        return await asyncio.gather(*(ask(batcher) for _ in range(400)))

    ends, stats = serve(sequence, crowd, max_queue=400)
    assert (stats.requests, stats.waiting, stats.refused) == (400, 0, 0)
    assert (ends.count("failed"), ends.count("cancelled")) == (stats.failed, stats.cancelled)
    assert ends.count("answered") > 200
    assert stats.batches < 400


def test_closing_answers_those_that_wait_and_takes_no_more(classifier: runtime.Model) -> None:
    async def use() -> None:
        async with Batcher(classifier, max_wait_s=LONG) as batcher:
            waiting = asyncio.create_task(batcher.run(image=classifier_images(1)))
            await until(lambda: batcher.stats.waiting == 1)
        assert (await waiting)["probabilities"].shape == (1, 3)
        with pytest.raises(EngineError, match="closed"):
            await batcher.run(image=classifier_images(1))

    asyncio.run(asyncio.wait_for(use(), 30))


def test_closing_without_draining_refuses_those_that_wait(classifier: runtime.Model) -> None:
    async def use() -> None:
        batcher = Batcher(classifier, max_wait_s=LONG)
        waiting = asyncio.create_task(batcher.run(image=classifier_images(1)))
        await until(lambda: batcher.stats.waiting == 1)
        await batcher.close(drain=False)
        with pytest.raises(EngineError, match="closed"):
            await waiting

    asyncio.run(asyncio.wait_for(use(), 30))


def test_a_close_that_is_cancelled_leaves_nobody_hanging(classifier_bundle: Path) -> None:
    model = Gate(classifier_bundle)

    async def use() -> None:
        batcher = Batcher(model, max_batch=1)
        requests = [asyncio.create_task(batcher.run(image=i)) for i in classifier_images(4)]
        await until(lambda: batcher.stats.batches == 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.close(), 0.01)
        model.opened.set()
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(a) for a in answers] == [dict] * 2 + [asyncio.CancelledError] * 2

    asyncio.run(asyncio.wait_for(use(), 30))


def test_another_event_loop_is_refused_and_can_close(classifier: runtime.Model) -> None:
    image = classifier_images(1)

    async def use(batcher: runtime.Batcher) -> None:
        await asyncio.wait_for(batcher.run(image=image), 30)

    async def make() -> runtime.Batcher:
        batcher = runtime.Batcher(classifier)
        await use(batcher)
        return batcher

    async def misuse(batcher: runtime.Batcher) -> None:
        with pytest.raises(EngineError, match="another event loop"):
            await use(batcher)
        await batcher.close()

    asyncio.run(misuse(asyncio.run(make())))


def test_no_thread_is_left_behind(classifier: runtime.Model) -> None:
    for _ in range(3):
        serve(classifier, lambda b: together(b, *rows_of(classifier_images(2))))
    named = [t for t in threading.enumerate() if t.name.startswith("edgedl-batcher")]
    for thread in named:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in named)


def test_a_stateful_model_is_refused_when_the_batcher_is_made(text_bundle: Path) -> None:
    with pytest.raises(InputError, match="state") as caught:
        Batcher(runtime.load(text_bundle, threads=1))
    assert "stream" in caught.value.hint


def test_a_fixed_batch_is_refused_when_the_batcher_is_made(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "fixed.bundle")
    change_manifest(path, inputs=(TensorSpec("image", "float32", (1, 4, 4, 1)),))
    with pytest.raises(InputError, match=r"image: float32\[1, 4, 4, 1\]") as caught:
        Batcher(runtime.load(path, threads=1))
    assert "--dynamic" in caught.value.hint


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_s": -1.0}])
def test_limits_that_make_no_sense_are_refused(
    classifier: runtime.Model, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Batcher(classifier, **wrong)
