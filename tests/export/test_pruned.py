"""pruned: channels that others tell go, these make up for them, and what is tied stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from edgedl.export.errors import RecipeError
from edgedl.export.passes.wiring import Wiring
from edgedl.export.recipes import Material, Product, find_recipe
from edgedl.export.recipes.channel_groups import find_groups
from edgedl.export.recipes.merging import Reading, merging, order_of_removal
from edgedl.export.samples import Samples
from edgedl.export.surgery import prepared
from edgedl.runtime.golden import Array
from edgedl.runtime.manifest import TensorSpec
from tests.export.fake_source import model, normal
from tests.export.layers import ROWS, material, run, sqnr_db

PIXELS = TensorSpec("x", "float32", ("batch", 2, 8, 8))
ANSWERS = TensorSpec("y", "float32", ("batch", 5))
MAPS = TensorSpec("y", "float32", ("batch", 5, 4, 4))
IMAGES = normal(0, ROWS, 2, 8, 8)
FILTERS, HALF = 32, 16
EXACT_DB = 80.0


def conv(x: str, y: str, name: str, **attributes: object) -> NodeProto:
    """Convolution of weights `NAME.w` and, where it is a constant, bias `NAME.b`."""
    return helper.make_node("Conv", [x, f"{name}.w", f"{name}.b"], [y], name, **attributes)


def doubled(seed: int = 1) -> dict[str, Array]:
    """Filters whose second half are the first half's, times 0.5 to 2."""
    scale = np.linspace(0.5, 2.0, HALF, dtype=np.float32)
    filters, bias = normal(seed, HALF, 2, 3, 3), normal(seed + 1, HALF)
    return {
        "first.w": np.concatenate([filters, filters * scale[:, None, None, None]]),
        "first.b": np.concatenate([bias, bias * scale]),
    }


START = [conv("x", "convolved", "first"), helper.make_node("Relu", ["convolved"], ["h"], "relu")]
POOL = helper.make_node("MaxPool", ["h"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2])
FLATTENINGS = {
    "NCHW": [helper.make_node("Flatten", ["pooled"], ["flat"], "flat")],
    "NCHW, by Reshape": [helper.make_node("Reshape", ["pooled", "to"], ["flat"], "flat")],
    "NHWC": [
        helper.make_node("Transpose", ["pooled"], ["last"], "last", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "to"], ["flat"], "flat"),
    ],
}
DENSE = [
    helper.make_node("MatMul", ["flat", "head"], ["product"], "head"),
    helper.make_node("Add", ["product", "bias"], ["y"], "add"),
]
HEAD = {
    "to": np.array([-1, FILTERS * 9], np.int64),
    "head": normal(3, FILTERS * 9, 5),
    "bias": normal(4, 5),
}


def graph(
    nodes: list[NodeProto], constants: dict[str, Array], output: TensorSpec = ANSWERS
) -> onnx.ModelProto:
    """x -> nodes -> y, with the constants that are read."""
    read = {name for node in nodes for name in node.input}
    held = {name: array for name, array in constants.items() if name in read}
    return model(nodes, {"x": PIXELS.shape}, {output.name: output.shape}, held)


def strict(given: onnx.ModelProto, scratch: Path, output: TensorSpec = ANSWERS) -> Material:
    """Material whose budget allows nothing but rounding."""
    return material(given, (PIXELS, output), IMAGES, scratch, max_drop=0.0, least_sqnr_db=EXACT_DB)


def made(of: Material) -> Product:
    recipe = find_recipe("pruned")
    assert not recipe.obstacle(of)
    return recipe.make(of)


def check(of: Material, product: Product, channels: dict[str, list[int]]) -> None:
    """These channels went, and the answers are the same."""
    assert product.settings["channels"] == channels
    onnx.checker.check_model(product.model, full_check=True)
    answer, expected = (run(m, of, IMAGES) for m in (product.model, of.model))
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-3 * np.abs(expected).max())
    assert sqnr_db(answer, expected) > EXACT_DB


@pytest.mark.parametrize("flattening", FLATTENINGS)
def test_filters_that_repeat_others_go_and_nothing_changes(flattening: str, tmp_path: Path) -> None:
    nodes = [*START, POOL, *FLATTENINGS[flattening], *DENSE]
    of = strict(graph(nodes, {**doubled(), **HEAD}), tmp_path)
    product = made(of)
    check(of, product, {"first": [FILTERS, HALF]})
    shapes = [tuple(i.dims) for i in product.model.graph.initializer]
    assert (HALF, 2, 3, 3) in shapes
    assert (HALF * 9, 5) in shapes


