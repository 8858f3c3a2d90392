"""The demo: both models from data to a verified bundle, and one table that compares them.

    python -m benchmarks.demo --out build/demo

Every step is the command a user would type; its output is kept in OUT/logs. A step
whose command and inputs have not changed is not run again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from benchmarks.show import run_shown
from edgedl.bench.plan import Row, encode_rows, first_failure
from edgedl.bench.qualities import show_quality
from edgedl.bench.report import tabulate
from edgedl.bench.stats import median
from edgedl.bench.table import Table, markdown
from edgedl.cli.bench_measure import measure
from edgedl.cli.terminal import one_line_errors, print_table, say
from edgedl.export.stages import FLOAT_TOLERANCE
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.protocol import Case

FRAMEWORKS = "benchmarks/frameworks.py"
LSTM = "models/char_lstm/model.py:from_checkpoint"
AXES = ("tokens:0=batch", "tokens:1=time", "h:1=batch", "c:1=batch")
LAUNCHES = 3


@dataclass(frozen=True)
class Step:
    """A command, the files its result depends on, and the file it must leave."""

    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...]
    result: Path


@dataclass(frozen=True)
class Choices:
    """What the person asked for."""

    out: Path
    epochs: int | None
    launches: int
    data_dir: Path | None
    text: Path | None


def steps(choices: Choices) -> list[Step]:
    """Training and export of both models."""
    out = choices.out
    python, edgedl = sys.executable, (sys.executable, "-m", "edgedl")
    few = () if choices.epochs is None else ("--epochs", str(choices.epochs))
    mnist = () if choices.data_dir is None else ("--data-dir", str(choices.data_dir))
    corpus = () if choices.text is None else ("--text", str(choices.text))
    sources = tuple(sorted(Path("models").rglob("*.py")))
    exporter = tuple(sorted(Path("edgedl").rglob("*.py")))
    digits, text = out / "digits", out / "text"
    return [
        Step(
            "train-digits",
            (python, "-m", "models.digits_cnn.train", "--out", str(digits), *few, *mnist),
            sources,
            digits / "model.keras",
        ),
        Step(
            "train-text",
            (python, "-m", "models.char_lstm.train", "--out", str(text), *few, *corpus),
            sources,
            text / "model.pt",
        ),
        Step(
            "export-digits",
            (*edgedl, "export", str(digits / "model.keras"), "-o", str(out / "digits.bundle"),
             *_evidence(digits), "--force"),
            (*exporter, *_left_by(digits, "model.keras")),
            out / "digits.bundle" / "manifest.json",
        ),
        Step(
            "export-text",
            (*edgedl, "export", LSTM, "--weights", str(text / "model.pt"),
             "-o", str(out / "text.bundle"), *_evidence(text),
             *(word for axis in AXES for word in ("--dynamic", axis)), "--force"),
            (*exporter, *sources, *_left_by(text, "model.pt")),
            out / "text.bundle" / "manifest.json",
        ),
    ]  # fmt: skip


def _evidence(run: Path) -> tuple[str, ...]:
    return tuple(
        word
        for option, file in (
            ("samples", "samples.npz"),
            ("eval", "eval.npz"),
            ("task", "task.json"),
        )
        for word in (f"--{option}", str(run / file))
    )


def _left_by(run: Path, model: str) -> tuple[Path, ...]:
    return tuple(run / file for file in (model, "samples.npz", "eval.npz", "task.json"))


def carry_out(step: Step, out: Path) -> None:
    """Run a step, unless its result is there and nothing it depends on has changed."""
    stamp = out / "logs" / f"{step.name}.stamp"
    key = _key(step.command, step.inputs)
    if step.result.exists() and stamp.is_file() and stamp.read_text() == key:
        say(f"== {step.name}: nothing changed, kept {step.result}")
        return
    say(f"== {step.name}: {_as_typed(step.command)}")
    code = run_shown(step.command, out / "logs" / f"{step.name}.log")
    if code != 0:
        raise SystemExit(code)
    stamp.write_text(key)


def _as_typed(command: tuple[str, ...]) -> str:
    words = command[2:] if command[1:3] == ("-m", "edgedl") else ("python", *command[1:])
    return " ".join(words)


def _key(command: tuple[str, ...], inputs: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(json.dumps(command).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def prove(out: Path) -> None:
    """`edgedl parity` on both bundles, every file's hash included."""
    for name in ("digits.bundle", "text.bundle"):
        command = (sys.executable, "-m", "edgedl", "parity", str(out / name))
        say(f"== parity: {_as_typed(command)}")
        code = run_shown(command, out / "logs" / f"parity-{name}.log")
        if code != 0:
            raise SystemExit(code)


