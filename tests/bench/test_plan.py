"""Cases planned, launched in rounds, and kept when others fail."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from edgedl.bench import plan
from edgedl.bench.plan import (
    BenchRequest,
    Row,
    decode_rows,
    encode_rows,
    first_failure,
    plan_cases,
    run_cases,
)
from edgedl.runtime.errors import BundleError, InputError, WorkerError
from edgedl.runtime.manifest import TensorSpec
from edgedl.runtime.protocol import (
    Answer,
    Case,
    Failure,
    HostAnswer,
    HostRequest,
    OpenLoop,
    Request,
)
from tests.bench.measurements import HOST, health, measurement
from tests.graphs import change_manifest, replace_variant, write_classifier_bundle


class RecordingDevice:
    """Answers at once; remembers what was run; some variants fail, some die."""

    def __init__(self, fails: str = "", dies: str = "") -> None:
        self.ran: list[str] = []
        self._fails = fails
        self._dies = dies

    def run(self, request: Request) -> Answer:
        assert isinstance(request, Case)
        self.ran.append(request.variant)
        if request.variant == self._fails:
            return Failure("it can't", "try another", 1)
        if request.variant == self._dies:
            raise WorkerError("the worker was killed by SIGKILL")
        return measurement(request, [1000 + len(self.ran)] * 20)


def use(device: RecordingDevice, monkeypatch: pytest.MonkeyPatch) -> RecordingDevice:
    """Have every case run on that device."""
    monkeypatch.setattr(plan, "open_device", lambda name: device)
    return device


CASES = [Case("x.bundle", variant) for variant in "abcdef"]


def test_every_combination_is_one_case(classifier_bundle: Path, text_bundle: Path) -> None:
    request = BenchRequest(
        (str(classifier_bundle), str(text_bundle)),
        batches=(1, 8),
        threads=(1, None),
        sizes=(("time", 4),),
    )
    cases = plan_cases(request)
    assert len(cases) == 2 * 2 * 2 * 2
    assert len({msgspec.json.encode(case) for case in cases}) == len(cases)
    assert [c.variant for c in cases[:8]] == ["fp32"] * 4 + ["rounded"] * 4
    assert cases[0].sizes == {"batch": 1}
    assert cases[-1].sizes == {"batch": 8, "time": 4}
    assert {(c.sizes["batch"], c.threads) for c in cases} == {(1, 1), (1, None), (8, 1), (8, None)}


def test_variants_and_devices_are_those_asked_for(classifier_bundle: Path) -> None:
    request = BenchRequest(
        (str(classifier_bundle),), variants=("rounded",), devices=("cpu", "cuda:1"), least_s=0.25
    )
    cases = plan_cases(request)
    assert [(c.variant, c.device, c.least_s) for c in cases] == [
        ("rounded", "cpu", 0.25),
        ("rounded", "cuda:1", 0.25),
    ]


def test_an_unknown_variant_is_refused_before_anything_runs(classifier_bundle: Path) -> None:
    with pytest.raises(BundleError, match="int4"):
        plan_cases(BenchRequest((str(classifier_bundle),), variants=("int4",)))


def test_a_fixed_batch_can_not_be_swept(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "fixed.bundle")
    change_manifest(path, inputs=(TensorSpec("image", "float32", (1, 4, 4, 1)),))
    assert [case.sizes for case in plan_cases(BenchRequest((str(path),)))] == [{}, {}]
    with pytest.raises(InputError, match="fixed batch size") as caught:
        plan_cases(BenchRequest((str(path),), batches=(1, 8)))
    assert "--batch" in caught.value.hint


def test_every_case_is_launched_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    device = use(RecordingDevice(), monkeypatch)
    rows = run_cases(CASES, launches=5)
    rounds = ["".join(device.ran[i : i + 6]) for i in range(0, 30, 6)]
    assert [sorted(order) for order in rounds] == [list("abcdef")] * 5
    assert len(set(rounds)) > 1
    assert [row.case.variant for row in rows] == list("abcdef")
    assert all(len(row.measurements) == 5 for row in rows)
    assert all(m.case == row.case for row in rows for m in row.measurements)


def test_the_order_is_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for seed in (1, 1, 2):
        device = use(RecordingDevice(), monkeypatch)
        run_cases(CASES, launches=3, seed=seed)
        orders.append(device.ran)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize("how", ["fails", "dies"])
def test_a_case_that_fails_is_not_launched_again_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    device = use(RecordingDevice(**{how: "c"}), monkeypatch)
    seen: list[Case] = []
    rows = run_cases(CASES, launches=3, progress=seen.append)
    assert device.ran.count("c") == 1
    assert [len(row.measurements) for row in rows] == [3, 3, 0, 3, 3, 3]
    assert [row.failure is not None for row in rows] == [False, False, True, False, False, False]
    assert len(seen) == 18
    error = first_failure(rows)
    assert error is not None
    assert str(error).startswith("c: ")
    assert first_failure(rows[:2]) is None


def test_a_broken_variant_leaves_the_others_measured(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "broken.bundle")
    replace_variant(path, "fp32", b"no model")
    cases = [
        Case(str(path), variant, threads=1, warmup_s=0.0, least_s=0.0, least_count=3)
        for variant in ("fp32", "rounded")
    ]
    broken, sound = run_cases(cases, launches=1)
    assert broken.failure is not None
    assert "fp32.onnx" in broken.failure.message
    assert len(sound.measurements[0].samples_ns) == 3


def test_rows_are_kept_raw_one_line_each() -> None:
    case = Case("x.bundle", "a")
    rows = [Row(case, (measurement(case, [3, 1, 2]),)), Row(case, (), Failure("no", "", 1))]
    lines = encode_rows(rows).splitlines()
    assert [msgspec.json.decode(line, type=Row) for line in lines] == rows
    first = msgspec.json.decode(lines[0])
    assert first["measurements"][0]["samples_ns"] == [3, 1, 2]
    assert first["measurements"][0]["host"]["processor"] == "Cortex-A72"


def test_an_invalid_rows_line_says_why() -> None:
    case = Case("x.bundle", "a")
    throttled = Row(case, (measurement(case, health=health(bits=4)),))
    lines = encode_rows([throttled, Row(case, (measurement(case, health=health()),))]).splitlines()
    invalid = [msgspec.json.decode(line)["invalid"] for line in lines]
    assert invalid == [["throttling: throttled"], []]
    assert decode_rows(lines[0])[0].invalid == invalid[0]


def test_rows_come_back_from_their_lines() -> None:
    case = Case("x.bundle", "a")
    rows = [Row(case, (measurement(case, [3, 1, 2]),)), Row(case, (), Failure("no", "", 1))]
    assert decode_rows(encode_rows(rows)) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"case":{},"measurements":[]}', "f.json, line 1 was written by an older edgedl"),
        (b'{"schema_version":99}', "a newer edgedl (rows of schema 99"),
        (b'{"schema_version":2}', "is no row of edgedl bench"),
        (b"PK\x03\x04\xff", "is no row of edgedl bench"),
        (b"[1]", "is no row of edgedl bench"),
        (b"\n\n", "there are no rows"),
    ],
)
def test_what_is_no_row_of_this_version_is_one_line(content: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_rows(content, "f.json")
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_settings_and_modes_are_part_of_the_product(classifier_bundle: Path) -> None:
    request = BenchRequest(
        (str(classifier_bundle),),
        variants=("fp32",),
        modes=("model", "app"),
        spinning=(True, False),
        arena=(None,),
        open_loop=OpenLoop(50),
        sustained_s=3.0,
    )
    cases = plan_cases(request)
    assert [(c.mode, c.spinning, c.arena) for c in cases] == [
        ("model", True, None),
        ("model", False, None),
        ("app", True, None),
        ("app", False, None),
    ]
    assert {(c.open_loop, c.sustained_s) for c in cases} == {(OpenLoop(50), 3.0)}


def test_threads_are_swept_up_to_the_devices_own(
    classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine:
        def __init__(self, cpus: int) -> None:
            self._host = structs.replace(HOST, cpus=cpus)

        def run(self, request: Request) -> Answer:
            assert request == HostRequest("cpu")
            return HostAnswer("cpu", self._host)

    request = BenchRequest((str(classifier_bundle),), variants=("fp32",), threads="auto")
    for cpus, counts in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])):
        machine = Machine(cpus)
        monkeypatch.setattr(plan, "open_device", lambda name, machine=machine: machine)
        assert [case.threads for case in plan_cases(request)] == counts


def test_a_model_without_a_task_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = write_classifier_bundle(tmp_path / "plain.bundle")
    change_manifest(path, task=None)
    with pytest.raises(InputError, match="nothing before and after"):
        plan_cases(BenchRequest((str(path),), modes=("app",)))


def test_a_launch_may_last_as_long_as_it_is_asked_to(classifier_bundle: Path) -> None:
    (case, _) = plan_cases(BenchRequest((str(classifier_bundle),), least_s=60.0))
    assert case.most_s >= 60.0
