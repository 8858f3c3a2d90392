"""Export every model of the matrix in every recipe that fits, and report.

    python -m tests.matrix.run [--only WORDS] [--family keras] [--out build/matrix]

Each family's models run in a process of their own. Exit code 1: something failed that
nobody has explained, or something explained no longer fails.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from edgedl.bench.table import Table, markdown
from edgedl.cli.terminal import print_table, say
from edgedl.export.pipeline import export
from edgedl.export.recipes import RECIPES
from edgedl.export.request import ExportRequest
from edgedl.runtime.bundle import Bundle
from edgedl.runtime.errors import EdgedlError
from edgedl.runtime.host import describe_host
from edgedl.runtime.manifest import StatePair
from tests.matrix.entry import Entry
from tests.matrix.fetch import fetch_models

FAMILIES = ("keras", "torch", "onnx")
# Recipes and their columns' short headers.
COLUMNS = {name: name for name in RECIPES}
COLUMNS |= {
    "int8-dynamic": "dynamic",
    "int8-static": "static",
    "int8-static-percentile": "percent.",
    "int8-static-entropy": "entropy",
    "int8-weights": "weights8",
    "int4-weights": "weights4",
}
ABOUT = """\
# The matrix

`make matrix`: the least SQNR of all outputs and golden cases, per recipe; `exact` where there
is no noise, `-` where a recipe is not for the model, FAILED explained below. Weights are
untrained but for the ONNX files.
"""
# A recipe that doesn't fit a model is no failure of it.
UNFIT = "-"


class Result(Struct, frozen=True):
    """One model's outcome.

    `recipes` holds the SQNR in dB of each that was made; `failed` why another wasn't, by
    recipe or by stage; `unfit` why a recipe is not for this model.
    """

    name: str
    seconds: float
    known: dict[str, str]
    path: str = ""
    cases: int = 0
    recipes: dict[str, str] = {}
    failed: dict[str, str] = {}
    unfit: dict[str, str] = {}

    @property
    def surprises(self) -> list[str]:
        """Failures that nobody has explained, and explanations of what no longer fails."""
        new = [f"{k}: {v}" for k, v in self.failed.items() if k not in self.known]
        gone = [f"{k} is explained, but doesn't fail" for k in self.known if k not in self.failed]
        return [f"{self.name}: {what}" for what in (*new, *gone)]


def run_entry(entry: Entry, out: Path) -> Result:
    """Export one model with every recipe that fits."""
    folder = out / entry.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    entry.write_samples(folder / "samples.npz")
    models = out / "models"
    models.mkdir(exist_ok=True)
    if entry.prepare is not None:
        entry.prepare(models)
    request = ExportRequest(
        source=entry.source.format(models=models),
        output=folder / "model.bundle",
        recipes=("all",),
        samples=folder / "samples.npz",
        dynamic=entry.dynamic,
        state=tuple(StatePair(input=i, output=o) for o, i in entry.state),
        force=True,
    )
    start = time.monotonic()
    try:
        bundle = export(request)
    except EdgedlError as error:
        took = time.monotonic() - start
        failed = {"export": f"{error.message} ({error.hint})"}
        return Result(entry.name, took, entry.known, failed=failed)
    return _result(entry, bundle, time.monotonic() - start)


def _result(entry: Entry, bundle: Bundle, seconds: float) -> Result:
    manifest = bundle.manifest
    left_out = manifest.provenance["recipes_rejected"]
    return Result(
        entry.name,
        seconds,
        entry.known,
        path=manifest.provenance["conversion"]["path"],
        cases=len(manifest.golden.cases),
        recipes={
            v.name: _least_sqnr([o.sqnr_db for o in v.parity if o.sqnr_db is not None])
            for v in manifest.variants
        },
        failed={r["recipe"]: r["reason"] for r in left_out if r["made"]},
        unfit={r["recipe"]: r["reason"] for r in left_out if not r["made"]},
    )


def _least_sqnr(noise: list[float]) -> str:
    return f"{min(noise):.0f} dB" if noise else "exact"


def run_family(family: str, only: str, out: Path) -> None:
    """Every model of a family; one JSON line each on stdout."""
    entries: tuple[Entry, ...] = importlib.import_module(f"tests.matrix.{family}_models").ENTRIES
    for entry in entries:
        if only in entry.name:
            say(f"{entry.name} ...")
            result = run_entry(entry, out)
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
            sys.stdout.flush()


def launch_family(family: str, only: str, out: Path) -> list[Result]:
    """`run_family` in a fresh process; a crash is a failure of the whole family."""
    if family == "onnx":
        try:
            fetch_models(out / "models")
        except EdgedlError as error:
            failed = {"fetch": f"{error.message} ({error.hint})"}
            return [Result(f"{family} family", 0.0, {}, failed=failed)]
    command = [sys.executable, "-m", __spec__.name, "--family", family]
    command += ["--only", only, "--out", str(out), "--lines"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    results = [msgspec.json.decode(line, type=Result) for line in done.stdout.splitlines()]
    if done.returncode != 0:
        failed = {"process": f"ended with status {done.returncode} after {len(results)} models"}
        results.append(Result(f"{family} family", 0.0, {}, failed=failed))
    return results


def tabulate(results: list[Result]) -> Table:
    """One line per model, one column per recipe."""
    rows = tuple(_row(r) for r in results)
    return Table(("model", "cases", "time", *COLUMNS.values(), "path"), rows, _notes(results))


def report(table: Table) -> str:
    """The table as a page, its notes as a list."""
    notes = "\n".join(f"- {note}" for note in table.notes)
    body = markdown(Table(table.headers, table.rows)).strip()
    return f"{ABOUT}\n{body}\n\n{notes}\n"


def _row(result: Result) -> tuple[str, ...]:
    cells = (
        result.recipes.get(name) or ("FAILED" if name in result.failed else UNFIT)
        for name in COLUMNS
    )
    return (result.name, str(result.cases), f"{result.seconds:.1f} s", *cells, result.path)


def _notes(results: list[Result]) -> tuple[str, ...]:
    """Each failure explained, then the machine and the versions."""
    notes = [
        f"{r.name}: {what}: {why} [{r.known.get(what, 'unexplained')}]"
        for r in results
        for what, why in r.failed.items()
    ]
    host = describe_host()
    versions = ", ".join(f"{k} {v}" for k, v in host.versions.items())
    exported = sum(not r.failed.keys() & {"export", "process", "fetch"} for r in results)
    made = sum(len(r.recipes) for r in results)
    notes.append("columns: " + ", ".join(f"{v} {k}" for k, v in COLUMNS.items() if k != v))
    notes.append(f"{exported} of {len(results)} models exported, {made} variants proved")
    notes.append(f"{host.processor}, {host.cpus} CPUs, Python {host.python}, {versions}")
    return tuple(notes)


@click.command()
@click.option("--family", type=click.Choice(FAMILIES), help="One family only.")
@click.option("--only", default="", help="Models whose name holds these words.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/matrix"))
@click.option("--lines", is_flag=True, help="Print results as JSON lines, in this process.")
def main(family: str | None, only: str, out: Path, lines: bool) -> None:
    """Export every model in every recipe that fits, and report."""
    if family is not None and lines:
        run_family(family, only, out)
        return
    families = FAMILIES if family is None else (family,)
    results = [result for name in families for result in launch_family(name, only, out)]
    table = tabulate(results)
    print_table(table)
    (out / "report.md").write_text(report(table))
    surprises = [what for result in results for what in result.surprises]
    for what in surprises:
        say(f"error: {what}")
    raise SystemExit(1 if surprises else 0)


if __name__ == "__main__":
    main()
