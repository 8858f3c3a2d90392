"""Bundles that many tests read. A test that changes a bundle writes its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.demo_clone import make_clone
from tests.graphs import write_classifier_bundle, write_text_bundle

# A shell that starts pytest in the background has SIGINT ignored, and every child would
# inherit that: what Ctrl-C does could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an image classifier; read only."""
    return write_classifier_bundle(tmp_path_factory.mktemp("bundles") / "shapes.bundle")


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a text generator; read only."""
    return write_text_bundle(tmp_path_factory.mktemp("bundles") / "letters.bundle")


@pytest.fixture(scope="session")
def demo_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after a short demo: two trained models and their bundles; read only."""
    return make_clone(tmp_path_factory.mktemp("clone"))
