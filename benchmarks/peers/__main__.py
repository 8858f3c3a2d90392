"""edgedl beside its peers, in one interleaved run on this machine.

    python -m benchmarks.peers --demo build/demo

Each peer gets an environment of its own and its own format, made once under `--out`. Every
answer is compared with the golden vectors; a peer that can't be installed, can't convert, fails
or answers wrongly is a row that says so.
"""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import numpy as np

from benchmarks.peers.environments import Environment, make_environment, pins
from benchmarks.peers.prepare import Found, Places, arguments, convert, judge, search
from benchmarks.peers.results import RESULTS, Line, Results, keep, tables, target_table
from benchmarks.peers.roster import DIGITS, OURS, PEERS, TEXT, WORKLOADS, Peer, Workload
from edgedl.bench.plan import Row, run_cases
from edgedl.cli.terminal import one_line_errors, print_table, say
from edgedl.devices.local import WORKER, LocalDevice
from edgedl.export.stages import FLOAT_TOLERANCE
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.host import describe_host, usable_cpus
from edgedl.runtime.protocol import Answer, Case

SUBJECTS = "benchmarks/peers/subjects.py"
OWN = ("onnxruntime", "numpy", "tensorflow", "keras", "torch")


@dataclass(frozen=True)
class Planned:
    """A peer on a workload with so many threads: a case to launch, or why there is none."""

    peer: Peer
    workload: Workload
    threads: int
    case: Case | None
    problem: str = ""


@dataclass(frozen=True)
class Ready:
    """What was prepared: what the searches found, environments, what couldn't be converted."""

    places: Places
    found: dict[str, Found]
    environments: dict[str, Environment]
    unconverted: dict[tuple[str, str], str]

    def args(self, peer: Peer, workload: Workload) -> tuple[str, ...]:
        """An engine's arguments."""
        return arguments(peer, workload, self.places, self.found[workload.model])

    def problem(self, peer: Peer, workload: Workload) -> str:
        """Why a peer can't be measured on a workload; empty where it can."""
        missing = self.environments[peer.environment].problem
        return missing or self.unconverted.get((peer.name, workload.file), "")


def prepare(peers: list[Peer], places: Places, max_drop: float) -> Ready:
    """Search, install and convert whatever isn't there."""
    found = {model: search(model, places, max_drop) for model in (DIGITS, TEXT)}
    names = {p.environment for p in peers} | {
        p.conversion.environment for p in peers if p.conversion
    }
    environments = {name: make_environment(name, places.out) for name in sorted(names)}
    return Ready(places, found, environments, convert(peers, places, environments))


def plan(ready: Ready, peers: list[Peer], threads: int, seconds: float) -> list[Planned]:
    """Every peer on every workload that it takes."""
    return [
        _planned(ready, peer, workload, threads, seconds)
        for workload in WORKLOADS
        for peer in peers
        if peer.takes(workload)
    ]


def _planned(ready: Ready, peer: Peer, workload: Workload, threads: int, seconds: float) -> Planned:
    if peer.single and threads > 1:
        return Planned(peer, workload, threads, None, "has one thread only")
    problem = ready.problem(peer, workload)
    if problem:
        return Planned(peer, workload, threads, None, problem)
    what = ready.found[workload.model]
    tolerance = FLOAT_TOLERANCE if peer.exact else what.quantised
    args = (peer.engine, *ready.args(peer, workload))
    if workload.factory == "generate":
        args = (str(what.bundle), msgspec.json.encode(tolerance).decode(), *args)
    case = Case(
        str(what.bundle), what.winner, threads=threads, sizes=workload.sizes,
        subject=f"{SUBJECTS}:{workload.factory}", subject_args=args,
        label=f"{workload.name}: {peer.name}", tolerance=tolerance, least_s=seconds,
    )  # fmt: skip
    return Planned(peer, workload, threads, case)


def measure(planned: list[Planned], ready: Ready, launches: int) -> list[Row]:
    """All cases interleaved, each in a fresh process of its peer's own interpreter."""
    cases = [p.case for p in planned if p.case is not None]
    homes = {p.case.label: p.peer.environment for p in planned if p.case is not None}
    devices = {
        name: LocalDevice("cpu", (e.python, *WORKER))
        for name, e in ready.environments.items() if not e.problem
    }  # fmt: skip

    def launch(case: Case) -> Answer:
        return devices[homes[case.label]].run(case)

    total, done = launches * len(cases), 0

    def progress(case: Case) -> None:
        nonlocal done
        done += 1
        if done % 25 == 1:
            say(f"   launch {done} of {total}: {case.label}, threads {case.threads}")

    return run_cases(cases, launches, seed=0, progress=progress, launch=launch)


