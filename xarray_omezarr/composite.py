"""Channels and labels as colours: the arithmetic of pictures, on arrays in memory.

Channels are put together as OMERO does it, each step on the levels of the step before. Of a pixel
of value x, in a channel with a window, a colour, a family of curves and perhaps inverted:

1. Window. v = 255 · (x − start) / (end − start) in float64, clipped to 0 … 255. Where the window
   has no width, v is 255 above it, else 0. A window that starts above its end shows low values
   bright.
2. Curve. "linear" leaves v as it is; "polynomial" makes it 255 · (v / 255)^k, where k is the
   coefficient, the gamma; "logarithmic" 255 · ln(max(v, 1)) / ln(255); "exponential"
   255 · (exp(v^k) − 1) / (exp(255^k) − 1).
   OMERO takes a coefficient from 0.1 to 4.
3. Level. n = ⌊v + ½⌋, one of 0 … 255.
4. Inversion. n becomes 255 − n.
5. Light. Each component of the colour, from 0 to 255, gives component · n / 255, rounded to the
   nearest integer, which there always is exactly one of.
6. Sum. The light of all channels is added component by component; what exceeds 255 is 255.

NaN is a value that nobody knows: it gives no light, inverted or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lookup import LookUp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    #: How labels are laid over a picture.
    Overlay = Literal["filled", "outlines"]
    Bytes = NDArray[np.uint8]

#: The curves that OMERO knows.
FAMILIES = ("linear", "polynomial", "logarithmic", "exponential")

#: Pixels that are looked up at a time: what belongs to them stays in a processor's cache.
_SLAB = 2**16
_BYTE = 255
#: The row after those of all levels.
_NAN = 256
#: 2⁶⁴ over the golden ratio: its multiples spread evenly over 64-bit integers, however many.
_GOLDEN = 0x9E3779B97F4A7C15


# ── channels ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Look:
    """How the values of one channel are shown."""

    color: tuple[int, int, int] = (_BYTE, _BYTE, _BYTE)
    """Red, green and blue of its brightest pixels, 0 to 255."""
    start: float = 0.0
    """What is shown darkest, with all below."""
    end: float = 1.0
    """What is shown brightest, with all above."""
    family: str = "linear"
    """One of `FAMILIES`."""
    coefficient: float = 1.0
    """The exponent of "polynomial" and "exponential"."""
    inverted: bool = False

    def levels(self, values: NDArray[Any]) -> Bytes:
        """Give the level of each value: steps 1 to 4; 0 for NaN."""
        rows = self.rows(values)
        return np.where(rows == _NAN, 0, rows).astype(np.uint8)

    def rows(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """Give the row of `light` that each value has: its level."""
        x = values.astype(np.float64)
        missing = np.isnan(x)
        if self.start == self.end:
            v = np.where(x > self.start, 255.0, 0.0)
        else:
            # Clipped first, infinity is a number like others.
            np.clip(x, min(self.start, self.end), max(self.start, self.end), out=x)
            v = 255.0 * (x - self.start) / (self.end - self.start)
        n = np.floor(np.clip(self._curve(v), 0.0, 255.0) + 0.5)
        if self.inverted:
            n = 255.0 - n
        return np.where(missing, _NAN, n).astype(np.intp)

    def _curve(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        k = self.coefficient
        if self.family == "polynomial":
            return 255.0 * (v / 255.0) ** k
        if self.family == "logarithmic":
            return 255.0 * np.log(np.maximum(v, 1.0)) / math.log(255.0)
        if self.family == "exponential":
            # exp(v^k) alone is beyond float64 almost everywhere.
            power, last = v**k, 255.0**k
            steep = np.exp(power - last) * np.expm1(-power) / math.expm1(-last)
            return cast("NDArray[np.float64]", 255.0 * steep)
        return v

    @cached_property
    def light(self) -> NDArray[np.uint32]:
        """The light of each level, and of NaN at the end: four components in one number.

        The fourth says that there is something to be seen.
        """
        light = np.zeros((_NAN + 1, 4), np.uint8)
        n = np.arange(_NAN)
        for i, component in enumerate(self.color):
            light[:_NAN, i] = (2 * component * n + _BYTE) // (2 * _BYTE)
        light[:_NAN, 3] = _BYTE
        return light.view(np.uint32)[:, 0]

    def table(self, dtype: np.dtype[Any]) -> NDArray[np.uint32]:
        """Give the light of each value of an integer type of 8 or 16 bits, by its bits."""
        bits = np.arange(1 << (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}")
        return self.light[self.rows(bits.view(dtype))]


def composite(
    planes: Iterable[NDArray[Any]], looks: Sequence[Look], *, alpha: bool = False
) -> Bytes:
    """Put channels together to a picture.

    Parameters
    ----------
    planes
        The pixels of each channel, all of one shape and any real type; asked for one after another.
    looks
        How each is shown.
    alpha
        Whether there is a fourth component: 255, and 0 where all channels are NaN.

    Returns
    -------
    numpy.ndarray
        uint8, of the planes' shape and one axis more, of three or four.

    Examples
    --------
    >>> nuclei = np.array([[0, 100, 200]], np.uint8)
    >>> composite([nuclei, 200 - nuclei], [Look((0, 0, 255), 0, 200), Look((0, 255, 0), 0, 200)])
    array([[[  0, 255,   0],
            [  0, 128, 128],
            [  0,   0, 255]]], dtype=uint8)
    """
    canvas: Canvas | None = None
    for plane, look in zip(planes, looks, strict=True):
        canvas = canvas or Canvas(np.shape(plane))
        canvas.add(plane, look)
    if canvas is None:
        msg = "There is no channel to be shown; expected one at least."
        raise OmeZarrError(msg)
    return canvas.picture(alpha=alpha)


class Canvas:
    """A picture that is being put together, channel by channel."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._sum = np.zeros((math.prod(shape), 4), np.uint8)

    def add(self, values: NDArray[Any], look: Look) -> None:
        """Add the light of a channel."""
        flat = _plain(values).reshape(-1)
        small = flat.dtype.kind in "iu" and flat.dtype.itemsize <= 2  # noqa: PLR2004
        # A table costs as much as so many pixels.
        fused = small and flat.size >= 1 << (8 * flat.dtype.itemsize)
        table = look.table(flat.dtype) if fused else look.light
        for start in range(0, flat.size, _SLAB):
            slab = slice(start, start + _SLAB)
            rows = flat[slab].view(f"u{flat.itemsize}") if fused else look.rows(flat[slab])
            light, total = np.take(table, rows).view(np.uint8).reshape(-1, 4), self._sum[slab]
            # As much as there is room for.
            total += np.minimum(light, ~total)

    def picture(self, *, alpha: bool = False) -> Bytes:
        """Give what there is: uint8, with three components, or with alpha as the fourth."""
        components = self._sum[:, : 4 if alpha else 3]
        return np.ascontiguousarray(components).reshape(*self._shape, components.shape[1])


