"""int8-weights: weights in 8 bits, activations in float: a quarter of the bytes.

Matrices become MatMulNBits where the onnxruntime it is for has its 8-bit kernel, which reads
a quarter of the memory. Other weights are stored as bytes, cast and scaled per channel: ONNX
Runtime computes that once, when it loads the model, so such a layer runs at float speed.
(DequantizeLinear would say the same, but is kept for every run.) Tables are looked up in
bytes and scaled afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, TensorProto, helper

from edgedl.export.nodes import attribute, copied
from edgedl.export.recipes.material import RECURRENT, Material, Product
from edgedl.export.recipes.nbits import nbits_nodes
from edgedl.export.recipes.projections import minor, projections
from edgedl.export.recipes.symmetric import symmetric
from edgedl.export.releases import EIGHT_BITS, reaches
from edgedl.export.surgery import float_weight, rewritten, weights_of
from edgedl.runtime.golden import Array

# Weights that share a scale. Measured with onnxruntime 1.32 and AVX-512 VNNI, one row of 2,704
# or 5,408 by 64 or 128: blocks of 256 take 0.94 of the time of 128, and those 0.8 to 0.85 of 32;
# the digits' accuracy is the same within 1 of 10,000. A matrix is padded to whole blocks.
BLOCKS = (256, 128)
PADDING = 1.05
# The weights of each operator: their positions among its inputs, and the axis of channels.
WEIGHTS = {
    "Conv": ((1,), 0),
    "ConvTranspose": ((1,), 1),
    "MatMul": ((1,), 1),
    "Gemm": ((1,), 1),
    "LSTM": ((1, 2), 1),
    "GRU": ((1, 2), 1),
    "RNN": ((1, 2), 1),
}
# What two more nodes, a scale and their names take in a file.
OVERHEAD = 300


def obstacle(material: Material) -> str:
    """There must be weights large enough to save bytes."""
    if _worth_it(material):
        return ""
    return f"no weights are so large that 8 bits save bytes{material.outside(*WEIGHTS)}"


def make(material: Material) -> Product:
    """Every weight that is worth it in 8 bits."""
    model = material.model
    worth = _worth_it(material)
    replacements: dict[str, Sequence[NodeProto]] = {}
    added: dict[str, Array] = {}
    fast = _fast(material)
    for node in model.graph.node:
        held = [name for name in node.input if name in worth]
        # A weight may also go where it stays in float: into a Loop, say.
        if not held or not (node.op_type in WEIGHTS or _is_table(node)):
            continue
        if node.name in fast:
            nodes, weights = fast[node.name]
        elif node.op_type == "Gather":
            nodes, weights = _table(node, worth[held[0]])
        else:
            nodes, weights = _cast_and_scaled(node, {name: worth[name] for name in held})
        replacements[node.name] = nodes
        added.update(weights)
    settings = {"weights": "int8", "activations": "float32", "products": len(fast)}
    return Product(rewritten(model, replacements, added), settings, {})


def _fast(material: Material) -> dict[str, tuple[Sequence[NodeProto], dict[str, Array]]]:
    """The projections that are MatMulNBits, by name."""
    if not reaches(material.min_ort, EIGHT_BITS):
        return {}
    found = projections(material.model)
    small = minor(found)
    return {
        p.name: nbits_nodes(p, 8, block_size(len(p.weight))) for p in found if p.name not in small
    }


def block_size(rows: int) -> int:
    """The larger block where it costs next to no more padding, else the smaller one."""
    large, small = (-(-rows // block) * block for block in BLOCKS)
    return BLOCKS[0] if large <= PADDING * small else BLOCKS[1]


def _worth_it(material: Material) -> dict[str, Array]:
    """Weights by name whose bytes, less their scales', are worth two nodes more."""
    weights = weights_of(material.model)
    worth = {}
    for node in material.model.graph.node:
        positions = (0,) if _is_table(node) else WEIGHTS.get(node.op_type, ((), 0))[0]
        for position in positions:
            name = node.input[position] if position < len(node.input) else ""
            weight = float_weight(weights, name)
            if weight is None or weight.ndim < 2:
                continue
            channels = weight.shape[_axis(node)]
            if 3 * weight.size - 4 * channels > OVERHEAD:
                worth[name] = weight
    return worth


def _is_table(node: NodeProto) -> bool:
    """A Gather of rows: an embedding."""
    return bool(node.op_type == "Gather" and attribute(node, "axis", 0) == 0)


def _axis(node: NodeProto) -> int:
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0 if node.op_type == "Gather" else WEIGHTS[node.op_type][1]


def _quantised(weight: Array, axis: int, keep: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """int8 values and the scale of each channel, which multiplies them by broadcasting."""
    return symmetric(weight, tuple(a for a in range(weight.ndim) if a not in (axis, *keep)))


def _cast_and_scaled(
    node: NodeProto, held: dict[str, Array]
) -> tuple[Sequence[NodeProto], dict[str, Array]]:
    """The node after a Cast and a Mul for each weight."""
    copy = copied(node)
    nodes: list[NodeProto] = []
    added: dict[str, Array] = {}
    for name, weight in held.items():
        # Each direction of a recurrent layer has scales of its own.
        keep = (0,) if node.op_type in RECURRENT else ()
        values, scale = _quantised(weight, _axis(node), keep)
        own = f"{node.name}__{name}"
        added |= {f"{own}__int8": values, f"{own}__scale": scale}
        nodes += [
            helper.make_node("Cast", [f"{own}__int8"], [f"{own}__cast"], f"{own}__cast",
                             to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{own}__cast", f"{own}__scale"], [own], own),
        ]  # fmt: skip
        copy.input[:] = [own if given == name else given for given in copy.input]
    return [*nodes, copy], added


def _table(node: NodeProto, weight: Array) -> tuple[Sequence[NodeProto], dict[str, Array]]:
    """Rows looked up as bytes, and their scales beside them."""
    values, scale = _quantised(weight, 0)
    own, index = node.name, node.input[1]
    nodes = [
        helper.make_node("Gather", [f"{own}__int8", index], [f"{own}__rows"], f"{own}__rows"),
        helper.make_node("Gather", [f"{own}__scale", index], [f"{own}__scales"], f"{own}__scales"),
        helper.make_node("Cast", [f"{own}__rows"], [f"{own}__cast"], f"{own}__cast",
                         to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{own}__cast", f"{own}__scales"], [node.output[0]],
                         f"{own}__scaled"),
    ]  # fmt: skip
    return nodes, {f"{own}__int8": values, f"{own}__scale": scale}
