"""Public names for what an .onnx file calls its tensors and dynamic axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgedl.export.interface import clean_name
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.quality import BATCH

# Names by which exporters and people call the batch axis.
_BATCH = re.compile(r"n|b|bs|bsz|batch.*|.*_batch", re.IGNORECASE)
# What tf2onnx, paddle2onnx, spox and onnxsim write where an axis has no name.
_NAMELESS = re.compile(r"|\?|-1|none|unk__\d+|(p2o\.)?DynamicDimension\.\d+", re.IGNORECASE)


@dataclass(frozen=True)
class RawInput:
    """An input as the file has it; a dynamic axis is its symbol, or None where it has none."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def unique_names(raw: Sequence[str]) -> tuple[str, ...]:
    """Clean names, scopes left out where they are not needed to tell two apart."""
    short = [clean_name(name) for name in raw]
    full = [re.sub(r"\W+", "_", name).strip("_") or "tensor" for name in raw]
    names: list[str] = []
    for position, name in enumerate(short):
        chosen = name if short.count(name) == 1 else full[position]
        names.append(f"{chosen}_{position}" if chosen in names else chosen)
    return tuple(names)


def name_specs(inputs: Sequence[RawInput], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The inputs under their public names, every dynamic axis named.

    Equal symbols are one axis, as in ONNX. A symbol that is called like a batch, and an
    axis 0 without a name, is the batch; another axis without a name is called after its
    input and position.
    """
    keys = {
        (i, axis): dim if dim is not None and not _NAMELESS.fullmatch(dim) else (names[i], axis)
        for i, value in enumerate(inputs)
        for axis, dim in enumerate(value.shape)
        if not isinstance(dim, int)
    }
    public: dict[str | tuple[str, int], str] = {}
    for key in keys.values():
        if key not in public:
            public[key] = _axis_name(key, set(public.values()))
    return tuple(
        TensorSpec(
            names[i],
            value.dtype,
            tuple(
                dim if isinstance(dim, int) else public[keys[i, axis]]
                for axis, dim in enumerate(value.shape)
            ),
        )
        for i, value in enumerate(inputs)
    )


def _axis_name(key: str | tuple[str, int], taken: set[str]) -> str:
    if isinstance(key, tuple):
        name = BATCH if key[1] == 0 else f"{key[0]}_{key[1]}"
    else:
        name = BATCH if _BATCH.fullmatch(key) else re.sub(r"\W+", "_", key).strip("_")
    if name == BATCH:
        return name
    if not name or name[0].isdigit():
        name = f"axis_{name}"
    while name in taken:
        name += "_"
    return name
