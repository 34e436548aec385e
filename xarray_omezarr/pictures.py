"""Pictures as files: PNG, and what is drawn on them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

#: Of pictures of noise, more than this takes a multiple of the time for as many bytes.
_EFFORT = 4
#: What stands on a picture is so high, of its shorter side.
_LETTERS = 1 / 22
#: No letter is smaller than this.
_SMALLEST = 10


def png(pixels: Bytes) -> bytes:
    r"""Write a picture as PNG.

    Parameters
    ----------
    pixels
        uint8, of shape (height, width, 3), or 4 with an alpha.

    Examples
    --------
    >>> png(np.zeros((2, 3, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=_EFFORT)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """Give a PNG as what stands in the attribute of an HTML element.

    Examples
    --------
    >>> data_uri(b"PNG")
    'data:image/png;base64,UE5H'
    """
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def resized(pixels: Bytes, height: int, width: int, *, smooth: bool = True) -> Bytes:
    """Bring a picture to another size.

    Parameters
    ----------
    pixels
        uint8, of shape (height, width, 3) or 4.
    height, width
        The new size.
    smooth
        Whether pixels are averaged where there become fewer, and interpolated where there become
        more; else the nearest one is taken.
    """
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    fewer = height < pixels.shape[0] or width < pixels.shape[1]
    how = Image.Resampling.NEAREST
    if smooth:
        how = Image.Resampling.BOX if fewer else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))


def averaged(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Bring a plane of pixels to fewer: each is the mean of the ones whose centres it covers.

    Parameters
    ----------
    plane
        Of shape (rows, columns), and any real type.
    height, width
        The new size.

    Returns
    -------
    numpy.ndarray
        float32, or the plane itself where it has that size.

    Examples
    --------
    >>> averaged(np.arange(12).reshape(2, 6), 1, 3)
    array([[3.5, 5.5, 7.5]], dtype=float32)
    """
    from PIL import Image

    if plane.shape == (height, width):
        return plane
    with np.errstate(over="ignore"):
        picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def nearest(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Bring a plane of labels to another size: of each area, the label in the middle.

    Examples
    --------
    >>> nearest(np.arange(12).reshape(2, 6), 1, 3)
    array([[ 7,  9, 11]])
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip((height, width), plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def with_bar(pixels: Bytes, length: float, text: str) -> Bytes:
    """Draw a scale bar into the lower right corner of a picture: white, with a dark rim.

    Parameters
    ----------
    pixels
        uint8, of shape (height, width, 3).
    length
        How long the bar is, in pixels.
    text
        What is written above it.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(picture)
    size = max(_SMALLEST, round(min(pixels.shape[:2]) * _LETTERS))
    font = ImageFont.load_default(size)
    margin, thick = size * 2 // 3, max(2, size // 5)
    right, bottom = picture.width - margin, picture.height - margin
    left = right - max(1, round(length))
    draw.rectangle((left - 1, bottom - thick, right, bottom + 1), fill="black")
    draw.rectangle((left, bottom - thick + 1, right - 1, bottom), fill="white")
    middle, base = (left + right) / 2, bottom - thick - size // 3
    # The font that Pillow has for itself lacks this letter; it is a "u" with a stem.
    plain = text.replace("µ", "u")
    start = min(max(1.0, middle - font.getlength(plain) / 2), picture.width - margin)
    start = min(start, right - font.getlength(plain)) if left > margin else start
    stems = [
        (x, base - size / 3, x, base + size / 5)
        for index, letter in enumerate(text)
        if letter == "µ"
        for x in [start + font.getlength(plain[:index]) + size / 11]
    ]
    width = max(1, size // 10)
    for stem in stems:
        draw.line(stem, "black", width + 2)
    draw.text((start, base), plain, "white", font, "ls", stroke_width=1, stroke_fill="black")
    for stem in stems:
        draw.line(stem, "white", width)
    return np.asarray(picture)
