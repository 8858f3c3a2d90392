"""What edgedl's runtime costs over plain onnxruntime: importing, loading, running.

    python -m benchmarks.runtime_cost --demo build/demo

Every line is a pair in the same rounds: fresh processes, random order, the same file, one
thread. What is kept is the difference of the medians, round by round, and its ratio.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import numpy as np

from benchmarks.kept import RESULTS, keep
from benchmarks.validity import say_invalid
from edgedl.bench.plan import Row, first_failure
from edgedl.bench.stats import paired_ratio
from edgedl.bench.table import Table, markdown
from edgedl.cli.bench_measure import measure
from edgedl.cli.evidence import show_ratio
from edgedl.cli.terminal import one_line_errors, print_table, say
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.host import Host, describe_host
from edgedl.runtime.protocol import Case

SUBJECTS = "benchmarks/engine.py"
# What is measured, edgedl's side and onnxruntime's.
PAIRS = {
    "load": ("edgedl_load", "engine_load"),
    "bound call": ("edgedl_bound", "engine_bound"),
    "run": ("edgedl_run", "engine_run"),
}
IMPORT = """
import time, numpy, onnxruntime
begin = time.perf_counter_ns()
import edgedl.runtime.session
print(time.perf_counter_ns() - begin)
"""


class Cost(msgspec.Struct, frozen=True):
    """A pair, as measured: a launch's median per round, in nanoseconds."""

    name: str
    ours_ns: tuple[int, ...]
    theirs_ns: tuple[int, ...]

    def cells(self) -> tuple[str, ...]:
        """Both medians, the median difference, the ratio."""
        ours, theirs = np.array(self.ours_ns) / 1e3, np.array(self.theirs_ns) / 1e3
        ratio = paired_ratio(self.ours_ns, self.theirs_ns)
        assert ratio is not None
        more = float(np.median(ours - theirs))
        both = (f"{float(np.median(side)):,.1f} us" for side in (ours, theirs))
        return self.name, *both, f"{more:+,.1f} us", show_ratio(ratio)


class Costs(msgspec.Struct, frozen=True):
    """Everything that is kept, with the machine and its versions."""

    host: Host
    import_ns: tuple[int, ...]
    pairs: tuple[Cost, ...]

    def table(self) -> Table:
        """A line for each pair."""
        middle, most = np.median(self.import_ns) / 1e6, max(self.import_ns) / 1e6
        notes = (
            f"{len(self.pairs[0].ours_ns)} rounds, one thread; "
            "ratios of rounds with 95 % intervals",
            f"importing the runtime over numpy and onnxruntime: {middle:.1f} ms "
            f"(at most {most:.1f} ms in {len(self.import_ns)} processes)",
        )
        headers = ("what", "edgedl", "onnxruntime", "more", "ratio")
        return Table(headers, tuple(pair.cells() for pair in self.pairs), notes)


def imports(launches: int) -> tuple[int, ...]:
    """What importing the runtime takes over its dependencies, in fresh processes."""
    command = (sys.executable, "-c", IMPORT)
    subprocess.run(command, check=True, capture_output=True)  # leaves the bytecode behind
    runs = (subprocess.run(command, check=True, capture_output=True) for _ in range(launches))
    return tuple(int(run.stdout) for run in runs)


def pairs(demo: Path, launches: int) -> tuple[Cost, ...]:
    """Every pair on every variant of both models."""
    cases = [case for name in ("digits", "text") for case in _cases(demo / f"{name}.bundle")]
    rows = measure(cases, launches, seed=random.randrange(1 << 30))
    failure = first_failure(rows)
    if failure is not None:
        raise failure
    say_invalid(rows)
    return tuple(_cost(*both) for both in zip(rows[::2], rows[1::2], strict=True))


def _cases(bundle: Path) -> list[Case]:
    found = open_bundle(bundle)
    return [
        Case(
            str(bundle), variant.name, threads=1,
            label=f"{found.manifest.name} {variant.name}: {what}",
            subject=f"{SUBJECTS}:{factory}",
            subject_args=(str(bundle), variant.name, str(found.locate(variant.file))),
        )
        for variant in found.manifest.variants
        for what, both in PAIRS.items()
        for factory in both
    ]  # fmt: skip


def _cost(ours: Row, theirs: Row) -> Cost:
    sides = (
        tuple(int(np.median(m.samples_ns)) for m in row.measurements) for row in (ours, theirs)
    )
    return Cost(ours.case.label, *sides)


@click.command()
@click.option("--demo", type=click.Path(path_type=Path), default=Path("build/demo"))
@click.option("--results", "folder", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--launches", type=click.IntRange(2), default=10, show_default=True)
def main(demo: Path, folder: Path, launches: int) -> None:
    """Measure, print and keep."""
    with one_line_errors():
        costs = Costs(describe_host(), imports(launches), pairs(demo, launches))
    print_table(costs.table())
    text = f"# What the runtime costs over onnxruntime\n{markdown(costs.table())}"
    say(f"== kept {keep(costs, costs.host, 'runtime-cost', text, folder)}")


if __name__ == "__main__":
    main()
