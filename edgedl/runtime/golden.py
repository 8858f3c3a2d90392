"""Golden vectors and labelled samples: NumPy archives inside a bundle.

An archive holds arrays under `case/tensor`. A case with several steps is a stateful
model fed back to itself: its per-step inputs and outputs are stacked on a leading
axis of steps, and its state tensors are the state before the first and after the
last step. In a `forced` case every tensor is stacked, state too; a `text` case holds a
text and two scores of each token, see `edgedl.runtime.free_text`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import BundleError
from edgedl.runtime.manifest import Decision, GoldenCase, Manifest

Array = NDArray[Any]
Arrays = dict[str, Array]

# What NumPy and zipfile raise on an archive that is damaged, encrypted or made otherwise.
UNREADABLE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    TypeError,
    AttributeError,
    RuntimeError,
)


@dataclass(frozen=True)
class GoldenVectors:
    """One case: what goes in and what the source framework answered.

    `scores` holds what an output that gives classes chose from, by that output's name.
    """

    case: GoldenCase
    inputs: Arrays
    outputs: Arrays
    scores: Arrays = field(default_factory=dict)


def read_npz(content: bytes, where: str) -> Arrays:
    """The arrays of an .npz file's bytes; pickled objects are refused.

    Args:
        content: The file's bytes.
        where: The file to name in errors.

    Raises:
        BundleError: It is not an archive of plain arrays.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise BundleError(f"{where} is not an .npz file", "write it with numpy.savez")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise BundleError(
                f"{where} holds pickled objects, which could run code: refused",
                "store plain numeric arrays with numpy.savez",
            ) from None
        raise BundleError(f"{where} is not an .npz file: {error}") from None
    except UNREADABLE as error:
        raise BundleError(f"{where} is not a readable .npz file: {error}") from None
    alien = [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]
    if alien:
        raise BundleError(f"{where} holds {alien[0]!r}, which is no array")
    return arrays


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """An .npz file's bytes; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict[str, Any](arrays))
    return buffer.getvalue()


def pack_golden(vectors: Iterable[GoldenVectors], decisions: Iterable[Decision] = ()) -> Arrays:
    """Golden vectors under the archive's names."""
    behind = {decision.output: decision.scores for decision in decisions}
    return {
        f"{v.case.name}/{name}": array
        for v in vectors
        for name, array in (
            *v.inputs.items(),
            *v.outputs.items(),
            *((behind[output], scores) for output, scores in v.scores.items()),
        )
    }


def read_golden(bundle: Bundle) -> list[GoldenVectors]:
    """The bundle's golden vectors, verified against the manifest's hash."""
    golden = bundle.manifest.golden
    where = str(bundle.path / golden.file)
    arrays = read_npz(bundle.read(golden), where)
    return [_unpack(case, arrays, bundle.manifest, where) for case in golden.cases]


def largest_call(golden: Iterable[GoldenVectors]) -> GoldenVectors:
    """The largest golden case of a single step."""
    single = [vectors for vectors in golden if vectors.case.is_single]
    return max(single, key=lambda v: sum(array.size for array in v.inputs.values()))


def _unpack(case: GoldenCase, arrays: Arrays, manifest: Manifest, where: str) -> GoldenVectors:
    def pick(names: list[str]) -> Arrays:
        missing = [name for name in names if f"{case.name}/{name}" not in arrays]
        if missing:
            raise BundleError(f"{where} lacks {case.name}/{missing[0]}", "export the bundle again")
        return {name: arrays[f"{case.name}/{name}"] for name in names}

    outputs = [t.name for t in manifest.outputs]
    decisions = manifest.decisions
    if case.kind == "text":
        outputs = [name for name in outputs if f"{case.name}/{name}" in arrays]
        decisions = tuple(d for d in decisions if d.output in outputs)
    scores = pick([d.scores for d in decisions])
    return GoldenVectors(
        case,
        pick([t.name for t in manifest.inputs]),
        pick(outputs),
        {d.output: scores[d.scores] for d in decisions},
    )


def read_evaluation(bundle: Bundle) -> tuple[Arrays, Array, Arrays] | None:
    """The labelled samples that travel: inputs, labels and the source's own outputs.

    Returns:
        None where the bundle carries none. Sample arrays have the samples on their batch
        axis; labels are int64, (samples,) or (samples, time); the source's outputs are its
        top-1 classes at the same positions, under the name `source_top1`.
    """
    evaluation = bundle.manifest.evaluation
    if evaluation is None:
        return None
    where = str(bundle.path / evaluation.file)
    arrays = read_npz(bundle.read(evaluation), where)
    labels = arrays.pop("labels", None)
    source = {k: arrays.pop(k) for k in list(arrays) if k.startswith("source_")}
    if labels is None:
        raise BundleError(f"{where} lacks labels", "export the bundle again")
    return arrays, labels, source
