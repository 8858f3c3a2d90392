"""The page in a real browser: it asks for nothing, says nothing, and fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from edgedl.bench.findings import Findings, read_manifests
from edgedl.bench.page import render
from edgedl.runtime.manifest import Quality
from tests.bench.test_page import row
from tests.examples.conftest import asked_for, browser
from tests.graphs import change_variant

pytestmark = pytest.mark.browser
__all__ = ["asked_for", "browser"]


@pytest.fixture
def file(classifier_bundle: Path, tmp_path: Path) -> Path:
    """A page of two variants whose discs lie on each other."""
    for name in ("fp32", "rounded"):
        judged = Quality("accuracy", 0.98, 0.98, 1.0, 1000)
        change_variant(classifier_bundle, name, quality=judged)
    rows = [row(name, bundle=str(classifier_bundle)) for name in ("fp32", "rounded")]
    page = tmp_path / "page.html"
    page.write_text(render(Findings(tuple(rows), read_manifests([r.case for r in rows]))))
    return page


def opened(browser: Browser, file: Path, width: int, **options: str) -> tuple[Page, list[str]]:
    """The page, and what it said or asked for."""
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)  # type: ignore[arg-type]
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url))
    page.goto(file.as_uri())
    return page, seen


def test_it_asks_for_nothing_and_its_styles_hold(browser: Browser, file: Path) -> None:
    page, seen = opened(browser, file, 1200, color_scheme="dark")
    assert [url for url in seen if not url.startswith("data:")] == [file.as_uri()]
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    assert dark != page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    assert page.get_by_role("img", name="latency distributions").is_visible()
    page.close()


def test_a_phone_scrolls_within_tables_and_plots_not_the_page(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    inner = "e => e.scrollWidth > e.clientWidth"
    assert page.get_by_role("region", name="Timings").evaluate(inner)
    page.close()


def test_no_label_covers_another(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 1200)
    boxes = [text.bounding_box() for text in page.locator("svg text.label").all()]
    assert len(boxes) >= 5  # two discs, the source, two bands
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a is not None
            assert b is not None
            across = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
            down = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
            assert across <= 0 or down <= 0
    page.close()