def cases(out: Path) -> list[Case]:
    """Every variant at batch 1 beside the framework it came from."""
    digits, text = str(out / "digits.bundle"), str(out / "text.bundle")
    model = str(out / "digits" / "model.keras")
    rows = [
        Case(digits, v.name, label=f"digits {v.name}", sizes={"batch": 1})
        for v in open_bundle(digits).manifest.variants
    ]
    rows += [
        _framework(digits, f"digits Keras {name}", f"keras_{name}", (model, "probabilities"))
        for name in ("predict", "call")
    ]
    rows += [
        Case(text, v.name, label=f"text {v.name}", sizes={"batch": 1, "time": 1})
        for v in open_bundle(text).manifest.variants
    ]
    weights = str(out / "text" / "model.pt")
    rows.append(_framework(text, "text torch eager", "torch_eager", (LSTM, weights)))
    # Frameworks look at the machine, not at its quota; and a second thread gains these models
    # what spinning for it costs whatever else runs.
    return [replace(case, threads=1) for case in rows]


def _framework(bundle: str, label: str, factory: str, args: tuple[str, ...]) -> Case:
    sizes = {"batch": 1, "time": 1} if "torch" in factory else {"batch": 1}
    return Case(
        bundle, open_bundle(bundle).manifest.default_variant, label=label, sizes=sizes,
        subject=f"{FRAMEWORKS}:{factory}", subject_args=args, tolerance=FLOAT_TOLERANCE,
    )  # fmt: skip


BASELINES = {"digits": "digits Keras call", "text": "text torch eager"}


def compare(rows: list[Row]) -> Table:
    """The measurements, with each variant's quality, size and gain over its framework."""
    table = tabulate(rows)
    p50 = {row.case.label: _p50(row) for row in rows}
    extra = [_extra(row, p50) for row in rows]
    keep = [i for i, h in enumerate(table.headers) if h not in ("bundle", "batch", "time")]
    lines = tuple(
        (cells[0], *extra[i], *(cells[k] for k in keep[1:])) for i, cells in enumerate(table.rows)
    )
    headers = ("case", "quality", "bytes", "gain", *(table.headers[k] for k in keep[1:]))
    notes = (
        "batch 1 (text: one step), one thread; gain: p50 of "
        + " and of ".join(BASELINES.values())
        + " divided by the row's",
        *table.notes,
    )
    return Table(headers, lines, notes, table.prose)


def _p50(row: Row) -> float | None:
    """The median, where the case ran and answered rightly."""
    if first_failure([row]) is not None:
        return None
    return median([m.samples_ns for m in row.measurements])


def show_ratio(ratio: float) -> str:
    """A ratio with two digits or more, never in powers of ten."""
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def _extra(row: Row, p50: dict[str, float | None]) -> tuple[str, str, str]:
    baseline, own = p50[BASELINES[row.case.label.split()[0]]], p50[row.case.label]
    gain = show_ratio(baseline / own) if baseline and own else ""
    if row.case.subject:
        return "", "", gain
    variant = open_bundle(row.case.bundle).manifest.variant(row.case.variant)
    quality = show_quality(variant.quality).split(" (")[0]
    return quality, f"{variant.bytes:,}", gain


def bench(choices: Choices) -> None:
    """Measure and print the table; the last one where neither bundle has changed."""
    out = choices.out
    bundles = [out / name / "manifest.json" for name in ("digits.bundle", "text.bundle")]
    runtime = sorted(p for part in ("bench", "runtime") for p in Path("edgedl", part).glob("*.py"))
    inputs = (*bundles, Path(FRAMEWORKS), Path(__file__), *runtime)
    key = _key((str(choices.launches),), inputs)
    stamp = out / "logs" / "bench.stamp"
    if (out / "table.md").is_file() and stamp.is_file() and stamp.read_text() == key:
        say("== bench: nothing changed; this was measured last time")
        click.echo((out / "table.md").read_text())
        return
    say("== bench: every variant beside its framework, in fresh processes")
    rows = measure(cases(out), choices.launches, seed=0)
    table = compare(rows)
    (out / "table.jsonl").write_bytes(encode_rows(rows))
    (out / "table.md").write_text(markdown(table) + "\n")
    print_table(table)
    failure = first_failure(rows)
    if failure is not None:
        raise failure
    stamp.write_text(key)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/demo"))
@click.option("--epochs", type=click.IntRange(1), help="Fewer epochs: a shorter demo.")
@click.option("--launches", type=click.IntRange(1), default=LAUNCHES, show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Your own copy of MNIST.")
@click.option("--text", type=click.Path(path_type=Path), help="Another text to learn.")
def main(**options: Any) -> None:
    """Train, export, prove and measure both models."""
    start = time.monotonic()
    choices = Choices(**options)
    out = choices.out
    with one_line_errors():
        (out / "logs").mkdir(parents=True, exist_ok=True)
        for step in steps(choices):
            carry_out(step, out)
        prove(out)
        bench(choices)
    say(f"== done in {time.monotonic() - start:.0f} s: {out}/digits.bundle {out}/text.bundle")
    say("   curves, logs and the table are beside them; try")
    say(f"   .venv/bin/edgedl run {out}/text.bundle --prompt 'The class statement' --seed 1")


if __name__ == "__main__":
    main()
