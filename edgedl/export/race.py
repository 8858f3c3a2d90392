"""The race: rounds of launches, in which those that are clearly slower drop out.

Successive elimination: a few short launches of all, then longer ones of those that may
still be the fastest. The baseline and its twin run in every round, so that every
candidate is compared with them under the same weather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgedl.export.front import Field, fastest, winner


@dataclass(frozen=True)
class Pace:
    """How much a race may measure; durations are in seconds.

    `few` rounds of everything, each launch timed for `short_s`; then rounds of the
    finalists, `long_s` each, until `least` are done and every one is told apart or tied,
    `most` are done, or `budget_s`, making the candidates included, is over.
    """

    few: int = 3
    least: int = 8
    most: int = 20
    short_s: float = 0.1
    long_s: float = 0.3
    budget_s: float = 240.0


@dataclass(frozen=True)
class Lap:
    """One round: medians in nanoseconds by name, why some have none, and why some are invalid."""

    medians: Mapping[str, int]
    failed: Mapping[str, str] = field(default_factory=dict)
    invalid: Mapping[str, Sequence[str]] = field(default_factory=dict)


# Launches every name once, each in a fresh process timed for at least some seconds; the last
# argument is the round's number.
Launch = Callable[[Sequence[str], float, int], Lap]


@dataclass(frozen=True)
class Track:
    """The rounds run so far."""

    laps: tuple[Lap, ...] = ()

    def medians(self, name: str) -> tuple[int | None, ...]:
        """A name's median in every round."""
        return tuple(lap.medians.get(name) for lap in self.laps)

    @property
    def failed(self) -> dict[str, str]:
        """Who fell out, and why."""
        return {name: reason for lap in self.laps for name, reason in lap.failed.items()}


@dataclass(frozen=True)
class Race:
    """What a race needs: the pace, a way to launch, the time left, and the two that always run."""

    pace: Pace
    launch: Launch
    seconds: Callable[[], float]
    always: tuple[str, str]

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.seconds() >= self.pace.budget_s

    def heats(self, names: Sequence[str], track: Track) -> Track:
        """A few short rounds of these and the two that always run.

        Two rounds are run whatever the time: with fewer there is no ratio.
        """
        for done in range(self.pace.few):
            if done >= 2 and self.over:
                break
            track = self._lap(names, self.pace.short_s, track)
        return track

    def finals(self, line_up: Callable[[Track], Field], track: Track) -> Track:
        """Longer rounds of those that may be the fastest, while some are not told apart."""
        while len(track.laps) < self.pace.most and not self.over:
            field = line_up(track)
            names = unsettled(field)
            if not names and len(track.laps) >= self.pace.least:
                break
            track = self._lap(names or [winner(field).name], self.pace.long_s, track)
        return track

    def _lap(self, names: Sequence[str], least_s: float, track: Track) -> Track:
        out = track.failed
        running = dict.fromkeys((*self.always, *(n for n in names if n not in out)))
        return Track((*track.laps, self.launch(tuple(running), least_s, len(track.laps))))


def unsettled(field: Field) -> list[str]:
    """Those that may be the fastest, while any may still turn out slower or tied."""
    first = fastest(field)
    others = [c for c in field.measured if c is not first]
    if all(field.is_settled(c, first) for c in others):
        return []
    return [first.name, *(c.name for c in others if not field.is_slower(c, first))]
