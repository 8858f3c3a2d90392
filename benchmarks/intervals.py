"""Which 95 % interval of a few launches holds the truth in 95 % of trials, and how wide it is.

    python -m benchmarks.intervals

Launches are made up: each has its own centre, drawn from a spread whose centre is known, and
samples around it. Every method sees the same launches. The truth is the geometric mean that
infinitely many launches would have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgedl.bench.stats import t_975
from edgedl.bench.table import Table, markdown
from edgedl.cli.terminal import print_table

RESULTS = Path(__file__).parent / "results"
LAUNCHES = (3, 5, 10, 15, 20, 40)
TRIALS = 4000
RESAMPLES = 999
SAMPLES = 25  # a launch's
WITHIN = 0.05  # what a launch's samples differ by, in logarithms
CHUNK = 200  # trials at a time: what is held is CHUNK x RESAMPLES x launches numbers

Array = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Spread:
    """How launches differ: logarithms of their centres, with a known mean."""

    name: str
    draw: Callable[[Rng, tuple[int, int]], Array]
    mean: float


def _two_groups(rng: Rng, shape: tuple[int, int]) -> Array:
    return np.log(1.2) * (rng.random(shape) < 0.3) + rng.normal(0, 0.01, shape)


SPREADS = (
    Spread("lognormal, 5 %", lambda rng, shape: rng.normal(0, 0.05, shape), 0.0),
    Spread("bimodal: 3 of 10 launches 20 % slower", _two_groups, 0.3 * float(np.log(1.2))),
    Spread("heavy tails: t with 3 degrees, 3 %",
           lambda rng, shape: 0.03 * rng.standard_t(3, shape), 0.0),
    Spread("only ever slower: exponential, 5 %",
           lambda rng, shape: rng.exponential(0.05, shape), 0.05),
)  # fmt: skip


@dataclass(frozen=True)
class Trials:
    """Launches as every method sees them: log samples (trials, launches, samples)."""

    samples: Array
    rng: Rng

    @property
    def medians(self) -> Array:
        """Logarithms of the launches' medians: (trials, launches)."""
        return np.median(self.samples, axis=2)

    def weights(self) -> Array:
        """Resamples of the launches, as shares of each: (resamples, launches)."""
        count = self.samples.shape[1]
        return self.rng.multinomial(count, [1 / count] * count, RESAMPLES) / count


Bounds = tuple[Array, Array]


def student(trials: Trials) -> Bounds:
    logs = trials.medians
    count = logs.shape[1]
    reach = t_975(count - 1) * logs.std(axis=1, ddof=1) / np.sqrt(count)
    return logs.mean(axis=1) - reach, logs.mean(axis=1) + reach


def percentile(trials: Trials) -> Bounds:
    means = trials.medians @ trials.weights().T
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return low, high


def bca(trials: Trials) -> Bounds:
    """Bias-corrected, accelerated: Efron, Better bootstrap confidence intervals, 1987."""
    logs = trials.medians
    means = np.sort(logs @ trials.weights().T, axis=1)
    mean = logs.mean(axis=1, keepdims=True)
    below = (means < mean).mean(axis=1).clip(1 / (RESAMPLES + 1), RESAMPLES / (RESAMPLES + 1))
    bias = np.array([NormalDist().inv_cdf(p) for p in below])
    apart = (logs - mean) / (logs.shape[1] - 1)  # the jackknife's means, from their own
    size = np.maximum((apart**2).sum(axis=1), 1e-300)
    acceleration = (apart**3).sum(axis=1) / (6 * size**1.5)
    return tuple(_adjusted(means, bias, acceleration, z) for z in (-1.96, 1.96))  # type: ignore[return-value]


def _adjusted(means: Array, bias: Array, acceleration: Array, z: float) -> Array:
    shifted = bias + z
    levels = [NormalDist().cdf(x) for x in bias + shifted / (1 - acceleration * shifted)]
    places = np.clip(np.array(levels) * RESAMPLES, 0, RESAMPLES - 1).astype(int)
    return means[np.arange(len(means)), places]


