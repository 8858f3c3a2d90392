"""What was measured, the ratios and targets that follow from it, and the files that keep it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import kept
from benchmarks.peers.roster import (
    BARE,
    EAGER,
    KEPT,
    LOSSLESS,
    OURS,
    RUN_FP32,
    RUN_WINNER,
    UNSHOWN,
    WORKLOADS,
)
from edgedl.bench.cells import show_ns
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.table import Table, markdown
from edgedl.runtime.host import Host

RESULTS = Path(__file__).parent.parent / "results"
OURSELVES = (OURS, LOSSLESS, UNSHOWN, KEPT, BARE, RUN_WINNER)  # one engine, in one dress or another
MOST_LOST = 0.5  # points of accuracy that the winner may lose


class Line(msgspec.Struct, frozen=True):
    """One engine on one workload: each launch's median in ns, or the reason for none."""

    workload: str
    engine: str
    threads: int
    medians_ns: tuple[int, ...] = ()
    quality: str = ""
    problem: str = ""

    @property
    def p50_ns(self) -> float:
        """The median of the launches' medians; infinity where nothing was timed."""
        return float(np.median(self.medians_ns)) if self.medians_ns else np.inf

    @property
    def loss(self) -> float | None:
        """The accuracy, in percent, that is missing from 100; None where it wasn't judged."""
        return 100 - float(self.quality[:-1]) if self.quality.endswith("%") else None


class Results(msgspec.Struct, frozen=True):
    """Everything that is kept, with the machine and every version."""

    host: Host
    versions: dict[str, str]
    variants: dict[str, str]
    source_accuracy: float
    lines: tuple[Line, ...]

    def line(self, workload: str, engine: str, threads: int = 1) -> Line | None:
        """The line of that engine, if it was measured."""
        for line in self.lines:
            if (line.workload, line.engine, line.threads) == (workload, engine, threads):
                return line if line.medians_ns else None
        return None

    def group(self, workload: str, threads: int) -> list[Line]:
        """A workload's lines, the fastest first."""
        found = [x for x in self.lines if (x.workload, x.threads) == (workload, threads)]
        return sorted(found, key=lambda line: line.p50_ns)

    def best_peer(self, workload: str, most_lost: float) -> Line | None:
        """The fastest of the others that loses at most so many points of accuracy."""
        for line in self.group(workload, 1):
            lost = None if line.loss is None else line.loss - (100 - self.source_accuracy)
            theirs = line.engine not in OURSELVES and line.medians_ns
            if theirs and lost is not None and round(lost, 6) <= most_lost:
                return line
        return None


def ratio(ours: Line | None, theirs: Line | None) -> Ratio | None:
    """How much longer ours takes; None where one is missing or there is one launch."""
    if ours is None or theirs is None or not ours.medians_ns or not theirs.medians_ns:
        return None
    return paired_ratio(ours.medians_ns, theirs.medians_ns)


def show_ratio(ratio: Ratio) -> str:
    """A ratio with its interval; small ones with more digits."""
    digits = 2 if ratio.value >= 0.1 else 4
    return f"{ratio.value:.{digits}f} ({ratio.low:.{digits}f} - {ratio.high:.{digits}f})"


