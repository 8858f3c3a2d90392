"""edgedl run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from edgedl.cli.options import Parsed, bundle_argument, device_name, json_flag
from edgedl.runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

    from edgedl.runtime.golden import Array, Arrays
    from edgedl.runtime.session import Model


AN_IMAGE = "give an image file, or arrays as .npz"


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
    height, width, channels = classifier.image_size
    pixels = read_image(file, height, width, channels)
    result = classifier.classify(255 - pixels if options["invert"] else pixels)
    if options["as_json"]:
        click.echo(msgspec.json.encode({"label": result.label, "scores": result.scores}))
        return
    click.echo(result.label)
    for label, score in sorted(result.scores.items(), key=lambda item: -item[1]):
        click.echo(f"  {label:<12} {score:7.2%}")


def read_image(file: Path, height: int, width: int, channels: int) -> Array:
    """An image file as uint8 (height, width, channels), resized to what the model wants."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("Pillow, which reads images,", "image") from error
    if channels not in (1, 3):
        raise InputError(f"the model wants {channels} channels; an image file has 1 or 3")
    try:
        with Image.open(file) as opened:
            image = _opaque(opened).convert("L" if channels == 1 else "RGB")
            if height and width and image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
    except FileNotFoundError:
        raise InputError(f"{file} is missing", AN_IMAGE) from None
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} is not an image: {error}", AN_IMAGE) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{file} can't be read as an image: {error}", AN_IMAGE) from None


def _opaque(image: Image.Image) -> Image.Image:
    """What is transparent shows as white, as in a viewer; 16-bit grey becomes 8-bit."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _run_arrays(model: Model, file: Path) -> None:
    from edgedl.runtime.golden import read_npz

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}", AN_IMAGE) from None
    outputs: Arrays = model.run_feeds(read_npz(content, str(file)))
    click.echo(msgspec.json.encode({name: array.tolist() for name, array in outputs.items()}))
