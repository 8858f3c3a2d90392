"""A headless Chromium for the tests that open the page in one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.examples.browsing import Opener, Visit, serving, visiting

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skips what needs a browser where the environment says so, and only there."""
    marked = request.node.get_closest_marker("browser") is not None
    if marked and os.environ.get("EDGEDL_SKIP_BROWSER"):
        pytest.skip("EDGEDL_SKIP_BROWSER is set")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: its event loop would be in the way of other modules' own."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.fail("there is no Chromium: run `make browser`, or set EDGEDL_SKIP_BROWSER=1")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=list(FLAGS))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opener]:
    """Opens the page on bundles."""
    with ExitStack() as stack:

        def open_page(*bundles: Path, query: str = "", **options: object) -> Visit:
            url = stack.enter_context(serving(*bundles))
            return stack.enter_context(visiting(browser, url, query, **options))

        yield open_page
