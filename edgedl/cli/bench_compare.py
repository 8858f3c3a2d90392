"""edgedl bench A vs B, and edgedl bench --compare A.json B.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec
from msgspec import structs

from edgedl.bench.compare import TELL, Compared, compare_run, compare_runs
from edgedl.bench.comparison_table import sentence, tabulate_comparisons
from edgedl.bench.gate import Gate
from edgedl.bench.plan import BenchRequest, Row, encode_rows, first_failure
from edgedl.bench.report import tabulate
from edgedl.bench.versus import plan_versus
from edgedl.cli.bench_from import read_file, read_findings
from edgedl.cli.bench_measure import measure_kept
from edgedl.cli.bench_pages import Pages, measured
from edgedl.cli.options import options_given
from edgedl.cli.result_file import write_result
from edgedl.cli.terminal import print_table

VERSUS = "vs"
PAGES = ("html_file", "markdown_file")
WITH_FILES = ("bundles", "as_files", "fail_above", "strict", "json_file", *PAGES)
FROM_FILES = ("bundles", "from_files", "phases", *PAGES)


@dataclass(frozen=True)
class Wanted:
    """What a run ends with: a file or `-` for JSON lines, a comparison's gate, and pages."""

    json_file: str | None
    gate: Gate | None
    pages: Pages

    @property
    def tell(self) -> float:
        """The factor that launches are counted for."""
        return TELL if self.gate is None or self.gate.above == 0 else self.gate.limit


def split_sides(bundles: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and after `vs`; nothing after where it isn't there.

    Raises:
        UsageError: The sides don't fit each other.
    """
    if VERSUS not in bundles:
        return tuple(bundles), ()
    place = list(bundles).index(VERSUS)
    ours, theirs = tuple(bundles[:place]), tuple(bundles[place + 1 :])
    if VERSUS in theirs or not ours or len(ours) != len(theirs):
        raise click.UsageError("A vs B takes as many bundles after `vs` as before it")
    return ours, theirs


def check_options(context: click.Context, compares: bool) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: There is one.
    """
    given = options_given(context)
    if context.params["as_files"]:
        idle = [name for name in given if name not in WITH_FILES]
        _refuse(context, idle, "does nothing with --compare: nothing is measured")
    if context.params["from_files"]:
        idle = [name for name in given if name not in FROM_FILES]
        _refuse(context, idle, "does nothing with --from: nothing is measured")
    if compares:
        idle = [name for name in given if name == "phases"]
        _refuse(context, idle, "does nothing in a comparison: measure the bundles alone")
    if not compares:
        idle = [name for name in given if name in ("fail_above", "strict")]
        _refuse(context, idle, "needs a comparison: A.bundle vs B.bundle, or --compare")
    if "strict" in given and "fail_above" not in given:
        raise click.UsageError("--strict needs --fail-above")


def _refuse(context: click.Context, idle: Sequence[str], why: str) -> None:
    for parameter in context.command.params:
        if parameter.name in idle:
            raise click.UsageError(f"{parameter.opts[0]} {why}")


def run_versus(request: BenchRequest, against: Sequence[str], wanted: Wanted) -> None:
    """Measure both sides in the same rounds, tell which is faster, and end as a gate does.

    Raises:
        KeyboardInterrupt: It was interrupted; what was measured until then is told before.
        EdgedlError: A case failed, or the gate did.
    """
    for path in (*request.bundles, *against):
        if Path(path).is_file():
            raise click.UsageError(f"{path} is a file: use --compare A.json B.json, without vs")
    if request.launches < 2:
        raise click.UsageError("a comparison needs --launches 2 at least")
    versus = plan_versus(request, against)
    run = measure_kept(versus.cases, request.launches, request.seed)
    rows = versus.rows(run.rows)
    compared = replace(compare_run(rows, wanted.tell), only_a=versus.only_a, only_b=versus.only_b)
    try:
        if wanted.json_file == "-":
            click.echo(encode(compared), nl=False)
        else:
            print_table(tabulate([_named(row) for row in rows]))
            click.echo()
            show(compared)
    finally:  # whoever reads the tables may leave: `| head`
        if wanted.json_file not in (None, "-"):
            write_result(wanted.json_file, encode_rows(rows))
        wanted.pages.write(measured(rows, compared=compared))
    if run.interrupt is not None:
        raise run.interrupt
    finish(compared, rows, wanted)


def _named(row: Row) -> Row:
    """The row under a name that tells its side."""
    role = {"a": "A", "again": "A again", "b": "B"}[row.side.role] if row.side else ""
    name = row.case.variant
    return structs.replace(row, case=structs.replace(row.case, label=f"{role}: {name}"))


def compare_files(files: Sequence[str], wanted: Wanted) -> None:
    """Compare what was measured before.

    Raises:
        EdgedlError: A file can't be read or compared, a case in it failed, or the gate did.
    """
    if len(files) > 3:
        raise click.UsageError("--compare takes A.json B.json, and A measured again as a third")
    runs = [read_file(file).rows for file in files]
    if len(runs) == 1:
        compared = compare_run(runs[0], wanted.tell)
    else:
        compared = compare_runs(runs[0], runs[1], runs[2] if len(runs) > 2 else (), wanted.tell)
    if wanted.json_file == "-":
        click.echo(encode(compared), nl=False)
    else:
        show(compared)
        if wanted.json_file is not None:
            write_result(wanted.json_file, encode(compared))
    wanted.pages.write(replace(read_findings(files), compared=compared, roles=_roles(runs)))
    for file, rows in zip(files, runs, strict=True):
        failure = first_failure(rows)
        if failure is not None:
            failure.message = f"{file}: {failure.message}"
            raise failure
    finish(compared, [], wanted)


def _roles(runs: Sequence[Sequence[Row]]) -> tuple[str, ...]:
    """What each row of several runs is; the rows of one run say it themselves."""
    if len(runs) == 1:
        return ()
    names = zip(("A", "B", "A again"), runs, strict=False)
    return tuple(name for name, rows in names for _ in rows)


def show(compared: Compared) -> None:
    """The table of the comparisons, then a sentence for each."""
    print_table(tabulate_comparisons(compared))
    for comparison in compared.comparisons:
        click.echo(sentence(comparison))


def encode(compared: Compared) -> bytes:
    """Comparisons as JSON lines; a case that only one side has is a line too."""
    alone = [
        {"case": name, "verdict": "invalid", "reason": f"only in {side}"}
        for side, names in (("A", compared.only_a), ("B", compared.only_b))
        for name in names
    ]
    return msgspec.json.Encoder().encode_lines([*compared.comparisons, *alone])


def finish(compared: Compared, rows: Sequence[Row], wanted: Wanted) -> None:
    """Raise what the comparison ends with, if it is no success."""
    failure = first_failure(rows) or (wanted.gate and wanted.gate.check(compared))
    if failure:
        raise failure
