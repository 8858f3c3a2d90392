"""An app proves its model when it starts, and asks again while it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgedl import runtime
from tests.graphs import replace_variant, write_classifier_bundle


def test_a_model_that_agrees_with_its_source_is_proved(
    classifier_bundle: Path, text_bundle: Path
) -> None:
    for bundle in (classifier_bundle, text_bundle):
        proof = runtime.prove(runtime.load(bundle, threads=1))
        assert next(iter(proof.inputs.values())).shape[0] == 1  # the smallest golden call
        assert proof.holds()


def test_another_answer_than_the_proved_one_is_noticed(classifier_bundle: Path) -> None:
    proof = runtime.prove(runtime.load(classifier_bundle, threads=1))
    changed = {name: array + 0.01 for name, array in proof.answers.items()}
    assert not replace(proof, answers=changed).holds()


def test_a_model_that_left_its_source_is_not_proved(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "wrong.bundle")
    replace_variant(path, "fp32", (path / "rounded.onnx").read_bytes())
    with pytest.raises(runtime.ParityError, match=r"wrong\.bundle, fp32: probabilities"):
        runtime.prove(runtime.load(path, threads=1))
