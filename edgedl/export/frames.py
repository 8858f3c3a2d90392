"""What `--input-uint8` and `--output` ask for: pixels in, answers out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

Kind = Literal["argmax", "softmax", "top-k"]


@dataclass(frozen=True)
class PixelInput:
    """An input that takes uint8; the graph makes pixel * scale + offset of it.

    `input` empty means the only one that may be meant.
    """

    input: str
    scale: Fraction
    offset: Fraction = Fraction(0)


@dataclass(frozen=True)
class AnswerOutput:
    """An output that gives an answer over its last axis instead of scores.

    `output` empty means the only one that may be meant; `count` is K of top-K.
    """

    output: str
    kind: Kind
    count: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in the output's place."""
        return {
            "argmax": (f"{self.output}_class",),
            "softmax": (f"{self.output}_probabilities",),
            "top-k": (f"{self.output}_values", f"{self.output}_indices"),
        }[self.kind]

    @property
    def decides(self) -> bool:
        """Whether it gives classes, and the scores stay inside."""
        return self.kind != "softmax"


def parse_pixels(text: str) -> PixelInput:
    """Read `[INPUT:]scale=1/255[,offset=-1]`; fractions are exact.

    Raises:
        ValueError: It has another form.
    """
    match = re.fullmatch(
        r"(?:(?P<input>[^:=,]+):)?scale=(?P<scale>[^,=]+)(?:,offset=(?P<offset>[^,=]+))?", text
    )
    if match is None:
        raise ValueError(f"{text!r} is not [INPUT:]scale=1/255[,offset=0]")
    scale, offset = _fraction(match["scale"]), _fraction(match["offset"] or "0")
    if scale == 0:
        raise ValueError(f"{text!r}: a scale of 0 leaves nothing of the pixels")
    return PixelInput(match["input"] or "", scale, offset)


def _fraction(text: str) -> Fraction:
    """A decimal number, or one divided by another; one that float32 holds."""
    try:
        over, _, under = text.partition("/")
        number = Fraction(over) / Fraction(under or "1")
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no number such as 1/255 or 0.5") from None
    held = np.finfo(np.float32)
    if number and not Fraction(float(held.tiny)) <= abs(number) <= Fraction(float(held.max)):
        raise ValueError(f"{text!r} is no number that float32 can hold")
    return number


def parse_answer(text: str) -> AnswerOutput:
    """Read `[OUTPUT:]argmax`, `softmax` or `top-5`.

    Raises:
        ValueError: It has another form.
    """
    match = re.fullmatch(
        r"(?:(?P<output>[^:=,]+):)?(?P<kind>argmax|softmax|top-(?P<count>[1-9]\d*))", text
    )
    if match is None:
        raise ValueError(f"{text!r} is not [OUTPUT:]argmax, softmax or top-K, such as top-5")
    output = match["output"] or ""
    if match["count"]:
        return AnswerOutput(output, "top-k", int(match["count"]))
    return AnswerOutput(output, "argmax" if match["kind"] == "argmax" else "softmax")


def describe_frames(
    pixels: Sequence[PixelInput], answers: Sequence[AnswerOutput]
) -> dict[str, list[dict[str, str]]]:
    """What the manifest says of them; the fractions as they are."""
    return {
        "pixels": [
            {"input": p.input, "scale": str(p.scale), "offset": str(p.offset)} for p in pixels
        ],
        "answers": [
            {"output": a.output, "gives": f"top-{a.count}" if a.kind == "top-k" else a.kind}
            for a in answers
        ],
    }