@dataclass(frozen=True)
class Target:
    """What was asked for, beside what was measured."""

    what: str
    most: float
    ours: Line | None
    theirs: Line | None

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table of targets."""
        value = ratio(self.ours, self.theirs)
        if value is None or self.ours is None or self.theirs is None:
            return self.what, f"{self.most:g}", "not measured", "", ""
        beside = f"{show_ns(self.ours.p50_ns)}; {self.theirs.engine}: {show_ns(self.theirs.p50_ns)}"
        met = "met" if value.value <= self.most else "missed"
        return self.what, f"{self.most:g}", show_ratio(value), beside, met


def targets(results: Results) -> list[Target]:
    """The ratios this project set out to reach, one thread."""
    one, step, text = (WORKLOADS[i].name for i in (0, 2, 4))
    line = results.line
    return [
        Target(
            "CNN, batch 1: the winner to the best peer within half a point", 0.75,
            line(one, OURS), results.best_peer(one, MOST_LOST),
        ),
        Target(
            "CNN, batch 1: nothing lost, to the best peer that loses nothing", 1.0,
            line(one, LOSSLESS), results.best_peer(one, 0.0),
        ),
        Target(
            "CNN, batch 1: no loss shown (paired test), to the same peer",
            1.0,
            line(one, UNSHOWN),
            results.best_peer(one, 0.0),
        ),
        Target("LSTM step: to ORT's run in fp32", 0.4, line(step, OURS), line(step, RUN_FP32)),
        Target("LSTM step: to torch eager", 0.06, line(step, OURS), line(step, EAGER)),
        Target("LSTM, 200 tokens: to a torch loop", 0.1, line(text, OURS), line(text, EAGER)),
    ]  # fmt: skip


def overhead_ns(results: Results, workload: str) -> float | None:
    """How much longer the bound call takes than the bare binding: paired by launch, the median."""
    call, bare = results.line(workload, KEPT), results.line(workload, BARE)
    if call is None or bare is None:
        return None
    return float(np.median(np.subtract(call.medians_ns, bare.medians_ns)))


def target_table(results: Results) -> Table:
    """Every target, met or missed."""
    rows = [target.cells for target in targets(results)]
    for workload in (WORKLOADS[0].name, WORKLOADS[2].name):
        over = overhead_ns(results, workload)
        if over is not None:
            met = "met" if over <= 3000 else "missed"
            what = f"the runtime over run_with_iobinding ({workload})"
            rows.append((what, "3 us", f"{over / 1000:+.2f} us", "median of paired launches", met))
    return Table(("target", "at most", "measured", "what", "verdict"), tuple(rows), ())


def workload_table(results: Results, workload: str, threads: int) -> Table:
    """One workload's engines, the fastest first, with edgedl's ratio to each."""
    lines = results.group(workload, threads)
    ours = results.line(workload, OURS, threads)
    rows = tuple(
        (line.engine, *_times(line), _to(ours, line), line.quality, line.problem) for line in lines
    )
    title = f"{workload}, {threads} thread{'s' if threads > 1 else ''}"
    headers = (title, "p50", "least", "edgedl to it", "quality", "why not")
    return Table(headers, rows, ())


def summary(results: Results, threads: int = 1) -> Table:
    """Every engine's p50 on every workload, edgedl first, then by the first workload."""
    names = dict.fromkeys(line.engine for line in results.lines if line.threads == threads)
    first = {line.engine: line.p50_ns for line in results.group(WORKLOADS[0].name, threads)}
    order = sorted(names, key=lambda name: (name not in OURSELVES[:3], first.get(name, np.inf)))
    rows = tuple((name, _quality(results, name), *_p50s(results, name, threads)) for name in order)
    headers = ("engine", "digits; text", *(workload.name for workload in WORKLOADS))
    return Table(headers, rows, ())


def _quality(results: Results, engine: str) -> str:
    found = dict.fromkeys(x.quality for x in results.lines if x.engine == engine and x.quality)
    return "; ".join(found)


def _p50s(results: Results, engine: str, threads: int) -> tuple[str, ...]:
    """An engine's times; "no" where it was tried and there is none, empty where it wasn't."""
    cells = []
    for workload in WORKLOADS:
        of = [x for x in results.group(workload.name, threads) if x.engine == engine]
        cells.append("" if not of else show_ns(of[0].p50_ns) if of[0].medians_ns else "no")
    return tuple(cells)


def _times(line: Line) -> tuple[str, str]:
    if not line.medians_ns:
        return "-", "-"
    return show_ns(line.p50_ns), show_ns(float(min(line.medians_ns)))


def _to(ours: Line | None, line: Line) -> str:
    value = None if line.engine == OURS else ratio(ours, line)
    return "-" if value is None else show_ratio(value)


def tables(results: Results) -> Iterable[Table]:
    """Every workload with every number of threads."""
    for threads in sorted({line.threads for line in results.lines}):
        for workload in WORKLOADS:
            if any(x.workload == workload.name and x.threads == threads for x in results.lines):
                yield workload_table(results, workload.name, threads)


def keep(results: Results, folder: Path) -> Path:
    """The results as JSON and Markdown, named after the machine."""
    return kept.keep(results, results.host, "peers", report(results), folder, results.versions)


def report(results: Results) -> str:
    """The Markdown that is kept."""
    launches = max((len(line.medians_ns) for line in results.lines), default=0)
    chosen = ", ".join(f"{what}: {name}" for what, name in results.variants.items())
    parts = [
        "# edgedl beside its peers",
        f"{launches} launches of each case in fresh processes, all interleaved in one run; p50 is "
        "the median of the launches' medians, least the least of them, and ratios are paired by "
        f"launch, with 95 % intervals. {chosen}.",
        "## Targets, one thread",
        markdown(target_table(results)),
        *(
            part
            for table in tables(results)
            for part in (f"## {table.headers[0]}", markdown(table))
        ),
    ]
    return "\n\n".join(parts)
