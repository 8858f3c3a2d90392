"""The judgement of a variant: parity with the golden vectors, then the quality budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

from edgedl.export import evidence
from edgedl.export.interface import Interface
from edgedl.export.stages import FLOAT_TOLERANCE, Reference, runner
from edgedl.runtime.golden_runs import Runner
from edgedl.runtime.manifest import OutputParity, Quality, Tolerance
from edgedl.runtime.paired import over_bound
from edgedl.runtime.parity import failures
from edgedl.runtime.quality import over_budget

# A quantised output whose noise is above a thirtieth of its signal's power is broken,
# not rounded: 8 bits over a well-set range leave 30 to 45 dB.
LEAST_SQNR_DB = 15.0
# The share of the scores' range by which noise may turn an answer. At 15 dB the noise in the
# difference of two scores is sqrt(2) * 10**(-15/20) = 0.25 of the scores' RMS, which is 0.2
# (a hundred classes) to 0.33 (ten) of their range: 0.05 to 0.08 of it. The bound lies just
# above. Of 10,000 digits, the CNN's int8-static flips 8, the clearest at a margin of 0.06; of
# 18,944 characters, the LSTM's int8-dynamic flips 148, the clearest at 0.008.
FLIP_MARGIN = 0.1


@dataclass(frozen=True)
class Judge:
    """Labelled samples, all and those that travel; or agreement where there are no labels."""

    everything: evidence.Labelled | None = None
    travelling: evidence.Labelled | None = None
    agreement: Callable[[Runner], Quality] | None = None

    def quality(self, run: Runner, interface: Interface) -> tuple[Quality | None, Quality | None]:
        """A variant's quality on all samples, and on those that travel."""
        if self.everything is None or self.travelling is None:
            return (self.agreement(run) if self.agreement else None), None
        return self.everything.quality(run, interface), self.travelling.quality(run, interface)


@dataclass(frozen=True)
class Verdict:
    """How far a model is from its source, and why it may not pass; empty where it may."""

    outputs: tuple[OutputParity, ...]
    quality: Quality | None
    travelling: Quality | None
    disagreement: str
    exceeded: str

    @property
    def passed(self) -> bool:
        """Whether parity and budget hold."""
        return not self.disagreement and not self.exceeded


@dataclass(frozen=True)
class Judgement:
    """What every variant is held to."""

    reference: Reference = field(repr=False)
    samples: Judge = field(repr=False)
    max_drop: float

    @property
    def interface(self) -> Interface:
        """The variants' outside."""
        return self.reference.interface

    def tolerance(self, least_sqnr_db: float | None) -> Tolerance:
        """What a variant is allowed: the SQNR that it must keep; None for a float one."""
        if least_sqnr_db is None:
            return FLOAT_TOLERANCE
        return Tolerance(min_sqnr_db=least_sqnr_db, max_drop=self.max_drop, flip_margin=FLIP_MARGIN)

    def judge(self, model: onnx.ModelProto, tolerance: Tolerance) -> Verdict:
        """Parity, then (where it holds) quality.

        Raises:
            EngineError: ONNX Runtime can't load or run the model.
        """
        run = runner(model, self.interface)
        outputs = self.reference.compare(run, tolerance)
        failed = "; ".join(failures(outputs))
        if failed:
            return Verdict(outputs, None, None, failed, "")
        quality, travelling = self.samples.quality(run, self.interface)
        exceeded = (
            over_budget(quality, tolerance)
            or over_bound(quality, tolerance)
            or over_budget(travelling, tolerance)
        )
        return Verdict(outputs, quality, travelling, "", exceeded)
