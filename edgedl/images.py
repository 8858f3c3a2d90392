"""Pictures as a model wants them; needs Pillow (the extra `image`)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgedl.runtime.errors import InputError, MissingExtraError
from edgedl.runtime.golden import Array

if TYPE_CHECKING:
    from PIL import Image

AN_IMAGE = "give an image file, or arrays as .npz"


def read_image(file: Path, size: tuple[int, int, int]) -> Array:
    """An image file as uint8 (height, width, channels); see `decode_image`."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file} is missing", AN_IMAGE) from None
    except OSError as error:
        raise InputError(f"{file} can't be read as an image: {error}", AN_IMAGE) from None
    return decode_image(content, size, str(file), AN_IMAGE)


def decode_image(
    content: bytes,
    size: tuple[int, int, int],
    where: str = "the image",
    hint: str = "",
    most_pixels: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Array:
    """An image file's bytes as uint8 (height, width, channels), resized to what a model wants.

    Args:
        content: PNG, JPEG or whatever else Pillow reads.
        size: Height, width and channels, as `Classifier.image_size` has them; a height or
            width of 0 keeps the image's own.
        where: What to call it in errors.
        hint: What to say to someone whose file is no image.
        most_pixels: A larger image is refused before its pixels are unpacked.
        formats: Pillow's names of those that are read; all for None. Whoever reads what
            strangers send has little use for most of them.

    Raises:
        InputError: It is no image, it is damaged or too large.
        MissingExtraError: Pillow isn't installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("Pillow, which reads images,", "image") from error
    height, width, channels = size
    if channels not in (1, 3):
        raise InputError(f"the model wants {channels} channels; an image file has 1 or 3")
    try:
        with Image.open(BytesIO(content), formats=formats) as opened:
            if most_pixels is not None and opened.width * opened.height > most_pixels:
                raise InputError(
                    f"{where} has {opened.width} x {opened.height} pixels",
                    f"at most {most_pixels:,} in all",
                )
            image = _opaque(opened).convert("L" if channels == 1 else "RGB")
            if height and width and image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        cause = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
        raise InputError(f"{where} is not an image{cause}", hint) from None
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{where} can't be read as an image: {error}", hint) from None


def _opaque(image: Image.Image) -> Image.Image:
    """What is transparent shows as white, as in a viewer; 16-bit grey becomes 8-bit."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
