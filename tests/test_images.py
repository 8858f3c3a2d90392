"""Pictures from bytes, as a service gets them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edgedl.images import decode_image
from edgedl.runtime.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_pixels_come_back_as_they_are() -> None:
    assert (decode_image(png(NOISE), NOISE.shape) == NOISE).all()


def test_a_dynamic_size_keeps_the_pictures_own() -> None:
    assert decode_image(png(np.zeros((7, 3), np.uint8)), (0, 0, 1)).shape == (7, 3, 1)


def test_a_picture_with_too_many_pixels_is_refused() -> None:
    content = png(np.zeros((100, 100), np.uint8))
    assert decode_image(content, (4, 4, 1), most_pixels=10_000).shape == (4, 4, 1)
    with pytest.raises(InputError, match="100 x 100 pixels") as caught:
        decode_image(content, (4, 4, 1), most_pixels=9_999)
    assert "9,999" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"no image", png(NOISE)[:2000]])
def test_what_is_no_whole_image_is_refused_in_a_line(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^the picture ") as caught:
        decode_image(content, (4, 4, 1), "the picture", hint="send a PNG")
    assert caught.value.hint == "send a PNG"
    assert "BytesIO" not in caught.value.message
