"""The region of an image that is asked for, along each axis, and the pixels of a level in it.

Bounds with a unit, or bare numbers along space and time, are physical: of each level, the pixels
whose centres lie within them or on them are meant, as by label slices of xarray. Bounds in pixels
are those of the finest level, the last one excluded: of the other levels, the pixels whose centres
lie on them are meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.quantities import Quantity, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xarray_omezarr.model import Axis, Image
    from xarray_omezarr.transforms import ScaleTranslation

#: What differs by no more than this, in pixels, is the same position.
_SAME = 1e-6
#: What pixels are called where bounds are given in them.
_PIXELS = frozenset({"px", "pixel", "pixels"})
#: A range has two bounds.
_BOTH = 2


@dataclass(frozen=True)
class Extent:
    """A part of an axis, in the unit that the axis has in the image that it was asked of."""

    dim: str
    low: float
    high: float
    closed: bool
    """Whether what lies on the upper bound is within."""
    unit: str | None
    point: bool = False
    """Whether it is one position, which a pixel contains."""

    def pixels(self, transform: ScaleTranslation, axis: int, size: int) -> tuple[int, int]:
        """Give the pixels of a level that are meant: the first one, and the one after the last.

        Examples
        --------
        >>> from xarray_omezarr.transforms import ScaleTranslation
        >>> whole = Extent("x", 1.0, 2.0, closed=True, unit=None)
        >>> whole.pixels(ScaleTranslation((0.5,), (0.0,)), 0, 100)
        (2, 5)
        """
        scale, first = transform.scale[axis], transform.translation[axis]
        a, b = sorted(((self.low - first) / scale, (self.high - first) / scale))
        if self.point:
            start = math.floor(_within(a, size) + 0.5 + _SAME)
            return (start, start + 1) if 0 <= start < size else (0, 0)
        start = math.ceil(_within(a, size) - _SAME)
        b = _within(b, size)
        stop = math.floor(b + _SAME) + 1 if self.closed else math.ceil(b - _SAME)
        start, stop = max(start, 0), min(stop, size)
        return (start, stop) if start < stop else (0, 0)

    def like(self, axis: Axis) -> Extent:
        """Give it in the unit of an axis of another image."""
        if self.unit is None or axis.unit in (None, self.unit) or math.isinf(self.low + self.high):
            return self
        low, high = (
            Quantity(number, self.unit).to(axis.unit, what=f"'{self.dim}'")
            for number in (self.low, self.high)
        )
        return Extent(self.dim, low, high, self.closed, axis.unit, self.point)


def _within(position: float, size: int) -> float:
    """Give a position that is no farther away than makes a difference."""
    return min(max(position, -1.0), size + 1.0)


def extents(
    region: Mapping[str, Any], image: Image, shape: Sequence[int], *, place: str
) -> dict[str, Extent]:
    """Read the region that is asked for of an image.

    Parameters
    ----------
    region
        What is wanted along each axis: a slice, two bounds, a text like "100:200 um", or a single
        position. Of channels, names as well.
    image
        The image.
    shape
        That of its finest level.
    place
        What messages call it.

    Raises
    ------
    OmeZarrError
        Where there is no such axis, or nothing is there.
    """
    found = {}
    for dim, value in region.items():
        if dim not in image.dims:
            msg = f"region: {place} has no axis {dim!r:.40}; there are {', '.join(image.dims)}."
            raise OmeZarrError(msg)
        number = image.dims.index(dim)
        extent = _extent(value, image, number, shape[number])
        start, stop = extent.pixels(image.levels[0].transform, number, shape[number])
        if start == stop:
            raise _nothing(value, image, number, shape[number], place)
        found[dim] = extent
    return found


def _nothing(value: object, image: Image, number: int, size: int, place: str) -> OmeZarrError:
    axis, transform = image.axes[number], image.levels[0].transform
    first = transform.translation[number]
    last = first + transform.scale[number] * (size - 1)
    unit = f" {axis.unit}" if axis.unit else ""
    return OmeZarrError(
        f"region: {place} has no pixel in {axis.name}={value!r:.60}. Its pixels along "
        f"'{axis.name}' are {size}, with centres from {min(first, last):.10g} to "
        f"{max(first, last):.10g}{unit}. Bounds in pixels are written '0:{size} px'."
    )


def _extent(value: Any, image: Image, number: int, size: int) -> Extent:  # noqa: ANN401 - as users write it
    axis = image.axes[number]
    names = [channel.label for channel in image.channels or ()]
    if axis.is_channel and value in names:
        return _of_pixels(image, number, names.index(value), names.index(value) + 1)
    if axis.is_channel and isinstance(value, str) and value[:1].isalpha():
        there = [name for name in names if name] or [f"0 to {size - 1}"]
        msg = f"region: there is no channel {value!r:.60}; there are {', '.join(there)}."
        raise OmeZarrError(msg)
    bounds, single = _bounds(axis, value)
    what = f"region: '{axis.name}'"
    low, high = (None if bound is None else parse(bound, what=what) for bound in bounds)
    if low is not None and low.unit is None and high is not None:
        # "100:200 um": the unit is that of both.
        low = Quantity(low.number, high.unit)
    pixels = {q.unit in _PIXELS for q in (low, high) if q is not None and q.unit is not None}
    if len(pixels) == _BOTH:
        msg = f"{what}: {value!r:.60} is in pixels and in another unit; expected one of them."
        raise OmeZarrError(msg)
    if pixels == {True} or (not pixels and axis.type not in ("space", "time")):
        start, stop = (None if q is None else _whole(q, what) for q in (low, high))
        start = 0 if start is None else start
        stop = start + 1 if single else size if stop is None else stop
        return _of_pixels(image, number, start, stop)
    first, last = (None if q is None else q.to(axis.unit, what=what) for q in (low, high))
    if first is not None and last is not None and first > last:
        msg = f"{what}: {value!r:.60} ends before it begins; expected the lower bound first."
        raise OmeZarrError(msg)
    first = -math.inf if first is None else first
    last = math.inf if last is None else last
    return Extent(axis.name, first, last, closed=True, unit=axis.unit, point=single)


def _bounds(axis: Axis, value: Any) -> tuple[tuple[Any, Any], bool]:  # noqa: ANN401
    """Give the two bounds, None for those that there are not; and whether it is one position."""
    if isinstance(value, slice):
        if value.step is not None:
            msg = f"region: '{axis.name}' has a step, {value!r:.60}; a region has all its pixels."
            raise OmeZarrError(msg)
        return (value.start, value.stop), False
    if isinstance(value, str) and ":" in value:
        value = [part.strip() or None for part in value.split(":")]
    if isinstance(value, (list, tuple)):
        if len(value) != _BOTH:
            msg = (
                f"region: '{axis.name}' is {value!r:.60}; expected two bounds, like '100:200 um', "
                "(100, 200) or '0:512 px'."
            )
            raise OmeZarrError(msg)
        return (value[0], value[1]), False
    return (value, value), True


def _whole(quantity: Quantity, what: str) -> int:
    if quantity.number < 0 or not quantity.number.is_integer():
        msg = f"{what}: '{quantity}' is no number of a pixel; they are whole, and count from 0."
        raise OmeZarrError(msg)
    return int(quantity.number)


def _of_pixels(image: Image, number: int, start: int, stop: int) -> Extent:
    axis, transform = image.axes[number], image.levels[0].transform
    scale, first = transform.scale[number], transform.translation[number]
    low, high = sorted(first + scale * (n - 0.5) for n in (start, max(start, stop)))
    return Extent(axis.name, low, high, closed=False, unit=axis.unit)
