"""The manifest: what is known of a bundle, put together and written with its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgedl.export import evidence, graph
from edgedl.export.errors import WriteError
from edgedl.export.judgement import Verdict
from edgedl.export.nodes import opset_version
from edgedl.export.recipes.material import Product
from edgedl.export.request import ExportRequest
from edgedl.export.samples import GENERATED
from edgedl.export.study import Study
from edgedl.export.write import write_bundle
from edgedl.runtime.bundle import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Bundle,
    encode_manifest,
    open_bundle,
    parse_manifest,
)
from edgedl.runtime.golden import pack_golden, write_npz
from edgedl.runtime.host import describe_host, installed_versions
from edgedl.runtime.manifest import (
    Evaluation,
    Golden,
    Manifest,
    Search,
    Tolerance,
    Unquantised,
    Variant,
)

GOLDEN_FILE = "golden.npz"
EVALUATION_FILE = "eval.npz"
TOOLS = ("edgedl", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxsim", "numpy", "msgspec")


@dataclass(frozen=True)
class Made:
    """A variant's row in the manifest and its file's content.

    `asked` is how many candidates its recipe made and judged for it, about.
    """

    variant: Variant
    content: bytes
    asked: int = 1


def describe_variant(
    recipe: str,
    model: onnx.ModelProto,
    product: Product,
    tolerance: Tolerance,
    verdict: Verdict,
    unquantised: tuple[Unquantised, ...],
) -> Made:
    """A variant as the manifest lists it."""
    content = model.SerializeToString(deterministic=True)
    variant = Variant(
        name=recipe,
        file=f"{recipe}.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        recipe=recipe,
        tolerance=tolerance,
        opset=opset_version(model),
        ir_version=model.ir_version,
        min_onnxruntime=graph.least_onnxruntime(model),
        operators=graph.operators(model),
        parity=verdict.outputs,
        quality=verdict.quality,
        eval_quality=verdict.travelling,
        settings=dict(product.settings),
        unquantised=unquantised,
    )
    return Made(variant, content, product.asked)


def write(
    request: ExportRequest,
    study: Study,
    made: Sequence[Made],
    history: Mapping[str, Any],
    search: Search | None = None,
) -> Bundle:
    """Write the bundle and open it again as a user would.

    Args:
        request: What was asked for.
        study: What the source answered.
        made: The variants; the first one is the default.
        history: What `provenance` says of the stages.
        search: How the default was found, where it was.

    Raises:
        WriteError: It can't be written.
    """
    files = {m.variant.file: m.content for m in made}
    files[GOLDEN_FILE] = write_npz(pack_golden(study.reference.golden, study.interface.decisions))
    travelling = study.judge.travelling
    if travelling is not None:
        files[EVALUATION_FILE] = write_npz(evidence.pack(travelling))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=request.output.name.removesuffix(".bundle") or "model",
        task=request.task,
        inputs=study.interface.inputs,
        outputs=study.interface.outputs,
        state=study.interface.state,
        decisions=study.interface.decisions,
        default_variant=made[0].variant.name,
        variants=tuple(m.variant for m in made),
        golden=Golden(
            GOLDEN_FILE,
            *_sealed(files[GOLDEN_FILE]),
            tuple(v.case for v in study.reference.golden),
        ),
        evaluation=None
        if travelling is None
        else Evaluation(EVALUATION_FILE, *_sealed(files[EVALUATION_FILE]), len(travelling.labels)),
        search=search,
        provenance=_provenance(request, study, history),
    )
    files[MANIFEST_FILE] = _encoded(manifest)
    write_bundle(request.output, files, request.force)
    bundle = open_bundle(request.output)
    bundle.verify()
    return bundle


def _encoded(manifest: Manifest) -> bytes:
    """The manifest's bytes, read back before anything is written or replaced."""
    try:
        content = encode_manifest(manifest)
    except UnicodeEncodeError as error:
        raise WriteError(
            f"a file's name is not UTF-8: {error.object!a}", "rename it; JSON can't hold it"
        ) from None
    parse_manifest(content)
    return content


def _sealed(content: bytes) -> tuple[str, int]:
    return hashlib.sha256(content).hexdigest(), len(content)


def _provenance(request: ExportRequest, study: Study, history: Mapping[str, Any]) -> dict[str, Any]:
    """Where everything came from: source, samples, tools and machine."""
    given = study.given
    evaluation = study.evaluation
    host = describe_host()
    return {
        "source": {
            "given": request.source,
            "framework": study.source.framework,
            **{f"{k}_sha256": v for k, v in _file_hashes(request, study).items()},
        },
        **history,
        "sizes_refused_by_source": [{"sizes": r.sizes, "reason": r.reason} for r in study.refused],
        "samples": {
            "origin": given.origin,
            "real": given.origin != GENERATED,
            "sha256": given.sha256,
            "count": given.count,
            "calibration": study.calibration.count,
        },
        "sequence_in_parts": study.in_parts,
        "unmoved_outputs": list(study.unmoved),
        "evaluation": None
        if evaluation is None
        else {"origin": evaluation.origin, "samples": len(evaluation.labels)},
        "tools": installed_versions((*TOOLS, *study.source.distributions)),
        "machine": {"system": host.system, "processor": host.processor, "python": host.python},
    }


def _file_hashes(request: ExportRequest, study: Study) -> dict[str, str]:
    files = {"file": Path(request.source.rpartition(":")[0] or request.source)}
    if request.weights is not None:
        files["weights"] = request.weights
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if path.is_file()
    }
    return hashes if study.evaluation is None else {**hashes, "evaluation": study.evaluation.sha256}
