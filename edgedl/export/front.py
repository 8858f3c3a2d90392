"""Which candidate wins, and which lie on the Pareto front of latency, loss and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgedl.bench.stats import Ratio, paired_ratio, ratio_through

# Times and sizes that differ by no more than this factor are alike: no reason to lose quality
# for the smaller file, nor time that was seen but, in noise, not proved.
ALIKE = 1.02


@dataclass(frozen=True)
class Contender:
    """A candidate within its budget, as made and as measured.

    `loss` is what it loses of the source's quality, in any unit: less is better. `medians`
    are nanoseconds, one a round; None where a round went without it.
    """

    name: str
    quantised: bool
    bytes: int
    loss: float
    medians: tuple[int | None, ...]


@dataclass(frozen=True)
class Field:
    """All contenders, the baseline among them, and the baseline launched a second time."""

    contenders: Sequence[Contender]
    baseline: str
    again: tuple[int | None, ...] = field(repr=False)

    def find(self, name: str) -> Contender:
        """The contender of that name."""
        return next(c for c in self.contenders if c.name == name)

    @property
    def noise(self) -> float:
        """What two equal files were seen to differ by, as a factor of 1 or more."""
        ratio = paired_ratio(self.again, self.find(self.baseline).medians)
        return 1.0 if ratio is None else ratio.distance

    def ratio(self, ours: Contender, theirs: Contender) -> Ratio | None:
        """How much longer one takes than the other; None where one was not measured.

        Of the rounds that had both; where none had, each beside the baseline.
        """
        if ours is theirs:
            return Ratio(1, 1, 1)
        direct = paired_ratio(ours.medians, theirs.medians)
        if direct is not None:
            return direct
        baseline = self.find(self.baseline).medians
        first, second = (paired_ratio(c.medians, baseline) for c in (ours, theirs))
        return None if first is None or second is None else ratio_through(first, second)

    def is_slower(self, ours: Contender, theirs: Contender) -> bool:
        """Whether one is shown to be slower, by more than equal files differ."""
        ratio = self.ratio(ours, theirs)
        return ratio is not None and ratio.verdict == "slower" and ratio.value > self.noise

    def is_no_slower(self, ours: Contender, theirs: Contender) -> bool:
        """Whether one is no slower than another: neither shown to be, nor seen to be."""
        ratio = self.ratio(ours, theirs)
        return ratio is not None and ratio.value <= ALIKE and not self.is_slower(ours, theirs)

    def is_settled(self, ours: Contender, fastest: Contender) -> bool:
        """Whether more launches could not change anything: slower, or as good as tied."""
        ratio = self.ratio(ours, fastest)
        return ratio is not None and (self.is_slower(ours, fastest) or ratio.high <= ALIKE)

    @property
    def measured(self) -> list[Contender]:
        """Those with a ratio to the baseline."""
        baseline = self.find(self.baseline)
        return [c for c in self.contenders if self.ratio(c, baseline) is not None]


def bar(contender: Contender, field: Field) -> str:
    """Why a contender may not be the default, however fast; empty where it may."""
    baseline = field.find(field.baseline)
    if not contender.quantised:
        return ""
    if contender.bytes > baseline.bytes:
        return f"larger than {baseline.name}: never the default"
    if field.is_slower(contender, baseline):
        return f"slower than {baseline.name} here: never the default"
    return ""


def fastest(field: Field) -> Contender:
    """The one that none is faster than, of those that may be the default; by rounds in common."""
    best = field.find(field.baseline)
    for contender in field.measured:
        ratio = field.ratio(contender, best)
        if ratio is not None and ratio.value < 1 and not bar(contender, field):
            best = contender
    return best


def winner(field: Field) -> Contender:
    """The fastest; of those tied with it the smallest file; of files alike the least loss."""
    first = fastest(field)
    tied = [c for c in field.measured if not bar(c, field) and field.is_no_slower(c, first)]
    smallest = min(c.bytes for c in tied)
    alike = [c for c in tied if c.bytes <= ALIKE * smallest]
    return min(alike, key=lambda c: (c.loss, c.bytes))


def dominator(contender: Contender, field: Field) -> Contender | None:
    """One that is no slower, no larger and loses no more, and is better in one of these."""
    for other in field.measured:
        no_worse = (
            other is not contender
            and field.is_no_slower(other, contender)
            and other.bytes <= contender.bytes
            and other.loss <= contender.loss
        )
        better = (
            field.is_slower(contender, other)
            or other.bytes < contender.bytes
            or other.loss < contender.loss
        )
        if no_worse and better:
            return other
    return None
