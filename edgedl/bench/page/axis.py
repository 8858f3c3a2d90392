"""Axes: values to pixels, and where ticks stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEW = 3  # a logarithmic axis that would have fewer ticks has even ones
LOG_STEPS = ((1, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,))
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """From values to pixels; `begin` may be right of `end`, or below it."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = ((math.log(x) if self.log else x) for x in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int = 7, few: int = FEW) -> list[float]:
        """Round values in the range, in order: so many on a logarithmic axis, if it can be."""
        if self.log:
            for steps in LOG_STEPS:
                found = _log_ticks(self.low, self.high, steps)
                if few <= len(found) <= most:
                    return found
            if len(found) > most:
                return found[:: math.ceil(len(found) / most)]
        return even_ticks(self.low, self.high, most)


def _log_ticks(low: float, high: float, steps: Sequence[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def even_ticks(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten."""
    step = tick_step(low, high, most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_step(low: float, high: float, most: int) -> float:
    """The least round step that makes no more than so many ticks."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(s * power for s in STEPS if s * power * most >= span * (1 - 1e-9))


def padded(values: Sequence[float], least: float, share: float = 0.08) -> tuple[float, float]:
    """A range that holds the values with some room, at least so wide."""
    low, high = min(values), max(values)
    room = max(share * (high - low), (least - (high - low)) / 2)
    return low - room, high + room


def decimals(step: float) -> int:
    """How many digits after the point tell multiples of a step apart."""
    digits = 0
    while digits < 9 and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return digits
