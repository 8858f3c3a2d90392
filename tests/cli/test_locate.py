"""edgedl parity --locate: a table, JSON, and one line where nothing can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.cli.conftest import Edgedl, Python, assert_one_error
from tests.cli.test_missing_extras import WITHOUT
from tests.graphs import (
    ClassifierWeights,
    classifier_graph,
    classifier_weights,
    replace_variant,
    write_classifier_bundle,
)


def test_the_verb_shows_a_table(edgedl: Edgedl, text_bundle: Path) -> None:
    result = edgedl("parity", text_bundle, "--locate")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["node", "operator", "local", "SQNR", "accumulated", "SQNR"]
    assert any(line.split()[1:2] == ["RNN"] for line in lines)
    assert "rounded against fp32: no node breaks" in result.stdout
    assert "one golden call, state as given" in result.stdout


def test_the_verb_names_the_node_that_breaks(edgedl: Edgedl, classifier_copy: Path) -> None:
    result = edgedl("parity", classifier_copy, "--locate", "--json")
    found: Mapping[str, Any] = msgspec.json.decode(result.stdout)
    assert found["against"] == "fp32"
    first = found["variants"]["rounded"]["first"]
    assert (first["operator"], found["variants"]["rounded"]["alone"]) == ("MatMul", True)
    assert "breaks" in edgedl("parity", classifier_copy, "--locate").stdout


@pytest.fixture
def classifier_copy(tmp_path: Path) -> Path:
    """A bundle whose second variant has a wrong kernel."""
    path = write_classifier_bundle(tmp_path / "b")
    right = classifier_weights()
    wrong = ClassifierWeights(np.negative(right.kernel), right.bias)
    replace_variant(path, "rounded", classifier_graph(wrong).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variant", "fp32"), "compared with itself"),
        (("--variant", "int9"), "no variant 'int9'"),
        (("--against", "int9"), "no variant 'int9'"),
    ],
)
def test_what_can_not_be_compared_is_one_line(
    edgedl: Edgedl, classifier_bundle: Path, options: tuple[str, str], message: str
) -> None:
    result = edgedl("parity", classifier_bundle, "--locate", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert_one_error(result.stderr, message)


@pytest.mark.parametrize(
    "options", [("--against", "rounded"), ("--locate", "--device", "cuda")], ids=str
)
def test_an_option_that_would_be_ignored_is_wrong_usage(
    edgedl: Edgedl, classifier_bundle: Path, options: tuple[str, ...]
) -> None:
    result = edgedl("parity", classifier_bundle, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--locate" in result.stderr


def test_without_the_exports_packages_it_says_what_to_install(
    python: Python, classifier_bundle: Path
) -> None:
    done = python("-c", WITHOUT, "onnx", "parity", classifier_bundle, "--locate")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_error(done.stderr, "onnx is not installed", hint="pip install 'edgedl[convert]'")
