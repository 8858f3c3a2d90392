"""edgedl run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edgedl.cli.options import Parsed, bundle_argument, device_name, json_flag
from edgedl.images import AN_IMAGE, read_image
from edgedl.runtime.errors import InputError

if TYPE_CHECKING:
    from edgedl.runtime.golden import Arrays
    from edgedl.runtime.session import Model


@click.command()
@bundle_argument
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An image to classify, or an .npz with arrays named after the inputs.",
)
@click.option("--prompt", metavar="TEXT", help="Text to continue.")
@click.option("--variant", metavar="V", help="A variant; the bundle's default when left out.")
@click.option("--device", type=Parsed("device", device_name), default="cpu", show_default=True)
@click.option("--invert", is_flag=True, help="Invert the image: dark on light to light on dark.")
@click.option("--max-tokens", type=click.IntRange(0), default=200, show_default=True)
@click.option("--temperature", type=click.FloatRange(0), default=0.8, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Makes the text repeatable.")
@json_flag
def command(bundle: str, input_file: Path | None, prompt: str | None, **options: Any) -> None:
    """Run a bundle on an input or a prompt.

    \b
    edgedl run digits.bundle --input digit.png
    edgedl run text.bundle --prompt "The class statement" --seed 1
    """
    if (input_file is None) == (prompt is None):
        raise click.UsageError("give either --input FILE or --prompt TEXT")
    from edgedl.runtime.session import load

    with load(bundle, options["variant"], options["device"]) as model:
        if prompt is not None:
            _generate(model, prompt, options)
        elif input_file is not None and input_file.suffix == ".npz":
            _run_arrays(model, input_file)
        elif input_file is not None:
            _classify(model, input_file, options)


def _generate(model: Model, prompt: str, options: dict[str, Any]) -> None:
    generator = model.generator()
    pieces = generator.generate(
        prompt, options["max_tokens"], options["temperature"], options["seed"]
    )
    if options["as_json"]:
        click.echo(msgspec.json.encode({"prompt": prompt, "text": "".join(pieces)}))
        return
    click.echo(prompt, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


def _classify(model: Model, file: Path, options: dict[str, Any]) -> None:
    classifier = model.classifier()
    pixels = read_image(file, classifier.image_size)
    result = classifier.classify(255 - pixels if options["invert"] else pixels)
    if options["as_json"]:
        click.echo(msgspec.json.encode({"label": result.label, "scores": result.scores}))
        return
    click.echo(result.label)
    for label, score in sorted(result.scores.items(), key=lambda item: -item[1]):
        click.echo(f"  {label:<12} {score:7.2%}")


def _run_arrays(model: Model, file: Path) -> None:
    from edgedl.runtime.golden import read_npz

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}", AN_IMAGE) from None
    outputs: Arrays = model.run_feeds(read_npz(content, str(file)))
    click.echo(msgspec.json.encode({name: array.tolist() for name, array in outputs.items()}))
