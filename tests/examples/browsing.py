"""The example's page in a real headless Chromium, served by the example's own server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

SERVE = Path(__file__).parents[2] / "examples" / "web" / "serve.py"

Stroke = Sequence[tuple[float, float]]


@contextmanager
def serving(*bundles: Path, options: Sequence[str] = ()) -> Iterator[str]:
    """The address of a server of the page, in a process of its own."""
    command = [sys.executable, str(SERVE), "--port", "0", *options, *map(str, bundles)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=10)


@dataclass
class Visit:
    """A page that is open: what it said on the console and what it asked for."""

    page: Page
    url: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def card(self, name: str) -> Locator:
        """A bundle's card, by the bundle's directory."""
        return self.page.locator(f'.card[data-bundle="bundles/{quote(name)}/"]')

    def proved(self, name: str) -> Locator:
        """A bundle's card, once it has been proved."""
        card = self.card(name)
        expect(card.locator(".proof[data-verdict]")).to_be_visible(timeout=30_000)
        return card

    def prove_all(self, name: str) -> dict[tuple[str, str], dict[str, str]]:
        """Press the button: what each row says, by variant and output."""
        card = self.proved(name)
        card.get_by_role("button", name="Prove every variant").click()
        expect(card.locator(".evidence")).to_be_visible(timeout=30_000)
        rows = card.locator("tr[data-output]")
        return {
            (row["variant"], row["output"]): row
            for row in rows.evaluate_all(
                "rows => rows.map((row) => ({...row.dataset, ...row.parentElement.dataset}))"
            )
        }

    def strangers(self) -> list[str]:
        """What was asked of another than the page's own server."""
        own = (self.url, f"blob:{self.url}", "data:")
        return [url for url in self.asked if not url.startswith(own)]


@contextmanager
def visiting(browser: Browser, url: str, query: str = "", **options: Any) -> Iterator[Visit]:
    """Open the page in a fresh context; at the end, all that a visit must not do is looked at."""
    context = browser.new_context(**options)
    visit = Visit(context.new_page(), url)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visit.said.append(message.text)

    visit.page.on("console", note)
    visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
    context.on("request", lambda request: visit.asked.append(request.url))
    try:
        visit.page.goto(url + query)
        yield visit
        assert visit.strangers() == []
        assert visit.said == []
    finally:
        context.close()


def draw(page: Page, canvas: Locator, strokes: Sequence[Stroke]) -> None:
    """Draw with the mouse; points are shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def write(card: Locator, prompt: str, **knobs: str) -> str:
    """Fill the form and press the button: the text that comes of it."""
    card.get_by_label("Prompt").fill(prompt)
    for name, value in knobs.items():
        card.locator(f"[name={name}]").fill(value)
    card.get_by_role("button", name="Write").click()
    expect(card.get_by_role("button", name="Write")).to_be_visible(timeout=30_000)
    expect(card.locator(".page")).to_have_attribute("aria-busy", "false")
    return card.locator(".written").text_content() or ""


Opener = Callable[..., Visit]
