"""edgedl export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edgedl.bench.qualities import show_amount
from edgedl.bench.verdicts import show_flips, show_least_noise, show_text
from edgedl.cli.evidence import search_table
from edgedl.cli.options import Parsed, device_name
from edgedl.cli.terminal import ProgressLine, print_table, say
from edgedl.export.frames import parse_answer, parse_pixels
from edgedl.export.interface import parse_dynamic, parse_state
from edgedl.export.request import AUTO, DEFAULT_MAX_DROP, DEFAULT_OPSET, ExportRequest, read_task
from edgedl.runtime.errors import MissingExtraError
from edgedl.runtime.manifest import Manifest

if TYPE_CHECKING:
    from edgedl.export.stages import StageReport

FILE = click.Path(path_type=Path)


def positive(text: str) -> float:
    """Read a number that isn't negative."""
    number = float(text)
    if not number >= 0:
        raise ValueError(f"{text!r} is no number from 0 upwards")
    return number


def version(text: str) -> str:
    """Read a release number such as 1.17."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is None:
        raise ValueError(f"{text!r} is not a release such as 1.17")
    return text


@click.command()
@click.argument("source")
@click.option("-o", "--bundle", "output", required=True, type=FILE, help="The bundle to write.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="NAME",
    help=(
        "A variant to make: fp32, fp16, int8-dynamic, int8-static, int8-static-percentile, "
        "int8-static-entropy, int8-weights, int4-weights, pruned, pruned-close, low-rank, "
        " mixed; several composed with +, such as low-rank+int8-dynamic; or all; "
        "or auto: all that fit are measured on the device, and the best are kept. When left out: "
        "fp32, int8-dynamic and int8-static where "
        "they fit. docs/recipes.md says what each does."
    ),
)
@click.option(
    "--samples",
    type=FILE,
    metavar="FILE.npz",
    help="Real inputs, arrays named after the model's inputs; made up when left out.",
)
@click.option(
    "--eval",
    "evaluation",
    type=FILE,
    metavar="FILE.npz",
    help="Labelled inputs that judge every variant: the same arrays, and `labels`.",
)
@click.option(
    "--task",
    type=FILE,
    metavar="FILE.json",
    help="What the model is for: its labels or vocabulary; see docs/bundle.md.",
)
@click.option(
    "--weights",
    type=FILE,
    metavar="FILE",
    help="For a factory: weights, loaded with torch's weights_only.",
)
@click.option(
    "--dynamic",
    multiple=True,
    type=Parsed("axis", parse_dynamic),
    metavar="INPUT:AXIS=NAME",
    help="An axis of an input that may have any size.",
)
@click.option(
    "--state",
    multiple=True,
    type=Parsed("pair", parse_state),
    metavar="OUT=IN",
    help="An output that is fed back to an input at the next step.",
)
@click.option(
    "--input-uint8",
    "pixels",
    multiple=True,
    type=Parsed("pixels", parse_pixels),
    metavar="[INPUT:]scale=1/255[,offset=0]",
    help="An input that takes uint8 pixels; the graph makes pixel * scale + offset of them.",
)
@click.option(
    "--output",
    "answers",
    multiple=True,
    type=Parsed("answer", parse_answer),
    metavar="[OUTPUT:]argmax|softmax|top-K",
    help="An output that gives the class, probabilities or the K best classes, not scores.",
)
@click.option(
    "--max-drop",
    type=Parsed("percent", positive),
    default=DEFAULT_MAX_DROP,
    show_default=True,
    metavar="PERCENT",
    help="Accuracy (or nats per character) a quantised variant may lose.",
)
@click.option(
    "--device",
    type=Parsed("device", device_name),
    metavar="D",
    help=(
        "Where the bundle will run, and where auto measures (cpu when left out). Without it "
        "variants are right on any CPU."
    ),
)
@click.option(
    "--min-ort",
    type=Parsed("version", version),
    metavar="VERSION",
    help="The oldest onnxruntime that must load the bundle.",
)
@click.option(
    "--opset",
    type=click.IntRange(13, 23),
    show_default=f"{DEFAULT_OPSET}, or what the converter needs",
    help="ONNX operator set to convert to.",
)
@click.option("--no-simplify", is_flag=True, help="Leave out onnxsim and the graph passes.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence instead of the path.")
def command(as_json: bool, **options: Any) -> None:
    """Turn a trained model into a verified bundle.

    SOURCE is a .keras, .pt2 or .onnx file, a SavedModel directory, or file.py:factory or
    package.module:factory that returns a Keras model or an nn.Module. Every stage is
    compared with the framework's own outputs; a stage that disagrees ends the export with
    exit code 3, and nothing is written.

    \b
    edgedl export model.keras -o digits.bundle --samples samples.npz
    edgedl export model.py:build --weights model.pt -o text.bundle \\
        --samples samples.npz --dynamic tokens:0=batch --dynamic tokens:1=time
    edgedl export model.keras -o digits.bundle --samples samples.npz --eval eval.npz \\
        --recipe auto --max-drop 0.5 --device cpu
    """
    if {AUTO, "all"} <= set(options["recipes"]):
        raise click.UsageError("--recipe auto tries every recipe: leave out --recipe all")
    task = options.pop("task")
    request = ExportRequest(
        task=None if task is None else read_task(task),
        simplify=not options.pop("no_simplify"),
        **options,
    )
    try:
        from edgedl.export.pipeline import export
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name}", "export") from error
    line = ProgressLine()

    def show(report: StageReport) -> None:
        line.clear()
        tell(report)

    try:
        bundle = export(request, show, line.show)
    finally:
        line.clear()
    manifest = bundle.manifest
    if manifest.search is not None:
        print_table(search_table(manifest.search), to_stderr=True)
    for variant in manifest.variants:
        say(f"  {variant.file:<20} {variant.bytes:>12,} bytes")
    if as_json:
        evidence = {"bundle": str(bundle.path), **_evidence(manifest)}
        click.echo(msgspec.json.format(msgspec.json.encode(evidence)).decode())
    else:
        click.echo(bundle.path)


def _evidence(manifest: Manifest) -> dict[str, object]:
    return {
        "default_variant": manifest.default_variant,
        "variants": manifest.variants,
        "search": manifest.search,
    }


def tell(report: StageReport) -> None:
    """One line per stage on stderr: what happened and how far off it is."""
    worst = max((o.max_abs for o in report.outputs), default=None)
    parts = [report.detail]
    if worst is not None:
        parts.append(f"max |a-b| {worst:.2g}")
        noise = show_least_noise(report.outputs)
        parts += [f"SQNR {noise}" if noise.endswith("dB") else noise] if noise != "-" else []
        parts += [f"flips {show_flips(o)}" for o in report.outputs if o.flips]
        parts += [show_text(o) for o in report.outputs if o.diverged_at is not None]
    if report.quality is not None:
        q = report.quality
        shown, source = show_amount(q, q.value), show_amount(q, q.source)
        parts.append(f"{q.metric} {shown} (source {source}, {q.samples} samples)")
    say(f"{report.stage:<13} {report.seconds:5.1f} s  {', '.join(parts)}")
