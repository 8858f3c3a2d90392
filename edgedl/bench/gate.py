"""The gate for CI: whether B is slower than A by more than a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgedl.bench.compare import Compared, Comparison
from edgedl.bench.comparison_table import sentence
from edgedl.runtime.errors import EdgedlError, InputError


class SlowerError(EdgedlError):
    """A case that got slower than it may."""

    exit_code = 3


@dataclass(frozen=True)
class Gate:
    """What is let through.

    `above` is how much slower B may be: 0.05 for 5 %. The gate fails where B is shown to be
    slower than that: the whole interval lies above, which chance brings about in at most 2.5 %
    of runs. With `strict` it fails unless B is shown to be within the limit: every case was
    compared, and the whole interval lies below.
    """

    above: float
    strict: bool = False

    @property
    def limit(self) -> float:
        """The greatest ratio that is let through."""
        return 1 + self.above

    def check(self, compared: Compared) -> EdgedlError | None:
        """The error to end with, or None where B is let through."""
        for comparison in compared.comparisons:
            if not comparison.same_machine:
                return InputError(
                    f"A and B are of different machines ({comparison.cautions[0]}): no gate",
                    "measure both on one: edgedl bench A.bundle vs B.bundle --fail-above ...",
                )
        judged = [c for c in compared.comparisons if c.ratio is not None]
        slow = [c for c in judged if c.verdict == "slower" and _low(c) > self.limit]
        if slow:
            return _slower(f"slower by more than {self._shown}", slow, "")
        if self.strict:
            return self._not_shown(compared)
        if not judged:
            return InputError(f"nothing was compared: {sentence(compared.comparisons[0])}")
        return None

    def _not_shown(self, compared: Compared) -> EdgedlError | None:
        """What strictness asks beyond: every case is shown to be within the limit."""
        unsure = [c for c in compared.comparisons if c.ratio is None or c.ratio.high > self.limit]
        if unsure:
            needed = max(c.launches_to_tell or 2 for c in unsure)
            hint = f"--launches {needed} tells {self._shown} apart, by the spread that was seen"
            return _slower(f"not shown to be within {self._shown}", unsure, hint)
        if compared.only_a:
            return SlowerError(f"not compared, for B lacks it: {compared.only_a[0]}")
        return None

    @property
    def _shown(self) -> str:
        return f"{100 * self.above:.3g} %"


def _low(comparison: Comparison) -> float:
    return comparison.ratio.low if comparison.ratio else 0.0


def _slower(what: str, found: Sequence[Comparison], hint: str) -> SlowerError:
    worst = max(found, key=_low)
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return SlowerError(f"{what}: {sentence(worst)}{others}", hint)
