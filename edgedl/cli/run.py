"""edgedl run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edgedl.cli.options import Parsed, bundle_argument, device_name, json_flag
from edgedl.cli.text import read_sampling, sampling_options, write_texts
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
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="Text to continue. Several may be given: they are continued at once.",
)
@click.option("--variant", metavar="V", help="A variant; the bundle's default when left out.")
@click.option("--device", type=Parsed("device", device_name), default="cpu", show_default=True)
@click.option("--invert", is_flag=True, help="Invert the image: dark on light to light on dark.")
@sampling_options
@json_flag
def command(bundle: str, input_file: Path | None, prompts: tuple[str, ...], **options: Any) -> None:
    """Run a bundle on an input or on prompts.

    \b
    edgedl run digits.bundle --input digit.png
    edgedl run text.bundle --prompt "The class statement" --seed 1
    edgedl run text.bundle --prompt "A list" --prompt "A class" --top-k 20 --stop "."
    """
    if (input_file is None) == (not prompts):
        raise click.UsageError("give either --input FILE or --prompt TEXT")
    sampling = read_sampling(options)
    from edgedl.runtime.session import load

    with load(bundle, options["variant"], options["device"]) as model:
        if prompts:
            write_texts(model.generator(), prompts, sampling, options["as_json"])
        elif input_file is not None and input_file.suffix == ".npz":
            _run_arrays(model, input_file)
        elif input_file is not None:
            _classify(model, input_file, options)


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
