"""The search: with made-up candidates and times, and once in full on a tiny graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgedl.bench.plan import Row
from edgedl.export.candidates import Tried
from edgedl.export.errors import RecipeError
from edgedl.export.manifest import Made
from edgedl.export.race import Lap, Launch, Pace
from edgedl.export.recipes import RECIPES, Material, Product, Recipe
from edgedl.export.search import AGAIN, Means, explore, notes, read_lap
from edgedl.export.stages import StageReport
from edgedl.runtime.errors import EdgedlError, ParityError
from edgedl.runtime.host import describe_host
from edgedl.runtime.manifest import Candidate, Manifest, Quality
from edgedl.runtime.protocol import Case, Failure
from tests.bench.measurements import WRONG, health, measurement
from tests.export.conftest import Export
from tests.export.contenders import PACE, machine, run, tried, verdicts
from tests.export.fake_source import FEATURES, dense_answer, dense_source, normal


def test_the_fastest_within_the_budget_wins_and_every_loser_has_its_reason() -> None:
    lost = Candidate("int8-static", "over budget", "3 points lost", 24)
    candidates = run(
        {
            "fp32": tried("fp32", 100),
            "int8-dynamic": tried("int8-dynamic", 25, 0.01),
            "int8-static": Tried(lost, True),
        },
        {"fp32": 40, "int8-dynamic": 30},
    )
    assert verdicts(candidates) == {
        "fp32": ("front", "closer to the source"),
        "int8-dynamic": ("winner", "the fastest within the budget"),
        "int8-static": ("over budget", "3 points lost"),
    }
    assert candidates[2].medians_ns == ()
    assert len([ns for ns in candidates[1].medians_ns if ns]) >= PACE.least


def test_int8_that_is_slower_or_larger_is_not_the_default_and_the_reason_is_told() -> None:
    both = {"int8-dynamic": tried("int8-dynamic", 25), "int8-static": tried("int8-static", 130)}
    found = verdicts(
        run(
            {"fp32": tried("fp32", 100), **both},
            {"fp32": 40, "int8-dynamic": 60, "int8-static": 20},
        )
    )
    assert found["fp32"][0] == "winner"
    assert found["int8-dynamic"] == (
        "front", "slower than fp32 here: never the default; smaller"
    )  # fmt: skip
    assert found["int8-static"] == ("front", "larger than fp32: never the default; faster")


def test_those_clearly_slower_are_launched_a_few_times_only() -> None:
    ran: list[str] = []
    made = {n: tried(n, 100 - i) for i, n in enumerate(("fp32", "int8-dynamic", "int8-static"))}
    run(made, {"fp32": 40, "int8-dynamic": 20, "int8-static": 80}, ran)
    count = Counter(ran)
    assert count["int8-static"] == PACE.few
    assert count["fp32"] == count[AGAIN] == count["int8-dynamic"] == PACE.least


def test_those_that_can_not_be_told_apart_run_longer_and_the_end_is_noted() -> None:
    ran: list[str] = []
    made = {"fp32": tried("fp32", 100), "int8-dynamic": tried("int8-dynamic", 25)}
    stage = machine({"fp32": 40, "int8-dynamic": 40}, ran, spread=0.2)
    findings = explore(list(made), Means(made.__getitem__, stage, PACE, lambda: 0.0))
    assert Counter(ran)["int8-dynamic"] == PACE.most
    (note,) = notes(findings, 0.5)
    assert note.startswith("not told apart in 12 rounds: ")
    assert "int8-dynamic" in note


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (Quality("agreement", 1.0, 1.0, 1.0, 64), "no labels: judged by the top-1 agreement of 64"),
        (Quality("accuracy", 0.9, 0.9, 1.0, 50, 0, 0), "50 labels can't tell 0.5 points"),
    ],
)
def test_thin_evidence_is_noted(quality: Quality, said: str) -> None:
    int8 = tried("int8-dynamic", 25)
    int8 = replace(int8, known=msgspec.structs.replace(int8.known, quality=quality))
    made = {"fp32": tried("fp32", 100), "int8-dynamic": int8}
    stage = machine({"fp32": 40, "int8-dynamic": 20}, [])
    findings = explore(list(made), Means(made.__getitem__, stage, PACE, lambda: 0.0))
    (note,) = notes(findings, 0.5)
    assert note.startswith(said)


def test_launches_on_a_machine_that_throttled_are_noted() -> None:
    made = {"fp32": tried("fp32", 100), "int8-dynamic": tried("int8-dynamic", 25)}
    steady = machine({"fp32": 40, "int8-dynamic": 20}, [])

    def stage(variants: Sequence[Made]) -> Launch:
        launch = steady(variants)

        def hot(names: Sequence[str], least_s: float, number: int) -> Lap:
            reasons = {"int8-dynamic": ["throttling: under-voltage"]} if number < 2 else {}
            return replace(launch(names, least_s, number), invalid=reasons)

        return hot

    findings = explore(list(made), Means(made.__getitem__, stage, PACE, lambda: 0.0))
    (note,) = notes(findings, 0.5)
    launches = sum(len(lap.medians) for lap in findings.track.laps)
    assert note == (
        f"2 of {launches} launches were invalid (throttling): int8-dynamic; see docs/bench.md"
    )


def test_a_candidate_that_crashes_is_out_with_the_reason() -> None:
    ran: list[str] = []
    made = {n: tried(n) for n in ("fp32", "int8-dynamic", "int8-static")}
    candidates = run(
        made,
        {"fp32": 40, "int8-dynamic": 20, "int8-static": 10},
        ran,
        breaks={"int8-static": "the worker was killed by SIGILL"},
    )
    assert verdicts(candidates)["int8-static"] == ("failed", "the worker was killed by SIGILL")
    assert verdicts(candidates)["int8-dynamic"][0] == "winner"
    assert Counter(ran)["int8-static"] == 1


def test_of_two_equal_files_one_runs() -> None:
    made = {n: tried(n) for n in ("fp32", "int8-dynamic")}
    twin = replace(tried("int8-static"), made=made["int8-dynamic"].made)
    ran: list[str] = []
    found = verdicts(run({**made, "int8-static": twin}, dict.fromkeys(made, 40.0), ran))
    assert found["int8-static"] == ("skipped", "the same file as int8-dynamic")
    assert "int8-static" not in ran


def test_what_there_is_no_time_for_is_not_finished() -> None:
    now = iter(range(0, 10_000, 40))
    made = {n: tried(n) for n in ("fp32", "int8-dynamic", "int8-static")}
    ran: list[str] = []
    pace = Pace(few=3, least=4, most=12, budget_s=100)
    candidates = run(made, dict.fromkeys(made, 40.0), ran, pace=pace, clock=lambda: next(now))
    found = verdicts(candidates)
    assert found["int8-static"] == ("not finished", "no time was left to make it")
    assert Counter(ran)["fp32"] == 2
    assert "winner" in (found["fp32"][0], found["int8-dynamic"][0])


# --- a round as the worker reports it


def row(name: str, **fields: object) -> Row:
    case = Case("m.bundle", name.removesuffix(" again"), label=name)
    return Row(case, (measurement(case, [1000] * 11, **fields),))


def broken(name: str) -> Row:
    case = Case("m.bundle", name.removesuffix(" again"), label=name)
    return Row(case, (), Failure("the worker was killed by SIGILL", "", 1))


def test_a_round_keeps_medians_and_reasons() -> None:
    lap = read_lap([row("fp32"), broken("a"), row("b", parity=(WRONG,))], "cpu")
    assert lap.medians == {"fp32": 1000}
    assert lap.failed["a"] == "on cpu: the worker was killed by SIGILL"
    assert lap.failed["b"].startswith("answers wrongly on cpu: y: max |a-b| 2")


def test_a_round_keeps_what_makes_a_launch_invalid() -> None:
    lap = read_lap([row("fp32"), row("a", health=health(bits=1))], "cpu")
    assert lap.medians == {"fp32": 1000, "a": 1000}
    assert lap.invalid == {"a": ["throttling: under-voltage"]}


@pytest.mark.parametrize("name", ["fp32", AGAIN])
def test_where_the_baseline_fails_the_device_does(name: str) -> None:
    with pytest.raises(EdgedlError, match=f"cpu can't measure {name}: the worker was killed"):
        read_lap([row("a"), broken(name)], "cpu")
    with pytest.raises(ParityError, match="answers wrongly on cpu"):
        read_lap([row(name, parity=(WRONG,))], "cpu")


# --- in full, on this machine's CPU

QUICK = Pace(few=2, least=2, most=2, short_s=0.005, long_s=0.005)


@pytest.fixture(autouse=True)
def short_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of three recipes: each one more is seconds of launches."""
    for name in RECIPES.keys() - {"fp32", "int8-dynamic", "int8-static"}:
        monkeypatch.delitem(RECIPES, name)


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, object]:
    """An export by a search of two short rounds, with 600 labels for the dense layer."""
    held_out = normal(1, 600, FEATURES)
    np.savez(tmp_path / "samples.npz", x=normal(0, 40, FEATURES))
    np.savez(tmp_path / "eval.npz", x=held_out, labels=np.argmax(dense_answer(held_out), -1))
    return {
        "recipes": ("auto",),
        "samples": tmp_path / "samples.npz",
        "evaluation": tmp_path / "eval.npz",
        "pace": QUICK,
    }


