"""How a variant's quality reads in a cell or a phrase."""

from __future__ import annotations

from edgedl.runtime.manifest import Quality


def show_top1(quality: Quality | None) -> str:
    """Top-1 agreement with the source."""
    return "-" if quality is None else f"{quality.top1:.2%}"


def show_quality(quality: Quality | None) -> str:
    """A quality beside its source's."""
    if quality is None:
        return "-"
    return f"{show_value(quality)} (source {show_amount(quality, quality.source)})"


def show_value(quality: Quality) -> str:
    """A quality by itself: 98.53% accuracy."""
    return f"{show_amount(quality, quality.value)} {quality.metric}"


def show_amount(quality: Quality, value: float) -> str:
    """A value in the unit of a quality: 98.53%, or nats per character."""
    return f"{value:.4f}" if quality.metric == "nats" else f"{value:.2%}"
