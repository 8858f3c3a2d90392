"""export(): a trained model in, a verified bundle out. Nothing unverified is written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgedl.export.convert import convert
from edgedl.export.frames import describe_frames
from edgedl.export.framing import frame
from edgedl.export.manifest import write
from edgedl.export.recipes import Material
from edgedl.export.request import ExportRequest
from edgedl.export.rewrite import apply_passes, simplify_checked
from edgedl.export.samples import GENERATED
from edgedl.export.search import Now, rejections, search
from edgedl.export.sources import open_source
from edgedl.export.stages import StageReport, Stopwatch, Tell
from edgedl.export.study import Study, study_source
from edgedl.export.surgery import prepared
from edgedl.export.target import find_target
from edgedl.export.variants import check_names, make_variants
from edgedl.export.write import check_target
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.quality import BATCH


def export(
    request: ExportRequest,
    tell: Tell = lambda report: None,
    now: Now = lambda text: None,
) -> Bundle:
    """Convert, simplify, quantise and prove; then write the bundle.

    Args:
        request: What to export and how.
        tell: Called after every stage.
        now: Told what a search is doing, every second or so.

    Returns:
        The bundle that was written.

    Raises:
        EdgedlError: Something the person can act on; ParityError where a stage's outputs
            left their tolerance or a recipe its budget. Nothing is written then.
    """
    check_target(request.output, request.force)
    check_names(request.recipes)
    # Made before anything is told: an interrupt while it is made would leave it behind.
    with tempfile.TemporaryDirectory(prefix="edgedl-") as scratch:
        return _export(request, Path(scratch), tell, now)


def _export(request: ExportRequest, scratch: Path, tell: Tell, now: Now) -> Bundle:
    watch = Stopwatch()
    target = find_target(request.target)
    source, request = frame(open_source(request.source, request.weights), request)
    study = study_source(source, request)
    tell(StageReport(source.framework, _describe(study), watch.lap()))
    model = convert(study, request, tell)
    if request.simplify:
        model = simplify_checked(model, study, scratch, tell)
        model = apply_passes(model, study, tell)
    found = None
    material = Material(
        prepared(model.model),
        study.calibration,
        scratch,
        target,
        study.judgement(request.max_drop),
        request.min_ort,
    )
    if request.searches:
        made, found = search(material, request, study, tell, now)
        rejected = rejections(found)
    else:
        made, rejected = make_variants(material, request, tell)
    history = {
        "conversion": model.conversion,
        "framing": describe_frames(request.pixels, request.answers),
        "simplified": model.simplified,
        "passes": list(model.passes),
        "passes_rejected": list(model.passes_rejected),
        "recipes_rejected": rejected,
        "target": {"device": target.device, "features": list(target.features)},
    }
    return write(request, study, made, history, found)


def _describe(study: Study) -> str:
    axes = ", ".join(study.interface.axes) or "none (--dynamic INPUT:AXIS=NAME frees one)"
    cases = f"dynamic: {axes}; {len(study.reference.golden)} golden cases, {_samples(study)}"
    if not study.unmoved:
        return cases
    return f"{cases}; every sample is answered alike, which proves little: " + ", ".join(
        study.unmoved
    )


def _samples(study: Study) -> str:
    count, origin = f"{study.given.count} samples", study.given.origin
    if origin == GENERATED:
        return f"{count} made up from the inputs' shapes; quantisation needs real --samples"
    if BATCH not in study.interface.axes:
        return f"all of {origin} as one sample: no axis is called {BATCH!r}"
    return f"{count} from {origin}"