def test_a_channel_that_others_add_up_to_goes_where_nothing_bends_it(tmp_path: Path) -> None:
    filters = normal(1, HALF, 2, 3, 3)
    mix = normal(2, HALF, HALF) / 4
    weights = {
        "first.w": np.concatenate([filters, np.einsum("km,mchw->kchw", mix, filters)]),
        "first.b": normal(5, FILTERS),  # a constant more: it goes into the next layer's bias
    }
    nodes = [conv("x", "h", "first"), conv("h", "y", "second", strides=[1, 1])]
    second = {"second.w": normal(3, 5, FILTERS, 3, 3), "second.b": normal(4, 5)}
    of = strict(graph(nodes, {**weights, **second}, MAPS), tmp_path, MAPS)
    check(of, made(of), {"first": [FILTERS, HALF]})


PADDED = conv("h", "y", "second", pads=[1, 1, 1, 1])
PADDED_MAPS = TensorSpec("y", "float32", ("batch", 5, 6, 6))
SECOND = {"second.w": normal(3, 5, FILTERS, 3, 3), "second.b": normal(4, 5)}


def constant_from(channel: int) -> dict[str, Array]:
    """Filters that see nothing from this channel on."""
    weights = {"first.w": normal(1, FILTERS, 2, 3, 3), "first.b": abs(normal(2, FILTERS)) + 1}
    weights["first.w"][channel:] = 0
    return weights


def test_constant_channels_go_into_a_bias_that_was_not_there(tmp_path: Path) -> None:
    second = helper.make_node("Conv", ["h", "second.w"], ["y"], "second")
    of = strict(graph([*START, second], {**constant_from(HALF), **SECOND}, MAPS), tmp_path, MAPS)
    check(of, made(of), {"first": [FILTERS, HALF]})


def test_before_padding_one_constant_channel_stays_for_all(tmp_path: Path) -> None:
    # A constant in the bias would be seen at the border too, where the channel is zero.
    given = graph([*START, PADDED], {**constant_from(HALF), **SECOND}, PADDED_MAPS)
    with pytest.raises(RecipeError, match="no channels can go"):
        made(strict(given, tmp_path, PADDED_MAPS))
    given = graph([*START, PADDED], {**constant_from(HALF - 1), **SECOND}, PADDED_MAPS)
    of = strict(given, tmp_path, PADDED_MAPS)
    check(of, made(of), {"first": [FILTERS, HALF]})


def test_repeated_filters_go_before_a_padded_convolution_too(tmp_path: Path) -> None:
    of = strict(
        graph([*START, PADDED], {**doubled(), **SECOND}, PADDED_MAPS), tmp_path, PADDED_MAPS
    )
    check(of, made(of), {"first": [FILTERS, HALF]})


def test_two_layers_that_read_a_channel_both_make_up_for_it(tmp_path: Path) -> None:
    nodes = [
        *START,
        conv("h", "a", "second"),
        helper.make_node("AveragePool", ["h"], ["mean"], "mean", kernel_shape=[3, 3]),
        helper.make_node("Conv", ["mean", "third.w"], ["b"], "third"),
        helper.make_node("Add", ["a", "b"], ["y"], "sum"),
    ]
    constants = {**doubled(), **SECOND, "third.w": normal(6, 5, FILTERS, 1, 1)}
    of = strict(graph(nodes, constants, MAPS), tmp_path, MAPS)
    product = made(of)
    check(of, product, {"first": [FILTERS, HALF]})
    assert "joins it with another value" in product.settings["untouched"]["second"]


def test_what_treats_channels_apart_is_followed(tmp_path: Path) -> None:
    """Batch normalisation, x * sigmoid(x), a depthwise convolution, per-channel constants."""
    scale = np.tile(normal(11, HALF), 2)
    norm = {
        "gamma": scale, "beta": np.tile(normal(12, HALF), 2),
        "mean": np.tile(normal(13, HALF), 2), "variance": np.tile(abs(normal(14, HALF)) + 1, 2),
    }  # fmt: skip
    filters, bias = normal(1, HALF, 2, 3, 3), normal(2, HALF)
    constants = {
        "first.w": np.concatenate([filters, filters]), "first.b": np.concatenate([bias, bias]),
        **norm, **SECOND, "slope": np.tile(normal(15, HALF, 1, 1), (2, 1, 1)),
        "apart.w": np.tile(normal(16, HALF, 1, 3, 3), (2, 1, 1, 1)),
        "apart.b": np.tile(normal(17, HALF), 2),
    }  # fmt: skip
    nodes = [
        conv("x", "convolved", "first"),
        helper.make_node("BatchNormalization", ["convolved", *norm], ["normal"], "norm"),
        helper.make_node("Sigmoid", ["normal"], ["gate"], "gate"),
        helper.make_node("Mul", ["normal", "gate"], ["silu"], "silu"),
        conv("silu", "apart", "apart", group=FILTERS, pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["apart", "slope"], ["h"], "prelu"),
        conv("h", "y", "second"),
    ]
    of = strict(graph(nodes, constants, MAPS), tmp_path, MAPS)
    product = made(of)
    check(of, product, {"first": [FILTERS, HALF]})
    assert product.settings["untouched"]["apart"] == "it is a grouped convolution"