def bootstrap_t(trials: Trials) -> Bounds:
    """Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, section 12.5."""
    logs = trials.medians
    weights = trials.weights()
    mean, error = logs.mean(axis=1), logs.std(axis=1, ddof=1)
    means = logs @ weights.T
    spread = np.sqrt(np.maximum((logs**2) @ weights.T - means**2, 0))
    # A resample of one launch over and over has no spread: its t is infinite.
    spread[spread < 1e-7] = 0
    with np.errstate(divide="ignore"):
        t = (means - mean[:, None]) / spread
    low, high = np.quantile(t, (0.025, 0.975), axis=1, method="closest_observation")
    scale = error * np.sqrt((logs.shape[1] - 1) / logs.shape[1])
    return mean - high * scale, mean - low * scale


def hierarchical(trials: Trials) -> Bounds:
    """Launches drawn again, then the samples within each: percentiles of the means."""
    count, rng = trials.samples.shape[1], trials.rng
    medians = _resampled_medians(trials)
    chosen = rng.integers(0, count, (RESAMPLES, count))
    drawn = rng.integers(0, medians.shape[2], (RESAMPLES, count))
    low, high = np.quantile(medians[:, chosen, drawn].mean(axis=2), (0.025, 0.975), axis=1)
    return low, high


def _resampled_medians(trials: Trials, draws: int = 60) -> Array:
    """Every launch's median, its samples drawn again: (trials, launches, draws)."""
    samples = trials.samples
    again = trials.rng.integers(0, samples.shape[2], (draws, samples.shape[2]))
    return np.median(samples[:, :, again], axis=3)


METHODS: dict[str, Callable[[Trials], Bounds]] = {
    "Student's t": student,
    "percentile bootstrap": percentile,
    "BCa bootstrap": bca,
    "bootstrap-t": bootstrap_t,
    "hierarchical bootstrap": hierarchical,
}


class Cell(msgspec.Struct, frozen=True):
    """How one method did: the share of trials that held the truth, and its usual width.

    `width` is the median of high / low - 1 over the trials; None where that is unbounded.
    """

    spread: str
    launches: int
    method: str
    coverage: float
    width: float | None


def examine(spread: Spread, launches: int, trials: int, seed: int) -> list[Cell]:
    """Every method on the same made-up launches."""
    held: dict[str, list[Array]] = {name: [] for name in METHODS}
    widths: dict[str, list[Array]] = {name: [] for name in METHODS}
    rng = np.random.default_rng((seed, launches))
    for _ in range(trials // CHUNK):
        centres = spread.draw(rng, (CHUNK, launches))
        noise = rng.normal(0, WITHIN, (CHUNK, launches, SAMPLES))
        for name, method in METHODS.items():
            low, high = method(Trials(centres[:, :, None] + noise, rng))
            held[name].append((low <= spread.mean) & (spread.mean <= high))
            widths[name].append(high - low)
    return [
        Cell(
            spread.name, launches, name, round(float(np.mean(held[name])), 4), _width(widths[name])
        )
        for name in METHODS
    ]


def _width(widths: list[Array]) -> float | None:
    middle = float(np.median(np.concatenate(widths)))
    return None if np.isinf(middle) else round(float(np.expm1(middle)), 4)


def table(cells: list[Cell], spread: str) -> Table:
    """One line a method, one column a number of launches."""
    counts = sorted({cell.launches for cell in cells})
    by = {(c.method, c.launches): c for c in cells if c.spread == spread}
    rows = tuple(
        (method, *(_shown(by[method, launches]) for launches in counts)) for method in METHODS
    )
    return Table((spread, *(f"{n} launches" for n in counts)), rows)


def _shown(cell: Cell) -> str:
    width = "unbounded" if cell.width is None else f"{cell.width:.1%}"
    return f"{cell.coverage:.1%} ({width})"


@click.command()
@click.option("--results", "folder", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--trials", type=click.IntRange(CHUNK), default=TRIALS, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(folder: Path, trials: int, seed: int) -> None:
    """Coverage and width of every interval, at several spreads and numbers of launches."""
    cells: list[Cell] = []
    for place, spread in enumerate(SPREADS):
        for launches in LAUNCHES:
            cells += examine(spread, launches, trials, seed + place)
        print_table(table(cells, spread.name))
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"trials": trials, "resamples": RESAMPLES, "seed": seed, "cells": cells}
    (folder / "intervals.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"
    )
    parts = [f"# Coverage of 95 % intervals, and their usual width\n\n{trials} trials a cell."]
    parts += [markdown(table(cells, spread.name)).strip() for spread in SPREADS]
    (folder / "intervals.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