def test_a_search_measures_decides_and_leaves_its_evidence(
    export: Export, labelled: dict[str, object], scratch: Path, stages: list[StageReport]
) -> None:
    said: list[str] = []
    bundle = export(dense_source(), now=said.append, device="cpu", max_drop=5.0, **labelled)
    found = bundle.manifest.search
    assert found is not None
    assert (found.device, found.baseline, found.max_drop) == ("cpu", "fp32", 5.0)
    assert found.host == describe_host()
    assert {c.recipe for c in found.candidates} >= set(RECIPES)
    assert found.winner.recipe == bundle.manifest.default_variant
    front = [c.recipe for c in found.candidates if c.verdict in ("winner", "front")]
    assert {v.name for v in bundle.manifest.variants} == set(front)
    for candidate in found.candidates:
        if candidate.verdict in ("winner", "front", "dominated"):
            assert len(candidate.medians_ns) == len(found.again_ns) >= 2
            assert candidate.quality is not None
        else:
            assert candidate.reason
    assert any(text.startswith("round 1 on cpu: ") for text in said)
    assert [s.stage for s in stages][-1] == "search"
    assert not list(scratch.iterdir())
    bundle.verify()
    again = msgspec.json.decode(msgspec.json.encode(bundle.manifest), type=Manifest)
    assert again == bundle.manifest