def check_pixels(dtype: np.dtype[Any]) -> None:
    """Check that pixels of a type are brighter and darker.

    Raises
    ------
    OmeZarrError
        Where they are not.
    """
    if dtype.kind not in "biuf":
        msg = f"Pixels of type {dtype} have no brightness; expected real numbers (.astype)."
        raise OmeZarrError(msg)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Give values in native byte order, booleans as 0 and 1."""
    values = np.asarray(values)
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    check_pixels(values.dtype)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Palette:
    """The colour of each label: those of a table, or one for each that only its value decides."""

    table: LookUp | None = None
    """Looks up red, green, blue and alpha, packed in this order; 0 for a label without."""

    @classmethod
    def of(cls, ids: NDArray[Any], colors: NDArray[Any], dtype: np.dtype[Any]) -> Palette:
        """Make the palette of labels whose colours are known; all others are not drawn.

        Parameters
        ----------
        ids
            The labels, each once.
        colors
            Eight hexadecimal digits each, red, green, blue and alpha; "" for none.
        dtype
            The type of the pixels of the label image.
        """
        texts = "".join(np.char.ljust(colors.astype("U8"), 8, "F").tolist())
        packed = np.frombuffer(bytes.fromhex(texts), np.uint32)
        table = np.append(packed, np.uint32(0))
        return cls(LookUp.of(ids, table, dtype, colors != ""))

    def colors(self, labels: NDArray[Any]) -> Bytes:
        """Give red, green, blue and alpha of each pixel of a label image; background has none."""
        flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
        if self.table is not None:
            packed = self.table(flat)
        else:
            # A label is a run of pixels in most rows: it needs to be worked out once in each.
            new = np.ones(flat.size, np.bool_)
            np.not_equal(flat[1:], flat[:-1], out=new[1:])
            starts = np.flatnonzero(new)
            shades = distinct_colors(flat[starts]).view(np.uint32)[:, 0]
            shades = np.where(flat[starts] == 0, np.uint32(0), shades)
            packed = np.repeat(shades, np.diff(starts, append=flat.size))
        return packed.view(np.uint8).reshape(*labels.shape, 4)


def distinct_colors(ids: NDArray[Any]) -> Bytes:
    """Give each label a colour of its own: hues a golden angle apart, in several shades.

    Parameters
    ----------
    ids
        Labels, of any integer type; a label has the same colour in each image.

    Returns
    -------
    numpy.ndarray
        uint8, of shape (n, 4): red, green, blue and 255.
    """
    bits = ids.astype(np.uint64) * np.uint64(_GOLDEN)
    hue = (bits >> np.uint64(11)) / 2.0**53
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    saturation = 0.55 + 0.45 * ((bits >> np.uint64(32)) & np.uint64(0xFFFF)) / 0xFFFF
    value = 0.75 + 0.25 * (bits >> np.uint64(48)) / 0xFFFF
    sector = (np.array([5, 3, 1]) + 6 * hue[:, None]) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    colors = np.full((len(ids), 4), _BYTE, np.uint8)
    colors[:, :3] = np.rint(value[:, None] * (1 - saturation[:, None] * ramp) * 255)
    return colors


def outlines(labels: NDArray[Any], axes: tuple[int, ...] = (-2, -1)) -> NDArray[np.bool_]:
    """Say which pixels are on the outline of their label: one pixel wide, inside of the label.

    They are those of which one of the four neighbours in the plane has another label. What lies
    beyond the array is taken to have the same one.

    Parameters
    ----------
    labels
        A label image.
    axes
        The axes of the plane.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of the labels; False on the background.

    Examples
    --------
    >>> labels = np.zeros((5, 5), np.uint8)
    >>> labels[1:4, 1:4] = 7
    >>> outlines(labels).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 1, 0, 1, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 0, 0, 0]])
    """
    found = np.zeros(labels.shape, np.bool_)
    for axis in axes:
        before = np.swapaxes(labels, axis, -1)
        differ = before[..., 1:] != before[..., :-1]
        along = np.swapaxes(found, axis, -1)
        along[..., 1:] |= differ
        along[..., :-1] |= differ
    return cast("NDArray[np.bool_]", found & (labels != 0))


def overlay(picture: Bytes, colors: Bytes, opacity: float = 1.0) -> Bytes:
    """Lay colours over a picture.

    Parameters
    ----------
    picture
        uint8, of three or four components along its last axis, red, green, blue and alpha; pixels
        are either there or, with an alpha of 0, not.
    colors
        uint8, of four components, for each pixel or broadcast against them: where alpha is 0, the
        picture stays as it is.
    opacity
        What alpha is multiplied with, from 0 to 1.

    Returns
    -------
    numpy.ndarray
        Like the picture. With a, ⌊alpha · opacity + ½⌋, a component is that of the picture times
        255 − a, plus that of the colour times a, over 255, rounded to the nearest integer; where
        the picture is not there, it is that of the colour, with a as alpha.
    """
    shares = np.floor(np.arange(256) * opacity + 0.5).astype(np.uint16)
    result = np.array(picture)
    flat = result.reshape(-1, result.shape[-1])
    above = np.broadcast_to(colors, (*picture.shape[:-1], 4)).reshape(-1, 4)
    for start in range(0, len(flat), _SLAB):
        part, color = flat[start : start + _SLAB], above[start : start + _SLAB]
        drawn = np.flatnonzero(shares[color[:, 3]])
        if len(drawn) < len(part) / 4:
            part[drawn] = _mixed(part[drawn], color[drawn], shares)
        else:
            part[...] = _mixed(part, color, shares)
    return result


def _mixed(below: Bytes, above: Bytes, shares: NDArray[np.uint16]) -> Bytes:
    a = shares[above[:, 3:]]
    sums = below[:, :3] * (_BYTE - a)
    sums += above[:, :3] * a
    # The nearest integer to 1/255 of it, without leaving 16 bits.
    sums += 128
    sums += sums >> 8
    sums >>= 8
    if below.shape[-1] == 3:  # noqa: PLR2004
        return sums.astype(np.uint8)
    absent = (below[:, 3:] == 0) & (a != 0)
    return np.concatenate(
        [
            np.where(absent, above[:, :3], sums.astype(np.uint8)),
            np.where(absent, a.astype(np.uint8), below[:, 3:]),
        ],
        axis=1,
    )
