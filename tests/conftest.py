"""Bundles that many tests read. A test that changes a bundle writes its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs import write_classifier_bundle, write_text_bundle


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an image classifier; read only."""
    return write_classifier_bundle(tmp_path_factory.mktemp("bundles") / "shapes.bundle")


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a text generator; read only."""
    return write_text_bundle(tmp_path_factory.mktemp("bundles") / "letters.bundle")