def test_a_recipe_over_its_budget_is_out_with_its_numbers(
    export: Export, labelled: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(material: Material) -> Product:
        rough = RECIPES["int8-dynamic"].make(material).model
        for initializer in rough.graph.initializer:
            if initializer.name == "bias":
                noise = np.float32([0.3, 0, 0, 0, 0])
                initializer.raw_data = (
                    np.frombuffer(initializer.raw_data, np.float32) + noise
                ).tobytes()
        return Product(rough)

    monkeypatch.setitem(RECIPES, "int8-rough", Recipe("int8-rough", True, lambda m: "", worse))
    bundle = export(dense_source(), max_drop=2.0, **labelled)
    assert bundle.manifest.search is not None
    rough = bundle.manifest.search.candidate("int8-rough")
    assert rough.verdict == "over budget"
    assert "points of accuracy lost on 600 samples" in rough.reason
    assert rough.bytes
    assert isinstance(rough.quality, Quality)
    assert rough.quality.worse
    assert "int8-rough" not in {v.name for v in bundle.manifest.variants}


def test_an_interrupt_while_measuring_leaves_nothing(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    def interrupt(text: str) -> None:
        if text.startswith("round"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(dense_source(), now=interrupt, recipes=("auto",))
    assert nothing_written()


def test_auto_and_all_contradict_each_other(
    export: Export, nothing_written: Callable[[], bool]
) -> None:
    with pytest.raises(RecipeError, match="contradict"):
        export(dense_source(), recipes=("auto", "all"))
    assert nothing_written()
