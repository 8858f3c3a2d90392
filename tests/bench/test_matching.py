"""Which cases of two runs belong together."""

from __future__ import annotations

import pytest

from edgedl.bench.matching import match_cases, name_pairs
from edgedl.runtime.errors import InputError
from edgedl.runtime.protocol import Case, OpenLoop


def cases(*variants: str, bundle: str = "x.bundle", **fields: object) -> list[Case]:
    return [Case(bundle, variant, **fields) for variant in variants]  # type: ignore[arg-type]


def test_the_same_case_of_another_bundle_and_place_is_matched() -> None:
    matched = match_cases(
        cases("fp32", "int8", bundle="/ci/main/x.bundle", least_s=0.5),
        cases("int8", "fp32", bundle="/ci/branch/x.bundle", least_s=2.0),
    )
    assert matched.pairs == ((0, 1), (1, 0))
    assert matched.only_a == matched.only_b == ()


def test_what_tells_the_sides_apart_is_what_is_compared() -> None:
    for a, b in (
        (cases("fp32"), cases("int8")),
        (cases("fp32"), cases("fp32", mode="app")),
        (cases("fp32", open_loop=OpenLoop(10)), cases("fp32", open_loop=OpenLoop(20))),
        (cases("fp32", threads=1), cases("fp32", threads=4)),
        (cases("fp32", device="cpu"), cases("fp32", device="cuda")),
        (cases("fp32", sizes={"batch": 1}), cases("fp32", sizes={"batch": 8})),
        (cases("fp32", "int8"), cases("fp32", "int8", bundle="other.bundle", threads=1)),
    ):
        assert len(match_cases(a, b).pairs) == len(a)


def test_sizes_devices_and_threads_have_to_be_the_same() -> None:
    a = [Case("x.bundle", "fp32", "cpu", threads=t, sizes={"batch": n}) for t in (1, 2)
         for n in (1, 8)]  # fmt: skip
    b = [a[3], a[0], Case("x.bundle", "fp32", "cpu", threads=2, sizes={"batch": 4})]
    matched = match_cases(a, b)
    assert matched.pairs == ((0, 1), (3, 0))
    assert matched.only_a == ("x fp32 cpu threads 1 batch 8", "x fp32 cpu threads 2 batch 1")
    assert matched.only_b == ("x fp32 cpu threads 2 batch 4",)


def test_a_variant_that_one_side_lacks_is_named() -> None:
    matched = match_cases(cases("fp32", "int8"), cases("fp32"))
    assert matched.pairs == ((0, 0),)
    assert matched.only_a == ("x int8 cpu",)


def test_a_case_that_is_there_twice_can_not_be_matched() -> None:
    with pytest.raises(InputError, match="B has x fp32 cpu twice"):
        match_cases(cases("fp32"), cases("fp32", "fp32"))


def test_frameworks_are_matched_by_their_names() -> None:
    ours = Case("x.bundle", "fp32", label="Keras call", subject="/a/frameworks.py:keras")
    theirs = Case("x.bundle", "fp32", label="Keras call", subject="/b/frameworks.py:keras")
    assert match_cases([ours, *cases("fp32")], [theirs, *cases("fp32")]).pairs == ((0, 0), (1, 1))


def test_names_say_what_is_shared_and_what_differs() -> None:
    fp32, int8 = cases("fp32", "int8")
    (names,) = name_pairs([(fp32, int8)])
    assert (names.shared, names.a, names.b) == ("x", "fp32", "int8")
    (names,) = name_pairs([(fp32, fp32)])
    assert (names.shared, names.a, names.b) == ("x fp32", "A", "B")


def test_names_tell_the_pairs_of_a_table_apart() -> None:
    one, eight = (Case("x.bundle", "fp32", sizes={"batch": n}) for n in (1, 8))
    names = name_pairs([(one, one), (eight, eight)])
    assert [name.shared for name in names] == ["x fp32 batch 1", "x fp32 batch 8"]
