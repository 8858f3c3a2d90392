"""The paired test of a quality budget: source and variant answer the same samples.

Two bare percentages say little: 98.5 % against 98.4 % of 1000 samples may be one loss or
fifty losses and forty-nine gains. What tells is how often exactly one of the two is right.
The source's answers stand as they are; the samples are a draw from what will be asked.
"""

from __future__ import annotations

import math

from edgedl.runtime.manifest import Quality, Tolerance

# The standard normal distribution's 95 % quantile, and Student's for 1, 2, ... degrees of
# freedom; the last one serves for more, which is on the safe side (1.645 in the limit).
Z_95 = 1.6449
T_95 = (
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
    1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725,
)  # fmt: skip


def drop_bound(quality: Quality) -> float | None:
    """The one-sided 95 % upper bound of `Quality.drop`, in its unit.

    Accuracy with one label a sample: Tango's score interval over the discordant pairs. With
    many labels a sample, and for nats: Student's t over the samples' differences, since
    positions of one sequence are no independent draws.

    Returns:
        None where the quality has no paired counts, or one sample only.
    """
    if quality.worse is not None and quality.better is not None:
        return 100.0 * score_bound(quality.worse, quality.better, quality.samples)
    if quality.spread is None or quality.samples < 2:
        return None
    t = T_95[min(quality.samples - 2, len(T_95) - 1)]
    reach = 100.0 * t * quality.spread / math.sqrt(quality.samples)
    return quality.drop + (reach / quality.source if quality.metric == "nats" else reach)


def score_bound(worse: int, better: int, samples: int) -> float:
    """The one-sided 95 % upper bound of the difference of two paired proportions.

    Args:
        worse: Samples that only the first one gets right.
        better: Samples that only the second one gets right.
        samples: All samples.

    Returns:
        A share, not a percentage. With no discordant pair it is z^2 / (n + z^2).

    Source: T. Tango, Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design, Statistics in Medicine 17 (1998) 891-908.
    Chosen for few discordant pairs: Wald's interval has no width without any.
    """
    low, high = (worse - better) / samples, 1.0
    for _ in range(50):  # halved to 1e-15
        middle = (low + high) / 2
        if _score(worse, better, samples, middle) > -Z_95:
            low = middle
        else:
            high = middle
    return high


def _score(worse: int, better: int, samples: int, difference: float) -> float:
    """Tango's statistic: standard normal where the true difference is this one."""
    a = 2.0 * samples
    b = (2.0 * samples - worse + better) * difference - worse - better
    c = -better * difference * (1.0 - difference)
    only_better = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = samples * (2.0 * only_better + difference * (1.0 - difference))
    distance = worse - better - samples * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def can_prove(quality: Quality, max_drop: float) -> bool:
    """Whether a variant without a single discordant pair would be shown to hold the budget."""
    if quality.worse is not None and quality.better is not None:
        return 100.0 * score_bound(0, 0, quality.samples) <= max_drop
    return drop_bound(quality) is not None


def over_bound(quality: Quality | None, tolerance: Tolerance) -> str:
    """Why the budget is not shown to hold; empty where it is, or where that can't be told."""
    if quality is None or tolerance.max_drop is None or not can_prove(quality, tolerance.max_drop):
        return ""
    bound = drop_bound(quality)
    if bound is None or bound <= tolerance.max_drop:
        return ""
    unit = "% more nats" if quality.metric == "nats" else "points of accuracy"
    return (
        f"{quality.drop:.2f} {unit} lost on {quality.samples} samples{_counts(quality)}, so up to "
        f"{bound:.2f} at 95 % confidence; at most {tolerance.max_drop:g} is allowed"
    )


def _counts(quality: Quality) -> str:
    if quality.worse is None:
        return ""
    return f" ({quality.worse} worse, {quality.better} better)"


def shortage(quality: Quality | None, max_drop: float) -> str:
    """That the labels are too few for the budget; empty where they are enough or none."""
    if quality is None or quality.metric == "agreement" or can_prove(quality, max_drop):
        return ""
    return f"{quality.samples} labels can't tell {max_drop:g} points; the observed drop is used"
