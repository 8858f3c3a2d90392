"""The course of a run: samples summed up second by second, in bounded memory."""

from __future__ import annotations

from array import array

import numpy as np

from edgedl.runtime.protocol import Sustained, Window
from edgedl.runtime.watch import Watch

WINDOW_NS = 1_000_000_000
KEPT = 100_000
# Windows that may wait for a quiet moment to be summed up in.
WAITING = 60
# What summing up takes at most, on a slow machine: a part for each window and each sample.
FOLD_NS, FOLD_SAMPLE_NS = 500_000, 200
LOOK_NS = 300_000


class Course:
    """Samples as they come, kept as windows and as a random part of all.

    The part is a reservoir (J. S. Vitter, Random sampling with a reservoir, ACM TOMS 11
    (1985), algorithm R): each of all samples is in it with the same chance, and while there
    are no more than `kept`, it is all of them in their order.

    Args:
        start_ns: When the first window begins.
        watch: What saw the machine last is told of a window.
        kept: How many samples are kept.
    """

    def __init__(self, start_ns: int, watch: Watch, kept: int = KEPT) -> None:
        self._watch = watch
        self._start = self._begin = start_ns
        self._edge = start_ns + WINDOW_NS
        self._open = array("q")
        self._full: list[tuple[int, array[int]]] = []
        self._windows: list[Window] = []
        self._rng = np.random.default_rng(0)
        self._reservoir = np.empty(0, np.int64)
        self._limit = kept
        self._seen = 0

    def add(self, now: int, sample: int) -> bool:
        """Take a sample that was done now; whether a window is full with it."""
        self._open.append(sample)
        if now < self._edge:
            return False
        self._full.append((self._begin, self._open))
        self._open = array("q")
        self._begin, self._edge = now, now + WINDOW_NS
        return True

    def idle(self, ahead_ns: int) -> bool:
        """Sum up what waits, where that long is enough; whether there is time to look around."""
        if self._full:
            cost = FOLD_NS + FOLD_SAMPLE_NS * len(self._full[0][1])
            if ahead_ns > cost or len(self._full) > WAITING:
                self._fold(*self._full.pop(0))
                return False
        return ahead_ns > LOOK_NS

    def fold(self) -> None:
        """Sum up every full window."""
        while self._full:
            self._fold(*self._full.pop(0))

    def samples(self) -> tuple[int, ...]:
        """The samples that were kept; nothing is added afterwards."""
        self.fold()
        if self._open:
            self._fold(self._begin, self._open)
            self._open = array("q")
        return tuple(self._reservoir.tolist())

    def sustained(self) -> Sustained:
        """All windows so far."""
        return Sustained(self._seen, tuple(self._windows))

    def _fold(self, begin: int, collected: array[int]) -> None:
        values = np.frombuffer(collected, np.int64)
        self._keep(values)
        ordered = np.sort(values)
        p50, p99 = (int(ordered[min(int(q * ordered.size), ordered.size - 1)]) for q in (0.5, 0.99))
        start_s = round((begin - self._start) / 1e9, 3)
        seen = self._watch.latest
        khz = max(seen.clocks.values(), default=None) if seen else None
        celsius = seen.temperature if seen else None
        window = Window(start_s, values.size, p50, p99, int(ordered[-1]), khz, celsius)
        self._windows.append(window)

    def _keep(self, values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        room = self._limit - self._reservoir.size
        self._reservoir = np.concatenate([self._reservoir, values[:room]])
        rest = values[max(room, 0) :]
        if rest.size:
            numbers = np.arange(self._seen + values.size - rest.size, self._seen + values.size)
            places = self._rng.integers(0, numbers, endpoint=True)
            chosen = places < self._limit
            self._reservoir[places[chosen]] = rest[chosen]  # of equal places the last one stays
        self._seen += values.size
