"""A bundle against its own golden vectors, on the machine that the worker runs on."""

from __future__ import annotations

from typing import Any

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.golden import GoldenVectors, read_evaluation, read_golden
from edgedl.runtime.host import describe_host
from edgedl.runtime.parity import answer_outputs, check_parity, classes_of, failures
from edgedl.runtime.protocol import ParityAnswer, ParityRequest, VariantParity
from edgedl.runtime.quality import evaluate_variant, over_budget
from edgedl.runtime.settings import Settings


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
        outputs = check_parity(
            model.run_feeds,
            golden,
            variant.tolerance,
            manifest.state,
            classes_of(manifest),
            answer_outputs(manifest.outputs, manifest.state, manifest.task),
        )
        quality = (
            evaluate_variant(model.run_feeds, manifest, variant, evaluation)
            if evaluation is not None
            else None
        )
    reasons = [*failures(outputs), over_budget(quality, variant.tolerance)]
    found = tuple(reason for reason in reasons if reason)
    return VariantParity(name, not found, outputs, quality, found)