def test_the_units_of_a_dense_layer_go_like_filters(tmp_path: Path) -> None:
    kernel, bias = normal(1, 128, HALF), normal(2, HALF)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "kernel", "b"], ["product"], "dense", transB=1),
        helper.make_node("Tanh", ["product"], ["h"], "tanh"),
        helper.make_node("Gemm", ["h", "out"], ["y"], "out"),
    ]
    constants = {
        "kernel": np.ascontiguousarray(np.tile(kernel, 2).T), "b": np.tile(bias, 2),
        "out": normal(3, FILTERS, 5),
    }  # fmt: skip
    of = strict(graph(nodes, constants), tmp_path)
    check(of, made(of), {"dense": [FILTERS, HALF]})


def node(operator: str, *read: str, to: str = "y", **attributes: object) -> NodeProto:
    return helper.make_node(operator, read, [to], operator.lower(), **attributes)


TIES = {
    "a residual": (
        [helper.make_node("Conv", ["h", "one"], ["more"], "one"), node("Add", "h", "more")],
        "joins it with another value",
    ),
    "a concatenation": ([node("Concat", "h", "h", axis=1)], "(Concat) reads it"),
    "a grouped convolution": ([node("Conv", "h", "grouped", group=2)], "grouped convolution"),
    "a mean over channels": ([node("ReduceMean", "h", axes=[1])], "across channels"),
    "a softmax over channels": ([node("Softmax", "h", axis=1)], "(Softmax) reads it"),
    "a product with itself": ([node("MatMul", "h", "h")], "(MatMul) reads it"),
    "a product along space": ([node("MatMul", "h", "space")], "another layout"),
    "a Reshape that mixes": ([node("Reshape", "h", "mixed")], "more than flatten"),
    "an output": ([node("Relu", "h", to="y")], "output of the model"),
}


@pytest.mark.parametrize("tie", TIES)
def test_what_ties_channels_to_their_places_is_respected(tie: str, tmp_path: Path) -> None:
    nodes, reason = TIES[tie]
    constants = {
        **doubled(), "one": normal(2, FILTERS, FILTERS, 1, 1), "space": normal(3, 6, 4),
        "grouped": normal(4, FILTERS, HALF, 1, 1), "mixed": np.array([-1, 36], np.int64),
    }  # fmt: skip
    given = graph([*START, *nodes], constants, TensorSpec("y", "float32", ("batch", "a", "b", "c")))
    groups, stay = find_groups(Wiring(prepared(given)), 64)
    assert reason in stay["first"]
    assert "first" not in {group.name for group in groups}


def test_a_value_that_is_an_output_as_well_keeps_its_channels() -> None:
    given = graph([*START, POOL, *FLATTENINGS["NCHW"], *DENSE], {**doubled(), **HEAD})
    given.graph.output.append(helper.make_tensor_value_info("pooled", 1, ["batch", FILTERS, 3, 3]))
    _, stay = find_groups(Wiring(prepared(given)), 64)
    assert stay["first"] == "pooled is an output of the model, or read inside an If or a Loop"


def filters() -> dict[str, Array]:
    """Filters of which none repeats another, but some matter less."""
    sizes = np.geomspace(1, 0.02, FILTERS, dtype=np.float32)[:, None, None, None]
    return {"first.w": normal(1, FILTERS, 2, 3, 3) * sizes, "first.b": normal(2, FILTERS) / 10}


def cnn(weights: dict[str, Array]) -> onnx.ModelProto:
    return graph([*START, POOL, *FLATTENINGS["NHWC"], *DENSE], {**weights, **HEAD})


def test_merging_loses_far_less_than_dropping(tmp_path: Path) -> None:
    whole = filters()
    of = material(cnn(whole), (PIXELS, ANSWERS), IMAGES, tmp_path, max_drop=50.0)
    product = made(of)
    (kept,) = (
        numpy_helper.to_array(i)
        for i in product.model.graph.initializer
        if i.name.startswith("first__pruned1")
    )
    assert len(kept) < FILTERS
    stays = [any(np.array_equal(one, other) for other in kept) for one in whole["first.w"]]
    bare = cnn({name: array * np.reshape(stays, (-1, *[1] * (array.ndim - 1))).astype(np.float32)
                for name, array in whole.items()})  # fmt: skip
    expected = run(of.model, of, IMAGES)
    merged, dropped = (sqnr_db(run(m, of, IMAGES), expected) for m in (product.model, bare))
    assert merged > dropped + 3


