"""A bundle against its own golden vectors, on the machine that the worker runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.errors import ParityError
from edgedl.runtime.golden import Arrays, GoldenVectors, read_evaluation, read_golden
from edgedl.runtime.host import describe_host
from edgedl.runtime.manifest import OutputParity
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of, failures
from edgedl.runtime.protocol import ParityAnswer, ParityRequest, VariantParity
from edgedl.runtime.quality import evaluate_variant, over_budget
from edgedl.runtime.settings import Settings

if TYPE_CHECKING:
    from edgedl.runtime.session import Model

# A later answer beside the first of the same session: threads may add in another order.
RTOL, ATOL = 1e-3, 1e-5


def compare(request: ParityRequest) -> ParityAnswer:
    """Verify every file of a bundle, then each variant against the golden vectors."""
    bundle = open_bundle(request.bundle)
    bundle.verify()
    manifest = bundle.manifest
    names = request.variants or tuple(v.name for v in manifest.variants)
    golden = read_golden(bundle)
    evaluation = read_evaluation(bundle)
    rows = tuple(_compare_variant(bundle, name, request, golden, evaluation) for name in names)
    return ParityAnswer(request.bundle, request.device, describe_host(), rows)


@dataclass(frozen=True)
class Proof:
    """A model that passed parity, and what it answered to its smallest golden call then."""

    model: Model
    inputs: Arrays
    answers: Arrays

    def holds(self) -> bool:
        """Whether it still answers that: one short run, for a service's health check."""
        now = self.model.run_feeds(self.inputs)
        return all(np.allclose(now[k], was, RTOL, ATOL) for k, was in self.answers.items())


def prove(model: Model) -> Proof:
    """Hold a loaded model to all of its golden vectors, on this machine.

    Raises:
        ParityError: It doesn't answer what the source framework did.
    """
    golden = read_golden(model.bundle)
    if wrong := failures(model_parity(model, golden)):
        raise ParityError(
            f"{model.bundle.path}, {model.variant.name}: {wrong[0]}",
            "`edgedl parity` shows all of it",
        )
    single = [vectors for vectors in golden if vectors.case.is_single]
    smallest = min(single, key=lambda v: sum(array.size for array in v.inputs.values()))
    return Proof(model, smallest.inputs, model.run_feeds(smallest.inputs))


def model_parity(model: Model, golden: Sequence[GoldenVectors]) -> tuple[OutputParity, ...]:
    """A loaded model held to golden vectors, one row per output; see `check_parity`."""
    manifest = model.manifest
    return check_parity(
        model.run_feeds,
        golden,
        model.variant.tolerance,
        manifest.state,
        classes_of(manifest),
        answer_outputs(manifest.outputs, manifest.state, manifest.task),
    )


def _compare_variant(
    bundle: Bundle,
    name: str,
    request: ParityRequest,
    golden: list[GoldenVectors],
    evaluation: Any,
) -> VariantParity:
    from edgedl.runtime.session import Model

    manifest = bundle.manifest
    variant = manifest.variant(name)
    with Model(bundle, variant, request.device, Settings(request.threads)) as model:
        outputs = model_parity(model, golden)
        quality = (
            evaluate_variant(model.run_feeds, manifest, variant, evaluation)
            if evaluation is not None
            else None
        )
    reasons = [*failures(outputs), over_budget(quality, variant.tolerance)]
    found = tuple(reason for reason in reasons if reason)
    return VariantParity(name, not found, outputs, quality, found)