def lines(
    planned: list[Planned], rows: list[Row], quality: dict[tuple[str, str], str]
) -> list[Line]:
    """A line for every planned case: timed, or with the reason why not."""
    measured = iter(rows)
    found = []
    for p in planned:
        row = None if p.case is None else next(measured)
        found.append(_line(p, row, quality.get((p.peer.name, p.workload.model), "")))
    return found


def _line(planned: Planned, row: Row | None, quality: str) -> Line:
    start = (planned.workload.name, planned.peer.name, planned.threads)
    if row is None:
        return Line(*start, quality=quality, problem=planned.problem)
    if row.failure is not None:
        return Line(*start, quality=quality, problem=row.failure.message)
    wrong = row.wrong_answers()
    if wrong:
        return Line(*start, quality=quality, problem=f"answers wrongly: {wrong[0]}")
    medians = tuple(int(np.median(m.samples_ns)) for m in row.measurements)
    return Line(*start, medians, quality)


def timed(
    ready: Ready,
    peers: list[Peer],
    quality: dict[tuple[str, str], str],
    threads_and_launches: tuple[int, int],
    seconds: float,
) -> list[Line]:
    """A line for every peer on every workload, with so many threads."""
    threads, launches = threads_and_launches
    planned = plan(ready, peers, threads, seconds)
    return lines(planned, measure(planned, ready, launches), quality)


def qualities(ready: Ready, peers: list[Peer]) -> dict[tuple[str, str], str]:
    """Each peer's quality on the labelled samples of each model."""
    at = {DIGITS: WORKLOADS[0], TEXT: WORKLOADS[3]}
    asked = [
        (peer, model, ready.args(peer, workload))
        for peer in peers for model, workload in at.items()
        if not peer.only and model in peer.models and not ready.problem(peer, workload)
    ]  # fmt: skip
    said = judge(asked, ready.places, ready.environments)
    return {(p.name, model): words for (p, model, _), words in zip(asked, said, strict=True)}


def versions(peers: list[Peer]) -> dict[str, str]:
    """Of everything that was measured."""
    found = {name: importlib.metadata.version(name) for name in OWN}
    for environment in sorted({p.environment for p in peers}):
        found |= {n: v for n, v in pins(environment).items() if n not in (*OWN, "msgspec")}
    return found


def _chosen(names: tuple[str, ...]) -> list[Peer]:
    """The peers that were asked for, and edgedl, which everything is compared with."""
    wanted = [name.lower() for name in names]
    return [
        p for p in PEERS
        if not wanted or p.name == OURS or any(name in p.name.lower() for name in wanted)
    ]  # fmt: skip


@click.command()
@click.option("--demo", type=click.Path(path_type=Path), default=Path("build/demo"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/peers"))
@click.option("--results", "folder", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--peer", "names", multiple=True, help="Only those with these words in their names.")
@click.option("--launches", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=float, default=0.25, show_default=True, help="Per launch.")
@click.option(
    "--launches-all",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="The same, with all threads.",
)
@click.option("--one-thread", is_flag=True, help="Leave out all threads.")
@click.option("--prepare", "only_prepare", is_flag=True, help="Measure nothing yet.")
@click.option("--max-drop", type=float, default=0.5, show_default=True)
def main(
    demo: Path, out: Path, folder: Path, names: tuple[str, ...], one_thread: bool,
    max_drop: float, **how: float,
) -> None:  # fmt: skip
    """Measure edgedl beside its peers, and keep the results."""
    peers, places = _chosen(names), Places(demo, out)
    threads = (1,) if one_thread or usable_cpus() == 1 else (1, usable_cpus())
    with one_line_errors():
        ready = prepare(peers, places, max_drop)
        quality = qualities(ready, peers)
        if how["only_prepare"]:
            return
        rounds = {usable_cpus(): int(how["launches_all"]), 1: int(how["launches"])}
        found = [
            line
            for count in threads
            for line in timed(ready, peers, quality, (count, rounds[count]), how["seconds"])
        ]
        results = Results(
            describe_host(), versions(peers), _variants(ready), _source_accuracy(ready),
            tuple(found),
        )  # fmt: skip
    for table in (*tables(results), target_table(results)):
        print_table(table)
        click.echo()
    say(f"== kept {keep(results, folder)}")


def _variants(ready: Ready) -> dict[str, str]:
    return {
        f"{model}, {what}": name
        for model, found in ready.found.items()
        for what, name in (
            ("winner", found.winner),
            ("nothing lost", found.lossless),
            ("no loss shown", found.unshown),
        )
    }


def _source_accuracy(ready: Ready) -> float:
    quality = open_bundle(ready.found[DIGITS].bundle).manifest.variant().quality
    assert quality is not None
    return 100 * quality.source


if __name__ == "__main__":
    sys.exit(main())
