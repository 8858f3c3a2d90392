"""Compositions that a search tries, and those that it doesn't: made-up candidates and times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from edgedl.export.candidates import Tried
from edgedl.export.recipes import RECIPES, Product, Recipe
from edgedl.export.search import Means, conclude, explore
from edgedl.runtime.manifest import Candidate
from tests.export.contenders import PACE, machine, run, tried, verdicts


@pytest.fixture
def composing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with a recipe that leaves float work for the others."""
    factored = Recipe("factored", True, lambda m: "", lambda m: Product(m.model), composes=True)
    monkeypatch.setitem(RECIPES, "factored", factored)


@pytest.mark.usefixtures("composing")
def test_compositions_are_tried_but_not_of_a_recipe_that_is_slower_than_float() -> None:
    names = ("fp32", "int8-dynamic", "int8-static", "factored", "factored+int8-dynamic")
    made = {n: tried(n, 100 - 10 * i) for i, n in enumerate(names)}
    asked: list[str] = []

    def make(name: str) -> Tried:
        asked.append(name)
        return made[name]

    micros = dict(zip(names, (40, 30, 60, 25, 15), strict=True))
    means = Means(make, machine(micros, []), PACE, lambda: 0.0)
    found = verdicts(conclude(explore(names[:4], means)))
    assert asked == list(names)
    assert found["factored+int8-dynamic"][0] == "winner"
    assert found["factored+int8-static"] == ("skipped", "int8-static is slower than fp32 here")


@pytest.mark.usefixtures("composing")
def test_two_that_leave_work_are_composed_unless_they_are_kinds_of_one_thing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thinned = replace(RECIPES["factored"], name="thinned", obstacle=lambda m: "")
    monkeypatch.setitem(RECIPES, "thinned", thinned)
    monkeypatch.setitem(RECIPES, "thinned-close", replace(thinned, name="thinned-close"))
    first = ("fp32", "int8-dynamic", "factored", "thinned", "thinned-close")
    asked: list[str] = []

    def make(name: str) -> Tried:
        asked.append(name)
        return tried(name, 100 - len(name))

    micros = Counter({"fp32": 40, "int8-dynamic": 30, "factored+thinned+int8-dynamic": 10})
    means = Means(make, machine({n: micros[n] or 25 for n in ALL_OF_THEM}, []), PACE, lambda: 0.0)
    found = verdicts(conclude(explore(first, means)))
    assert sorted(asked) == sorted(ALL_OF_THEM)
    assert found["factored+thinned+int8-dynamic"][0] == "winner"


ALL_OF_THEM = (
    "fp32", "int8-dynamic", "factored", "thinned", "thinned-close",
    "factored+int8-dynamic", "thinned+int8-dynamic", "thinned-close+int8-dynamic",
    "factored+thinned", "factored+thinned+int8-dynamic",
)  # fmt: skip


@pytest.mark.usefixtures("composing")
def test_only_the_better_one_of_two_that_could_follow_is_composed() -> None:
    made = {
        "fp32": tried("fp32", 100),
        "factored": tried("factored", 60),
        "int8-dynamic": tried("int8-dynamic", 25, 0.1),
        "int8-static": tried("int8-static", 30, 0.2),
        "factored+int8-dynamic": tried("factored+int8-dynamic", 20),
    }
    micros = {**dict.fromkeys(made, 20.0), "fp32": 40.0, "int8-static": 30.0}
    means = Means(made.__getitem__, machine(micros, []), PACE, lambda: 0.0)
    found = verdicts(conclude(explore(list(made)[:4], means)))
    assert found["factored+int8-static"] == (
        "skipped", "int8-dynamic is better than int8-static here"
    )  # fmt: skip


@pytest.mark.usefixtures("composing")
def test_two_that_are_as_fast_are_both_composed() -> None:
    made = {
        "fp32": tried("fp32", 100),
        "factored": tried("factored", 60),
        "int8-dynamic": tried("int8-dynamic", 29, 0.1),
        "int8-static": tried("int8-static", 30, 0.2),
        "factored+int8-dynamic": tried("factored+int8-dynamic", 20),
        "factored+int8-static": tried("factored+int8-static", 20),
    }
    micros = {**dict.fromkeys(made, 20.0), "fp32": 40.0, "factored+int8-static": 10.0}
    means = Means(made.__getitem__, machine(micros, []), PACE, lambda: 0.0)
    found = verdicts(conclude(explore(list(made)[:4], means)))
    assert found["factored+int8-static"][0] == "winner"


@pytest.mark.usefixtures("composing")
def test_a_composition_that_takes_too_long_to_make_is_not_made() -> None:
    made = {n: tried(n) for n in ("fp32", "factored", "int8-dynamic", "factored+int8-dynamic")}
    made["int8-dynamic"] = replace(made["int8-dynamic"], seconds=10.0)
    pace = replace(PACE, budget_s=240)
    means = Means(made.__getitem__, machine(dict.fromkeys(made, 40.0), []), pace, lambda: 0.0)

    def outcome(asked: int) -> tuple[str, str]:
        factored = made["factored"]
        assert factored.made is not None
        made["factored"] = replace(factored, made=replace(factored.made, asked=asked))
        found = verdicts(conclude(explore(list(made)[:3], means)))
        return found["factored+int8-dynamic"]

    assert outcome(asked=6) == ("skipped", "would take about 60 s to make")
    assert outcome(asked=2)[0] != "skipped"


@pytest.mark.usefixtures("composing")
def test_a_part_over_its_budget_is_not_composed() -> None:
    lost = Tried(Candidate("factored", "over budget", "too much"), True)
    made = {"fp32": tried("fp32"), "int8-dynamic": tried("int8-dynamic"), "factored": lost}
    found = verdicts(run(made, {"fp32": 40, "int8-dynamic": 30}))
    assert set(found) == set(made)
