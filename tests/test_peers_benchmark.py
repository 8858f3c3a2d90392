"""The benchmark beside peers: fair targets, and no peer silently absent."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.peers import judge, subjects
from benchmarks.peers.__main__ import Planned, lines
from benchmarks.peers.environments import Environment, make_environment, pins
from benchmarks.peers.prepare import Places, convert, loss_is_shown
from benchmarks.peers.results import (
    Line,
    Results,
    keep,
    overhead_ns,
    summary,
    targets,
    workload_table,
)
from benchmarks.peers.roster import (
    BARE,
    EAGER,
    KEPT,
    LOSSLESS,
    OURS,
    PEERS,
    RUN_FP32,
    WORKLOADS,
)
from benchmarks.peers.subjects import Prompt, stepping
from edgedl.bench.plan import Row
from edgedl.export.stages import FLOAT_TOLERANCE
from edgedl.runtime.errors import InputError, ParityError
from edgedl.runtime.golden import Array, Arrays, GoldenVectors
from edgedl.runtime.manifest import GoldenCase, Quality
from edgedl.runtime.protocol import Case, Failure
from tests.bench.measurements import HOST

CNN, BATCH, STEP, _, TEXT = (w.name for w in WORKLOADS)


def line(engine: str, us: float, quality: str = "98.50%", workload: str = CNN) -> Line:
    return Line(workload, engine, 1, (round(us * 1000), round(us * 1010)), quality)


def results(*lines: Line) -> Results:
    return Results(HOST, {"onnxruntime": "1.32.0"}, {"digits, winner": "x"}, 98.5, lines)


def test_the_best_peer_is_the_fastest_that_keeps_the_accuracy() -> None:
    found = results(
        line(OURS, 9, "98.20%"),
        line(LOSSLESS, 15),
        line("quick and wrong", 5, "97.99%"),
        line("quick", 12, "98.00%"),
        line("exact", 20, "98.50%"),
        line("not judged", 1, ""),
    )
    within, nothing, *_ = targets(found)
    assert within.theirs is not None
    assert within.theirs.engine == "quick"
    assert within.cells[2:] == ("0.75 (0.75 - 0.75)", "9.04 us; quick: 12.1 us", "met")
    assert nothing.theirs is not None
    assert nothing.theirs.engine == "exact"


def test_our_own_dresses_are_no_peers_but_onnxruntime_in_fp32_is() -> None:
    found = results(line(OURS, 9), line(KEPT, 8), line(BARE, 7), line(RUN_FP32, 80))
    best = found.best_peer(CNN, 0.5)
    assert best is not None
    assert best.engine == RUN_FP32


def test_a_missed_target_is_called_missed() -> None:
    step = [line(OURS, 50, workload=STEP), line(RUN_FP32, 100, workload=STEP)]
    verdicts = [t.cells[-1] for t in targets(results(*step, line(EAGER, 1000, workload=STEP)))]
    assert verdicts[3:5] == ["missed", "met"]


def test_the_overhead_is_paired_by_launch() -> None:
    weather = [line(KEPT, 13), line(BARE, 12)]
    assert overhead_ns(results(*weather), CNN) == pytest.approx(1005)
    assert overhead_ns(results(weather[0]), CNN) is None


def test_a_peer_without_a_timing_is_a_row_with_the_reason() -> None:
    broken = Line(CNN, "other", 1, quality="98.50%", problem="can't convert: no such operator")
    table = workload_table(results(line(OURS, 9), broken), CNN, 1)
    assert table.rows[-1] == ("other", "-", "-", "-", "98.50%", "can't convert: no such operator")


def test_failures_and_what_was_not_launched_keep_their_rows() -> None:
    peer, workload = PEERS[0], WORKLOADS[0]
    case = Case("b", "v")
    planned = [
        Planned(peer, workload, 1, None, "its wheel doesn't install"),
        Planned(peer, workload, 2, case),
    ]
    rows = [Row(case, (), Failure("the worker was killed by SIGILL", "", 1))]
    found = lines(planned, rows, {(peer.name, workload.model): "98.50%"})
    assert [x.problem for x in found] == [
        "its wheel doesn't install",
        "the worker was killed by SIGILL",
    ]
    assert all(x.quality == "98.50%" for x in found)


def test_the_results_are_kept_with_machine_and_versions(tmp_path: Path) -> None:
    file = keep(results(line(OURS, 9), line("exact", 20)), tmp_path)
    assert file.name == "peers-aarch64-cortex-a72-4.json"
    assert msgspec.json.decode(file.read_bytes(), type=Results).lines[1].engine == "exact"
    told = file.with_suffix(".md").read_text()
    assert "onnxruntime 1.32.0" in told
    assert "| exact | 20.1 us | 20 us | 0.45 (0.45 - 0.45) | 98.50% |  |" in told


def test_at_a_glance_what_was_tried_and_failed_is_told_from_what_was_not_tried() -> None:
    failed = Line(CNN, "other", 1, problem="no such operator")
    rows = summary(results(line("exact", 8), failed, line(OURS, 9))).rows
    assert [row[0] for row in rows] == [OURS, "exact", "other"]
    assert rows[1][1:4] == ("98.50%", "8.04 us", "")
    assert rows[2][1:4] == ("", "no", "")


def test_every_environment_is_pinned() -> None:
    for name in {p.environment for p in PEERS} - {""}:
        assert pins(name), name
        assert all(version for version in pins(name).values())


def test_a_wheel_that_does_not_install_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none.txt").write_text("./no-such-folder\n")
    monkeypatch.setattr("benchmarks.peers.environments.REQUIREMENTS", tmp_path)
    environment = make_environment("none", tmp_path)
    assert environment.python == ""
    assert environment.problem.startswith("its wheel doesn't install: ")


def test_a_model_that_does_not_convert_is_a_reason(tmp_path: Path) -> None:
    for name in ("digits/model.keras", "text/model.pt"):
        file = tmp_path / name
        file.parent.mkdir()
        file.touch()
    peer = next(p for p in PEERS if p.engine == "ncnn")
    here = {"": Environment(sys.executable), "ncnn": Environment(sys.executable)}
    problems = convert([peer], Places(tmp_path, tmp_path / "out"), here)
    assert set(problems) == {(peer.name, f) for f in ("cnn-1", "cnn-32", "step", "prefill")}
    assert all(said.startswith("can't convert: ") for said in problems.values())


def test_accuracy_and_nats_are_what_they_say() -> None:
    images = np.eye(4, dtype=np.float32)
    labels = np.array([0, 1, 2, 0])
    assert (
        judge.accuracy(lambda given: {"probabilities": given["image"]}, images, labels, 2) == 0.75
    )

    def uniform(given: Arrays) -> Arrays:
        logits = np.zeros((1, given["tokens"].shape[1], 8), np.float32)
        return {"logits": logits, "h_out": given["h"], "c_out": given["c"]}

    text = np.zeros((2, 6), np.int64)
    assert judge.nats(uniform, text, text, 3) == pytest.approx(np.log(8))


def counting(given: Arrays) -> Arrays:
    """After each token comes the next number; the state counts the steps."""
    logits = np.zeros((1, 1, 1000), np.float32)
    logits[0, 0, (int(given["tokens"][0, 0]) + 1) % 1000] = 1
    return {"logits": logits, "h_out": given["h"] + 1, "c_out": given["c"]}


def test_a_greedy_loop_reads_the_prompt_and_goes_on() -> None:
    state = np.zeros((1, 1, 1), np.float32)
    loop = stepping(counting, {"h": state, "c": state}, np.array([[7, 8, 9]]))
    assert list(loop()) == list(range(10, 10 + subjects.TOKENS))


def prompt(scores: Array) -> Prompt:
    vectors = GoldenVectors(
        GoldenCase("text2", {"batch": 1, "time": 1}, 2, "text"),
        {"tokens": np.array([[5, 1, 2]])},
        {"logits": scores},
    )
    return Prompt("bundle", FLOAT_TOLERANCE, vectors, 10.0)


def test_a_text_may_leave_the_source_only_at_a_close_call() -> None:
    clear = prompt(np.array([[9.0, 1.0], [9.0, 1.0]]))
    assert clear.tokens.tolist() == [[5]]
    clear.check(np.array([1, 2, 3]))
    with pytest.raises(ParityError, match="token 1"):
        clear.check(np.array([1, 7, 3]))
    prompt(np.array([[9.0, 1.0], [9.0, 9.0]])).check(np.array([1, 7, 3]))


def test_an_engine_on_more_cpus_than_it_was_given_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subjects, "cpus_used", lambda run: 1.9)
    with pytest.raises(InputError, match=r"given 1 threads and used 1\.9 CPUs"):
        subjects.check_threads(lambda: None, 1)
    subjects.check_threads(lambda: None, 2)


def test_a_loss_is_shown_only_where_the_samples_show_it() -> None:
    def quality(worse: int, better: int) -> Quality:
        value = 0.985 - (worse - better) / 10_000
        return Quality("accuracy", value, 0.985, 0.99, 10_000, worse, better)

    assert not loss_is_shown(quality(12, 9))
    assert not loss_is_shown(quality(0, 0))
    assert loss_is_shown(quality(40, 12))
    assert loss_is_shown(Quality("nats", 1.30, 1.29, 0.9, 100))
    assert not loss_is_shown(Quality("nats", 1.29, 1.29, 0.9, 100))
