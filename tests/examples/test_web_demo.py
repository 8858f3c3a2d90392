"""The demo's own bundles on the web page: a drawn digit, a text, every variant's proof."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from playwright.sync_api import expect

from edgedl import runtime
from tests.examples.browsing import Opener, Stroke, draw, write
from tests.examples.page_parity import assert_same_parity

pytestmark = [
    pytest.mark.browser,
    pytest.mark.demo,
    pytest.mark.tensorflow,
    pytest.mark.torch,
]


def arc(x: float, y: float, across: float, down: float, start: int, end: int) -> Stroke:
    """Part of an ellipse; degrees go clockwise from its right."""
    angles = [math.radians(start + (end - start) * step / 12) for step in range(13)]
    return [(x + across * math.cos(a), y + down * math.sin(a)) for a in angles]


DIGITS = {
    "0": [arc(0.5, 0.5, 0.24, 0.36, -90, 270)],
    "1": [[(0.5, 0.1), (0.5, 0.9)]],
    "3": [
        [*arc(0.5, 0.32, 0.2, 0.18, -150, 90), *arc(0.5, 0.69, 0.23, 0.2, -90, 150)],
    ],
    "7": [[(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]],
}


def test_the_demos_bundles_answer_in_the_browser(visit: Opener, demo_clone: Path) -> None:
    digits, text = (demo_clone / "build/demo" / f"{name}.bundle" for name in ("digits", "text"))
    opened = visit(digits, text)
    for bundle in (digits, text):
        assert_same_parity(opened, bundle)

    card = opened.card(digits.name)
    for digit, strokes in DIGITS.items():
        draw(opened.page, card.locator(".pad canvas"), strokes)
        expect(card.locator(".answer")).to_have_attribute("data-label", digit)
        card.get_by_role("button", name="Clear").click()
        expect(card.locator(".answer[data-label]")).to_have_count(0)

    with runtime.load(text) as model:
        generator = model.generator()
        greedy = "".join(generator.generate("The class", 100, temperature=0))
        drawn = "".join(generator.generate("The class", 100, temperature=0.7, seed=1))
    card = opened.card(text.name)
    assert write(card, "The class", tokens="100", temperature="0") == greedy
    assert write(card, "The class", tokens="100", temperature="0.7", seed="1") == drawn
