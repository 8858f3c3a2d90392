"""Which tensor of a variant is which of the model it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnx import GraphProto, ModelProto, NodeProto

from edgedl.export.nodes import names_read

DEQUANTISED = "_DequantizeLinear_Output"
QUANTISED = "_quantized"
INPUT = "input"
FOLDED = ("Relu", "Clip")
PASSING = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Slice", "Gather")


@dataclass(frozen=True)
class Match:
    """One tensor in both models.

    Args:
        tensor: Its name in the reference.
        node: The reference's node that makes it, or the input itself.
        operator: That node's operator; `input` for an input.
        enters: The variant's tensor that takes its value where a part of the variant is
            run by itself; before it is quantised, where both are there.
        measured: The variant's tensor that is compared; after it was quantised and
            dequantised, where that is all that later nodes read.
        scale: Where `measured` holds 8-bit numbers: their scale and zero point.
    """

    tensor: str
    node: str
    operator: str
    enters: str
    measured: str
    scale: tuple[str, str] | None = None


def match_tensors(reference: ModelProto, variant: ModelProto) -> tuple[Match, ...]:
    """The tensors that both models make, in the reference's order.

    By name: ONNX Runtime's quantisers keep it, and add `_DequantizeLinear_Output` to the
    tensor that later nodes read, or `_quantized` where there is no float one. What has
    another name is matched where the same operator with the same attributes reads the same
    values. Constants are left out.
    """
    made = {name for node in variant.graph.node for name in node.output if name}
    unrounded = {
        name
        for node in variant.graph.node
        if node.op_type != "QuantizeLinear"
        for name in names_read(node)
    }
    # A float tensor that is read beside its rounded twin is compared itself.
    made -= {name + DEQUANTISED for name in unrounded & made}
    found: dict[str, Match] = {}
    for value in reference.graph.input:
        if value.name + DEQUANTISED in made:
            measured = value.name + DEQUANTISED
            found[value.name] = Match(value.name, value.name, INPUT, value.name, measured)
    for node in reference.graph.node:
        for position, name in enumerate(node.output):
            match = _by_name(name, _label(node, position), node.op_type, made, variant.graph)
            if match is not None and node.op_type != "Constant":
                match = _after_folding(match, reference.graph, made)
                found[match.tensor] = match
    found |= _by_structure(reference, variant, found)
    order = [v.name for v in reference.graph.input]
    order += [name for node in reference.graph.node for name in node.output]
    return tuple(found[name] for name in order if name in found)


def _label(node: NodeProto, position: int) -> str:
    label = node.name or node.output[0]
    return f"{label} output {position}" if position else str(label)


def _by_name(
    name: str, label: str, operator: str, made: set[str], variant: GraphProto
) -> Match | None:
    if not name:
        return None
    dequantised, quantised = name + DEQUANTISED, name + QUANTISED
    if name in made:
        measured = dequantised if dequantised in made else name
        return Match(name, label, operator, name, measured)
    if dequantised in made:
        return Match(name, label, operator, dequantised, dequantised)
    if quantised in made:
        scale = _scale(quantised, variant)
        return Match(name, label, operator, quantised, quantised, scale) if scale else None
    return None


def _scale(name: str, graph: GraphProto) -> tuple[str, str] | None:
    """Scale and zero point of a tensor of 8-bit numbers, as its readers have them.

    They stand behind it where it is read as a number; nodes between (a Reshape, a MaxPool)
    keep them.
    """
    constants = {i.name for i in graph.initializer}
    for node in graph.node:
        for position, read in enumerate(node.input):
            behind = tuple(node.input[position + 1 : position + 3])
            if read != name:
                continue
            if len(behind) == 2 and constants.issuperset(behind):
                return behind[0], behind[1]
            if node.op_type in PASSING and node.output[0] != name:
                return _scale(node.output[0], graph)
    return None


def _after_folding(match: Match, graph: GraphProto, made: set[str]) -> Match:
    """The match of an activation that went into the 8-bit node before it.

    The quantiser drops a Relu or Clip there: the node's range begins where it cut. The
    tensor keeps the node's name, but holds what the activation made.
    """
    if match.scale is None:
        return match
    readers = [node for node in graph.node if match.tensor in node.input]
    if len(readers) != 1 or readers[0].op_type not in FOLDED:
        return match
    reader = readers[0]
    name = reader.output[0]
    if made & {name, name + QUANTISED, name + DEQUANTISED}:
        return match
    return replace(match, tensor=name, node=_label(reader, 0), operator=reader.op_type)


def _by_structure(
    reference: ModelProto, variant: ModelProto, named: Mapping[str, Match]
) -> dict[str, Match]:
    """Matches of what has another name, by what it is made of."""
    ours = _digests(reference.graph, {name: name for name in named})
    back = {m.measured: m.tensor for m in named.values()}
    back |= {m.enters: m.tensor for m in named.values()}
    theirs: dict[str, list[str]] = {}
    for name, digest in _digests(variant.graph, back).items():
        theirs.setdefault(digest, []).append(name)
    found = {}
    for node in reference.graph.node:
        for position, name in enumerate(node.output):
            twins = theirs.get(ours.get(name, ""), [])
            if name and name not in named and len(twins) == 1 and node.op_type != "Constant":
                label = _label(node, position)
                found[name] = Match(name, label, node.op_type, twins[0], twins[0])
    return found


def _digests(graph: GraphProto, known: Mapping[str, str]) -> dict[str, str]:
    """For every tensor a digest of how it is made; equal ones are equal values.

    A known tensor's digest is its name in the reference.
    """
    digests = {v.name: f"tensor {v.name}" for v in graph.input}
    digests |= {i.name: _digest(i.data_type, tuple(i.dims), i.raw_data or i.SerializeToString())
                for i in graph.initializer}  # fmt: skip
    for node in graph.node:
        attributes = sorted(a.SerializeToString() for a in node.attribute)
        inputs = [digests.get(name, name) for name in node.input]
        for position, name in enumerate(node.output):
            made = _digest(node.domain, node.op_type, attributes, inputs, position)
            digests[name] = f"tensor {known[name]}" if name in known else made
    return digests


def _digest(*parts: object) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()
