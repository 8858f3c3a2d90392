"""What bounds a node: made-up nodes on a made-up machine."""

from __future__ import annotations

import pytest

from edgedl.bench.profile import by_node, by_operator
from edgedl.bench.roofline import floor, model_floor, net_ns, overhead_ns
from edgedl.runtime.protocol import Case, Limits, NodeProfile, Profile
from edgedl.runtime.settings import Settings
from tests.bench.measurements import HOST

# 1 byte a nanosecond from the weights, 10 from near by; 100 and 400 operations a nanosecond.
LIMITS = Limits(1, 4000, 1 << 20, 10e9, 1e9, 0.5e9, 100e9, 400e9)
CPU = "CPUExecutionProvider"


def node(name: str, operator: str, traced_ns: float, **fields: object) -> NodeProfile:
    given = {"parameter_bytes": 0, "moved_bytes": 0, **fields}
    return NodeProfile(name, operator, CPU, 1, traced_ns, **given)  # type: ignore[arg-type]


def profile(*nodes: NodeProfile, median_ns: float, limits: Limits | None = LIMITS) -> Profile:
    return Profile(Case("a.bundle", "fp32"), HOST, Settings(1), 50, median_ns, nodes, limits)


DENSE = node("dense", "Gemm", 8000, parameter_bytes=4000, moved_bytes=1000,
             operations=200_000, arithmetic="float32")  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (4100, "bytes")),
        ({"operations": 1_000_000}, (10_000, "operations")),
        ({"operations": 1_000_000, "arithmetic": "int8"}, (4100, "bytes")),
        ({"operations": 4_000_000, "arithmetic": "int8"}, (10_000, "operations")),
        ({"operations": 4_000_000, "arithmetic": ""}, (4100, "bytes")),
        ({"parameter_bytes": None}, (None, "unknown")),
        (
            {"parameter_bytes": 0, "moved_bytes": 0, "operations": None, "arithmetic": ""},
            (0, "nothing"),
        ),
    ],
)
def test_the_larger_of_bytes_and_operations_is_the_floor(
    changed: dict[str, object], expected: tuple[float | None, str]
) -> None:
    fields = {"parameter_bytes": 4000, "moved_bytes": 1000, "operations": 200_000,
              "arithmetic": "float32", **changed}  # fmt: skip
    least = floor(node("dense", "Gemm", 8000, **fields), LIMITS)
    assert (least.ns, least.bound) == expected


def test_what_tracing_adds_is_taken_off_each_node() -> None:
    traced = profile(DENSE, node("relu", "Relu", 4000, moved_bytes=80), median_ns=6000)
    assert overhead_ns(traced) == 3000
    assert [net_ns(n, 3000) for n in traced.nodes] == [5000, 1000]
    assert overhead_ns(profile(DENSE, median_ns=9000)) == 0


def test_tracing_adds_no_more_than_the_lightest_node_took() -> None:
    view = node("view", "Reshape", 2000)
    assert overhead_ns(profile(DENSE, view, median_ns=3000)) == 2000


def test_a_recurrent_layer_reads_its_state_kernel_at_every_step() -> None:
    fields = {"parameter_bytes": 4000, "operations": 200_000, "arithmetic": "float32"}
    assert floor(node("lstm", "LSTM", 9, **fields, reread_bytes=63_000), LIMITS).ns == 10_300


def test_a_limit_that_was_beaten_is_told() -> None:
    assert (
        "dense was faster than its limit, which was measured too low"
        in by_node(profile(DENSE, median_ns=3000)).notes[2]
    )
    assert len(by_node(profile(DENSE, median_ns=9000)).notes) == 3


def test_a_models_floor_is_the_sum_or_unknown() -> None:
    relu = node("relu", "Relu", 4000, moved_bytes=80)
    assert model_floor(profile(DENSE, relu, median_ns=6000)) == 4108
    packed = node("packed", "Gemm", 1, parameter_bytes=None)
    assert model_floor(profile(DENSE, packed, median_ns=6000)) is None
    assert model_floor(profile(DENSE, median_ns=6000, limits=None)) is None


def test_the_table_shows_the_most_first_and_how_far_each_is_from_its_limit() -> None:
    relus = [node(f"relu{i}", "Relu", 3500, moved_bytes=80) for i in range(3)]
    traced = profile(*relus, DENSE, median_ns=8500 - 2000)
    table = by_node(traced, top=2)
    rates = ("1 (82 %)", "40 (40 %)")
    assert table.rows[0] == ("dense", "Gemm", "5 us", "77 %", *rates, "bytes", "4.1 us", "82 %")
    assert table.rows[1][:4] == ("relu0", "Relu", "< 1 us", "8 %")
    assert table.rows[1][-1] == ""  # below what the trace can tell
    assert table.rows[2][:4] == ("2 more", "", "1 us", "15 %")
    assert table.rows[3] == ("untraced run", "", "6.5 us", "", "", "", "", "4.12 us", "63 %")
    assert "3 us a node are taken off for tracing" in table.notes[0]
    operators = by_operator(traced)
    assert [row[:4] for row in operators.rows] == [
        ("Gemm", "1", "5 us", "77 %"),
        ("Relu", "3", "1.5 us", "23 %"),
    ]


def test_without_limits_the_table_says_why() -> None:
    table = by_node(profile(DENSE, median_ns=9000, limits=None))
    assert table.rows[0][6:] == ("unknown", "unknown", "unknown")
    assert "no limits" in table.notes[1]
