"""What each graph pass gains, alone and all together, on real models.

    python -m benchmarks.passes [--only WORDS] [--launches 12]

Each model is converted and simplified as an export does it; that is "before". Beside it
stand the same model again (what noise looks like), every pass that finds something to do,
and all of them. Each is also quantised dynamically, since a pass comes before the recipes.
All are launched interleaved in fresh processes, on one thread.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from msgspec import structs

from benchmarks.pass_models import SUBJECTS, Subject
from benchmarks.validity import say_invalid
from edgedl.bench.plan import Row, run_cases
from edgedl.bench.stats import Ratio, paired_ratio
from edgedl.bench.table import Table, markdown
from edgedl.cli.terminal import ProgressLine, one_line_errors, print_table, say
from edgedl.export.convert import FloatModel, convert
from edgedl.export.framing import frame
from edgedl.export.manifest import Made, write
from edgedl.export.passes import PASSES
from edgedl.export.recipes import Material, find_recipe
from edgedl.export.request import ExportRequest
from edgedl.export.rewrite import Pass, apply_passes, simplify_checked
from edgedl.export.sources import open_source
from edgedl.export.study import Study, study_source
from edgedl.export.target import find_target
from edgedl.export.variants import judge_variant
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.errors import EdgedlError
from edgedl.runtime.host import describe_host
from edgedl.runtime.protocol import Case

RECIPES = ("fp32", "int8-dynamic")
BEFORE, AGAIN, ALL = "before", "again", "all"
LAUNCHES = 12
LEAST_S = 0.1


@dataclass(frozen=True)
class Line:
    """One pass on one model: how long it takes of what it took before."""

    model: str
    recipe: str
    sizes: dict[str, int]
    what: str
    ratio: Ratio | None
    medians_ns: tuple[float, ...]
    bytes_: int


def build(subject: Subject, work: Path) -> Path | None:
    """A bundle with the model before and after every pass that finds something.

    Returns:
        None where none does.
    """
    asked = subject.request(work)
    source, request = frame(open_source(asked.source, asked.weights), asked)
    study = study_source(source, request)
    with tempfile.TemporaryDirectory() as scratch:
        before = convert(study, request, lambda report: None)
        before = simplify_checked(before, study, Path(scratch), lambda report: None)
        versions = list(_versions(before, study))
        if len(versions) == 2:
            return None
        made = [
            variant
            for what, model in versions
            for recipe in RECIPES
            for variant in _variant(what, model, recipe, study, request, Path(scratch))
        ]
    return write(request, study, made, {"conversion": before.conversion}).path


def _versions(before: FloatModel, study: Study) -> Iterator[tuple[str, FloatModel]]:
    yield BEFORE, before
    yield AGAIN, before
    applied = 0
    for name, run in PASSES.items():
        after = _apply(before, study, {name: run})
        if after.passes:
            applied += 1
            yield name, after
    if applied > 1:
        yield ALL, _apply(before, study, PASSES)


def _apply(before: FloatModel, study: Study, passes: dict[str, Pass]) -> FloatModel:
    after = apply_passes(before, study, lambda report: None, passes)
    for rejected in after.passes_rejected:
        say(f"  {rejected['pass']} not used: {rejected['reason']}")
    return after


def _variant(
    what: str, model: FloatModel, recipe: str, study: Study, request: ExportRequest, scratch: Path
) -> Iterator[Made]:
    found = find_recipe(recipe)
    judgement = study.judgement(request.max_drop)
    material = Material(model.model, study.calibration, scratch, find_target(None), judgement)
    if found.obstacle(material):
        return
    try:
        made, _ = judge_variant(found, material, request)
    except EdgedlError as error:
        say(f"  {what} {recipe}: {error.message}")
        return
    name = f"{recipe}-{what}"
    yield Made(structs.replace(made.variant, name=name, file=f"{name}.onnx"), made.content)


def measure(subject: Subject, bundle: Path, launches: int) -> list[Line]:
    """Every variant beside the one before."""
    names = [variant.name for variant in open_bundle(bundle).manifest.variants]
    lines, line = [], ProgressLine()
    for sizes in subject.sizes:
        cases = [Case(str(bundle), n, threads=1, sizes=sizes, least_s=LEAST_S) for n in names]
        rows = run_cases(cases, launches, progress=lambda case: line.show(case.variant))
        line.clear()
        say_invalid(rows)
        lines += _lines(subject, sizes, rows)
    return lines


def _lines(subject: Subject, sizes: dict[str, int], rows: list[Row]) -> list[Line]:
    medians = {row.case.variant: [_median(m.samples_ns) for m in row.measurements] for row in rows}
    lines = []
    for row in rows:
        wrong = row.wrong_answers()
        if row.failure is not None or (wrong and not row.case.variant.startswith("int8")):
            say(f"  {subject.name} {row.case.variant}: {row.failure or wrong}")
        recipe = next(r for r in RECIPES if row.case.variant.startswith(r + "-"))
        what = row.case.variant.removeprefix(recipe + "-")
        ours, theirs = medians[row.case.variant], medians[f"{recipe}-{BEFORE}"]
        same = len(ours) == len(theirs)
        ratio = paired_ratio(ours, theirs) if what != BEFORE and same else None
        size = open_bundle(row.case.bundle).manifest.variant(row.case.variant).bytes
        lines.append(Line(subject.name, recipe, sizes, what, ratio, tuple(ours), size))
    return lines


def _median(samples: tuple[int, ...]) -> float:
    return float(np.median(samples))


def tabulate(lines: list[Line]) -> Table:
    """One row per pass, model and recipe."""
    before = {(x.model, x.recipe, str(x.sizes)): x for x in lines if x.what == BEFORE}
    rows = []
    for line in lines:
        if line.what == BEFORE:
            continue
        old = before[line.model, line.recipe, str(line.sizes)]
        sizes = " ".join(f"{axis} {size}" for axis, size in line.sizes.items())
        rows.append(
            (line.what, line.model, line.recipe, sizes, f"{min(old.medians_ns) / 1e3:.1f} us",
             f"{min(line.medians_ns) / 1e3:.1f} us", _show(line.ratio),
             line.ratio.verdict if line.ratio else "", f"{line.bytes_ - old.bytes_:+,}")
        )  # fmt: skip
    rows.sort(key=lambda row: (row[0] != AGAIN, row[0] == ALL, row[0]))
    host = describe_host()
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    return Table(
        ("pass", "model", "recipe", "sizes", "before", "after", "ratio", "verdict", "bytes"),
        tuple(rows),
        (
            "before and after: the fastest launch's median; ratio: of the launches' medians, "
            "paired by round, with its 95 % interval; `again` is the same file twice",
            f"{host.processor}, {host.cpus} CPUs, one thread, Python {host.python}, {versions}",
        ),
    )


def _show(ratio: Ratio | None) -> str:
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})" if ratio else ""


def keep(lines: list[Line], table: Table, out: Path) -> None:
    """The table, and every launch's median, with the machine."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "passes.md").write_text(markdown(table) + "\n")
    content: dict[str, Any] = {
        "machine": table.notes[-1],
        "lines": [
            {"model": x.model, "recipe": x.recipe, "sizes": x.sizes, "pass": x.what,
             "bytes": x.bytes_, "medians_ns": [round(m) for m in x.medians_ns]}
            for x in lines
        ],
    }  # fmt: skip
    (out / "passes.json").write_text(json.dumps(content, indent=1) + "\n")


@click.command()
@click.option("--only", default="", help="Models whose name holds these words.")
@click.option("--launches", type=click.IntRange(2), default=LAUNCHES, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/passes"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results"))
def main(only: str, launches: int, work: Path, out: Path) -> None:
    """Measure every pass on every model that it changes."""
    lines: list[Line] = []
    with one_line_errors():
        for subject in SUBJECTS:
            if only in subject.name:
                say(f"== {subject.name}")
                bundle = build(subject, work)
                if bundle is None:
                    say("  no pass finds anything here")
                else:
                    lines += measure(subject, bundle, launches)
        table = tabulate(lines)
        print_table(table)
        keep(lines, table, out)


if __name__ == "__main__":
    main()
