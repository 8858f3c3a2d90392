"""The recipe that `--recipe auto` finds beside every fixed one: it should be as fast.

    python -m benchmarks.auto --demo build/demo

Both project models are exported by a search and in every recipe, within the same budget.
Then the search's winner runs beside every fixed recipe in one interleaved benchmark, and once
more under another name: the farther end of that interval is the noise. The claim fails where
a fixed recipe is shown to be faster, by more than the noise.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import numpy as np

from benchmarks.demo import Choices, steps
from benchmarks.kept import RESULTS, keep
from benchmarks.show import run_shown
from benchmarks.validity import say_invalid
from edgedl.bench.cells import show_ns
from edgedl.bench.plan import Row, first_failure
from edgedl.bench.qualities import show_quality
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.table import Table, markdown
from edgedl.cli.bench_measure import measure
from edgedl.cli.evidence import search_table, show_ratio
from edgedl.cli.terminal import one_line_errors, print_table, say
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.host import Host, describe_host
from edgedl.runtime.manifest import Search, Variant
from edgedl.runtime.protocol import Case

MODELS = ("digits", "text")
WINNER, AGAIN = "auto", "auto again"


class Line(msgspec.Struct, frozen=True):
    """One file as it was measured beside the others: a launch's median per round, in ns."""

    name: str
    bytes: int
    quality: str
    medians_ns: tuple[int, ...]


class Result(msgspec.Struct, frozen=True):
    """One model: what the search said, and what the benchmark after it measured."""

    model: str
    winner: str
    lines: tuple[Line, ...]
    search: Search

    def line(self, name: str) -> Line:
        """The line of that name."""
        return next(line for line in self.lines if line.name == name)

    def ratio(self, name: str) -> Ratio:
        """How much longer the search's winner takes than another file."""
        ratio = paired_ratio(self.line(WINNER).medians_ns, self.line(name).medians_ns)
        assert ratio is not None  # two launches at least
        return ratio

    @property
    def noise(self) -> float:
        """What two equal files may differ by, as a factor."""
        return self.ratio(AGAIN).reach

    @property
    def faster(self) -> list[str]:
        """The fixed recipes that are shown to be faster than the winner, by more than noise."""
        fixed = [line.name for line in self.lines if line.name not in (WINNER, AGAIN)]
        ratios = {name: self.ratio(name) for name in fixed}
        return [n for n, r in ratios.items() if r.verdict == "slower" and r.value > self.noise]


class Results(msgspec.Struct, frozen=True):
    """Everything that is kept, with the machine and its versions."""

    host: Host
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Wanted:
    """What the person asked for."""

    demo: Path
    out: Path
    max_drop: float
    launches: int
    device: str


def export(model: str, recipe: str, wanted: Wanted) -> Path:
    """The demo's own export command, with another recipe and another place."""
    choices = Choices(wanted.demo, None, wanted.launches, None, None)
    step = next(s for s in steps(choices) if s.name == f"export-{model}")
    bundle = wanted.out / f"{model}-{recipe}.bundle"
    options = (
        "-o", str(bundle), "--recipe", recipe, "--max-drop", str(wanted.max_drop),
        "--device", wanted.device,
    )  # fmt: skip
    say(f"== {model}: export --recipe {recipe}")
    code = run_shown((*step.command, *options), wanted.out / f"{model}-{recipe}.log")
    if code != 0:
        raise SystemExit(code)
    return bundle


def compare(model: str, wanted: Wanted) -> Result:
    """Search, make every fixed recipe, and run them side by side."""
    found, fixed = export(model, "auto", wanted), export(model, "all", wanted)
    manifest = open_bundle(found).manifest
    assert manifest.search is not None
    best = manifest.variant()
    files: dict[str, tuple[Path, Variant]] = {WINNER: (found, best), AGAIN: (found, best)}
    files |= {v.name: (fixed, v) for v in open_bundle(fixed).manifest.variants}
    say(f"== {model}: {best.name} beside {len(files) - 2} fixed recipes")
    cases = [
        Case(str(bundle), variant.name, wanted.device, label=name)
        for name, (bundle, variant) in files.items()
    ]
    rows = measure(cases, wanted.launches, seed=0)
    failure = first_failure(rows)
    if failure is not None:
        raise failure
    say_invalid(rows)
    lines = tuple(_line(row, files[row.case.label][1]) for row in rows)
    return Result(model, best.name, lines, manifest.search)


def _line(row: Row, variant: Variant) -> Line:
    medians = tuple(int(np.median(m.samples_ns)) for m in row.measurements)
    quality = show_quality(variant.quality).split(" (")[0]
    return Line(row.case.label, variant.bytes, quality, medians)


def table(result: Result) -> Table:
    """The winner's ratio to every fixed recipe."""
    rows = tuple(_cells(line, result) for line in result.lines)
    faster = result.faster
    claim = (
        f"faster than the search's winner: {', '.join(faster)}"
        if faster
        else f"no fixed recipe is faster than {result.winner}, which the search found"
    )
    launches = len(result.line(WINNER).medians_ns)
    notes = (
        f"{launches} launches each, interleaved; ratios of rounds with 95 % intervals; "
        f"noise, by equal files: {result.noise:.3f}",
        claim,
    )
    headers = (result.model, "bytes", "quality", "p50", "auto to it")
    return Table(headers, rows, notes)


def _cells(line: Line, result: Result) -> tuple[str, ...]:
    name = f"auto: {result.winner}" if line.name == WINNER else line.name
    ratio = "-" if line.name == WINNER else show_ratio(result.ratio(line.name))
    p50 = show_ns(float(np.median(line.medians_ns)))
    return name, f"{line.bytes:,}", line.quality, p50, ratio


def report(results: Results) -> str:
    """The results as Markdown."""
    parts = ["# `--recipe auto` beside every fixed recipe"]
    for result in results.results:
        parts += [
            f"## {result.model}: the search",
            markdown(search_table(result.search)),
            f"## {result.model}: beside the fixed recipes",
            markdown(table(result)),
        ]
    return "\n\n".join(parts)


@click.command()
@click.option("--demo", type=click.Path(path_type=Path), default=Path("build/demo"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/auto"))
@click.option("--results", "folder", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=MODELS)
@click.option("--max-drop", type=float, default=0.5, show_default=True)
@click.option("--launches", type=click.IntRange(2), default=15, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(folder: Path, models: tuple[str, ...], **options: object) -> None:
    """Search, measure the winner beside every fixed recipe, and keep the results."""
    wanted = Wanted(**options)  # type: ignore[arg-type]
    wanted.out.mkdir(parents=True, exist_ok=True)
    with one_line_errors():
        results = Results(describe_host(), tuple(compare(model, wanted) for model in models))
    for result in results.results:
        print_table(table(result))
        click.echo()
    say(f"== kept {keep(results, results.host, 'auto', report(results), folder)}")
    if any(result.faster for result in results.results):
        sys.exit(1)


if __name__ == "__main__":
    main()
