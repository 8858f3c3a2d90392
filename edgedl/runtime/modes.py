"""What a sample of a variant times: the bound call, `Model.run`, or an app's whole task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.runtime.errors import InputError, ParityError
from edgedl.runtime.golden import Array, Arrays
from edgedl.runtime.manifest import ImageClassification, TextGeneration
from edgedl.runtime.protocol import Case, Mode
from edgedl.runtime.settings import Settings

if TYPE_CHECKING:
    from edgedl.runtime.session import Model

# How far below the best score an app's answer may be, as a share of all scores' range: what
# the same session answers to the same numbers differs by rounding only.
SAME_ANSWER = 1e-3
# A text of an app: then it begins another, as `generate` itself would by its default.
TEMPERATURE, TOKENS = 0.8, 200


@dataclass(frozen=True)
class Loaded:
    """Something ready to run.

    `run` is what a sample times. `answer` makes of the first run's result the outputs to
    compare with the golden ones, None where nothing can be compared; it is called at once.
    `settings` and `providers`, each provider's options in order of preference, are the
    session's; there are none for a subject.
    """

    run: Callable[[], object]
    answer: Callable[[Any], Arrays | None]
    settings: Settings | None = None
    providers: dict[str, dict[str, str]] = field(default_factory=dict)


def load_variant(case: Case, inputs: Arrays) -> Loaded:
    """Load a variant and make it ready to run on the inputs in the case's mode.

    Raises:
        InputError: The mode is `app`, and the model has no task, or one for single samples.
    """
    from edgedl.runtime.session import load  # a subject must not bring the engine in

    settings = (case.threads, case.spinning, case.arena)
    model = load(case.bundle, case.variant, case.device, *settings, tuned=False)
    run, answer = _MODES[case.mode](model, inputs)
    return Loaded(run, answer, model.settings, model.session.get_provider_options())


Ready = tuple[Callable[[], object], Callable[[Any], Arrays | None]]


def _bound_call(model: Model, inputs: Arrays) -> Ready:
    """A call on inputs that lie in its buffers; of a stateful model a step of a stream."""
    from edgedl.runtime.session import check_inputs

    fed_back = {pair.input: pair.output for pair in model.manifest.state}
    sizes = check_inputs(model.inputs, inputs)
    if not fed_back:
        call = model.bind(**sizes)
        _fill(call.inputs, inputs)
        return call, _copies
    stream = model.stream(**sizes)
    stream.set_state({name: inputs[name] for name in fed_back})
    step = stream.bind(**{axis: sizes[axis] for axis in _axes_of(model, fed_back)})
    _fill(step.inputs, inputs)

    def answer(first: Arrays) -> Arrays:
        return {**_copies(first), **{fed_back[k]: v for k, v in stream.state().items()}}

    return step, answer


def _axes_of(model: Model, state: dict[str, str]) -> list[str]:
    """The dynamic axes of the inputs that are not state."""
    from edgedl.runtime.manifest import dynamic_axes

    return list(dynamic_axes([t for t in model.inputs if t.name not in state]))


def _fill(buffers: Mapping[str, Array], inputs: Arrays) -> None:
    for name, buffer in buffers.items():
        buffer[...] = inputs[name]


def _copies(outputs: Mapping[str, Array]) -> Arrays:
    """What is written over by the next call, kept."""
    return {name: array.copy() for name, array in outputs.items()}


def _plain_run(model: Model, inputs: Arrays) -> Ready:
    return lambda: model.run(**inputs), _copies


def _app(model: Model, inputs: Arrays) -> Ready:
    """The task from what an app has to what it wants: pixels to a label, text to more text."""
    task = model.manifest.task
    if task is None:
        raise no_task(model.manifest.name)
    if len(inputs[task.input]) != 1:
        raise one_at_a_time()
    if isinstance(task, ImageClassification):
        return _classify(model, task, inputs[task.input])
    return _write(model, task, inputs)


def no_task(name: str) -> InputError:
    """There is no pre- or post-processing to time."""
    return InputError(
        f"{name!r} has no task: there is nothing before and after the model to include",
        "give --mode model or run, or export it with --task",
    )


def one_at_a_time() -> InputError:
    """The error of asking for the whole task of a batch."""
    return InputError(
        "mode app answers one sample at a time", "leave out --batch, or give --mode model"
    )


def _classify(model: Model, task: ImageClassification, image: Array) -> Ready:
    classifier = model.classifier()
    pixels = pixels_of(task, image)

    def answer(first: Any) -> Arrays | None:
        prepared = classifier.prepare(pixels)
        outputs = model.run_feeds({task.input: prepared})
        scores = outputs[task.output][0]
        if any(decision.output == task.output for decision in model.manifest.decisions):
            scores = np.arange(len(task.labels)) == np.atleast_1d(scores)[0]  # the best class
        best = scores.astype(np.float64)
        _must_be_best(best, task.labels.index(first.label), "classify", first.label)
        same = np.allclose(prepared, image, rtol=0, atol=1e-3 * abs(task.scale))
        return outputs if same else None

    return lambda: classifier.classify(pixels), answer


def pixels_of(task: ImageClassification, image: Array) -> Array:
    """The uint8 pixels, (height, width, channels), of a batch of one prepared image."""
    values = np.moveaxis(image[0], 0, -1) if task.layout == "NCHW" else image[0]
    if values.dtype != np.uint8:
        scaled = (values.astype(np.float64) - task.offset) / task.scale
        values = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(values)


def _write(model: Model, task: TextGeneration, inputs: Arrays) -> Ready:
    generator = model.generator()
    tokens = [int(token) for token in inputs[task.input][0]]
    prompt = "".join(task.vocabulary.tokens[token] for token in tokens)
    pieces = _endless(lambda: generator.generate(prompt, TOKENS, TEMPERATURE, seed=0))

    def answer(first: Any) -> Arrays | None:
        if generator.encode(prompt) != tokens:
            return None
        # A text begins with a state of zeros; golden inputs may have another.
        fresh = model.run_feeds({task.input: inputs[task.input]})
        scores = fresh[task.output][0].astype(np.float64)  # (time, vocabulary), or the last only
        scores = scores if scores.ndim == 1 else scores[-1]
        scores[task.vocabulary.unknown] = scores.min()
        likeliest = next(generator.generate(prompt, 1, temperature=0))
        _must_be_best(scores, generator.encode(likeliest)[0], "generate", likeliest)
        return model.run_feeds(inputs)

    return lambda: next(pieces), answer


def _endless(begin: Callable[[], Iterator[str]]) -> Iterator[str]:
    """The pieces of text after text."""
    while True:
        yield from begin()


def _must_be_best(scores: Array, chosen: int, what: str, said: str) -> None:
    """An app's answer is the one its model scores highest.

    Raises:
        ParityError: It isn't.
    """
    short = float(scores.max() - scores[chosen])
    if not short <= SAME_ANSWER * float(np.ptp(scores)):
        raise ParityError(
            f"{what} answers {said!r}, which the model scores {short:.3g} below its best",
            "see edgedl parity",
        )


_MODES: dict[Mode, Callable[[Model, Arrays], Ready]] = {
    "model": _bound_call,
    "run": _plain_run,
    "app": _app,
}