def test_a_tighter_budget_keeps_more_channels(tmp_path: Path) -> None:
    kernel = (normal(1, 128, 96) * np.geomspace(1, 1e-3, 96)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "kernel"], ["product"], "dense"),
        helper.make_node("Relu", ["product"], ["h"], "relu"),
        helper.make_node("MatMul", ["h", "out"], ["y"], "out"),
    ]
    given = graph(nodes, {"kernel": kernel, "out": normal(3, 96, 5)})
    kept = []
    for least in (15.0, 30.0):
        of = material(given, (PIXELS, ANSWERS), IMAGES, tmp_path, 50.0, least_sqnr_db=least)
        product = made(of)
        assert of.passes(product.model)
        kept.append(product.settings["channels"]["dense"][1])
    assert kept[0] < kept[1] < 96


def test_the_close_kind_keeps_all_but_a_thousandth_whatever_the_budget(tmp_path: Path) -> None:
    kernel = (normal(1, 128, 96) * np.geomspace(1, 1e-3, 96)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "kernel"], ["product"], "dense"),
        helper.make_node("Relu", ["product"], ["h"], "relu"),
        helper.make_node("MatMul", ["h", "out"], ["y"], "out"),
    ]
    given = graph(nodes, {"kernel": kernel, "out": normal(3, 96, 5)})
    of = material(given, (PIXELS, ANSWERS), IMAGES, tmp_path, 50.0, least_sqnr_db=15.0)
    close = find_recipe("pruned-close").make(of)
    (before, left) = close.settings["channels"]["dense"]
    assert made(of).settings["channels"]["dense"][1] < left < before
    assert left % 8 == 0
    expected = run(of.model, of, IMAGES)
    assert 27 < sqnr_db(run(close.model, of, IMAGES), expected) < 50


def test_where_every_channel_is_needed_the_close_kind_says_so(tmp_path: Path) -> None:
    alone = {
        "first.w": normal(1, 8, 2, 3, 3),
        "first.b": normal(2, 8),
        "second.w": normal(3, 5, 8, 3, 3),
    }
    nodes = [*START, helper.make_node("Conv", ["h", "second.w"], ["y"], "second")]
    of = strict(graph(nodes, alone, MAPS), tmp_path, MAPS)
    with pytest.raises(RecipeError, match="every channel is needed"):
        find_recipe("pruned-close").make(of)


@pytest.mark.parametrize(
    "name", ["pruned+low-rank", "pruned+int8-weights", "pruned+low-rank+int8-weights"]
)
def test_what_follows_works_on_what_is_left(name: str, tmp_path: Path) -> None:
    kernel = normal(1, 128, 8) @ normal(2, 8, HALF * 4)  # of rank 8, and twice
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "kernel"], ["product"], "dense"),
        helper.make_node("Relu", ["product"], ["h"], "relu"),
        helper.make_node("MatMul", ["h", "out"], ["y"], "out"),
    ]
    constants = {"kernel": np.tile(kernel, 2) / 8, "out": normal(3, HALF * 8, 5)}
    given = graph(nodes, constants)
    of = material(given, (PIXELS, ANSWERS), IMAGES, tmp_path, max_drop=20.0)
    product = find_recipe(name).make(of)
    assert of.passes(product.model)
    stored = [numpy_helper.to_array(i) for i in product.model.graph.initializer]
    assert sum(a.nbytes for a in stored) < constants["kernel"].nbytes / 2


def test_the_order_does_not_depend_on_how_many_go_at_once() -> None:
    rows = normal(0, 4000, 24) @ normal(1, 24, 24)
    weights = normal(2, 24, 10)
    reading = Reading((rows.T @ rows).astype(np.float64), (weights @ weights.T).astype(np.float64))
    order, lost = order_of_removal([reading])
    assert sorted(order) == list(range(24))
    gone, kept = np.sort(order[:10]), np.sort(order[10:])
    mix, _ = merging(reading, kept, gone)
    noise = (rows[:, gone] - rows[:, kept] @ mix) @ weights[gone]
    assert lost[9] == pytest.approx(np.sum(noise**2) / reading.energy, rel=1e-3)


def test_without_samples_nothing_says_what_a_channel_carries(tmp_path: Path) -> None:
    of = strict(cnn(filters()), tmp_path)
    nothing = Samples({"x": IMAGES[:0]}, (PIXELS,), "", "", empty=True)
    assert "needs calibration samples" in find_recipe("pruned").obstacle(
        replace(of, calibration=nothing)
    )
