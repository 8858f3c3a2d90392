"""Every stage is checked against the source framework before the next one starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import onnx

from edgedl.export.interface import Interface
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import EngineError, ParityError, one_line
from edgedl.runtime.golden import Arrays, GoldenVectors
from edgedl.runtime.golden_runs import Runner, run_case
from edgedl.runtime.manifest import OutputParity, Quality, Task, Tolerance
from edgedl.runtime.parity import answer_outputs, check_parity, failures
from edgedl.runtime.session import open_session
from edgedl.runtime.settings import Settings

# A float model in ONNX Runtime adds up in another order than its framework: differences
# are a few units in the last place, 1.2e-7 of the value, over sums of thousands of terms.
FLOAT_TOLERANCE = Tolerance(atol=1e-5, rtol=1e-4)


@dataclass(frozen=True)
class StageReport:
    """A stage that is done: how far its model is from the source, and what happened."""

    stage: str
    detail: str
    seconds: float
    outputs: tuple[OutputParity, ...] = ()
    quality: Quality | None = None


Tell = Callable[[StageReport], None]


@dataclass(frozen=True)
class Reference:
    """What every stage is held to: the source's golden vectors and the interface."""

    interface: Interface
    golden: Sequence[GoldenVectors] = field(repr=False)
    task: Task | None = None

    def compare(self, run: Runner, tolerance: Tolerance) -> tuple[OutputParity, ...]:
        """A model's outputs beside the source's; see `check_parity`.

        Raises:
            EngineError: ONNX Runtime can't run it.
        """
        state, classes = self.interface.state, self.interface.classes
        answers = answer_outputs(self.interface.outputs, state, self.task)
        return check_parity(run, self.golden, tolerance, state, classes, answers)

    def answered_by(self, run: Runner) -> Reference:
        """The same inputs with a model's answers instead of the source's."""
        return Reference(
            self.interface,
            [
                replace(v, outputs=run_case(run, v, self.interface.state))
                for v in self.golden
                if v.case.kind != "text"  # its inputs are answers: it stays with the source
            ],
            self.task,
        )

    def require(self, stage: str, run: Runner, tolerance: Tolerance) -> tuple[OutputParity, ...]:
        """`compare`, and a failure is a failure.

        Raises:
            ParityError: With the stage and the numbers.
        """
        outputs = self.compare(run, tolerance)
        failed = failures(outputs)
        if failed:
            raise disagreement(stage, "; ".join(failed))
        return outputs


def disagreement(stage: str, reason: str) -> ParityError:
    """What is raised where a stage's model doesn't answer what the source answers."""
    return ParityError(
        f"parity failed after {stage}: {reason}",
        "nothing was written; the source and this model disagree",
    )


def runner(model: onnx.ModelProto, interface: Interface) -> Runner:
    """The model in ONNX Runtime on this machine's CPU, one step at a time.

    Raises:
        EngineError: ONNX Runtime can't load it.
    """
    session = open_session(model.SerializeToString(), "cpu", Settings(), "the exported model")
    names = [spec.name for spec in interface.outputs]
    wanted = [spec.name for spec in interface.inputs]

    def run(feeds: Arrays) -> Arrays:
        try:
            values = session.run(names, {name: feeds[name] for name in wanted})
        except ENGINE_ERRORS as error:
            raise EngineError(one_line(error)) from error
        return dict(zip(names, values, strict=True))

    return run


class Stopwatch:
    """Seconds since it was made, or since the last lap."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.monotonic()
        elapsed, self._start = now - self._start, now
        return elapsed
