"""Which level of an image is wanted: the one of a number, of a resolution, or of a size.

Values in, the number of a level out. A resolution is met by the coarsest level whose pixels are at
least as fine; a size by the finest level that fits into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lattice import SAME
from xarray_omezarr.plan import readable
from xarray_omezarr.quantities import Quantity, parse, parse_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray_omezarr.model import Axis, Image

    #: What users give as `resolution`.
    Wanted = float | str | Mapping[str, float | str]


@dataclass(frozen=True)
class Resolution:
    """The size that pixels may have at the most."""

    sizes: Mapping[str, Quantity] | Quantity
    """Along some axes; or one for all axes of space."""

    def pick(self, axes: Sequence[Axis], scales: Sequence[Sequence[float]], *, place: str) -> int:
        """Give the coarsest level whose pixels are at least as fine.

        Parameters
        ----------
        axes
            Those of the image.
        scales
            The pixel size of each level along each axis.
        place
            What messages call the image.

        Raises
        ------
        OmeZarrError
            Where no level is as fine, or nothing can be said of it.
        """
        limits = self._limits(axes, place)
        measured = [i for i, axis in enumerate(axes) if not axis.is_channel]
        if len(scales) > 1 and len({tuple(one[i] for i in measured) for one in scales}) == 1:
            # Before 0.4, there are no pixel sizes.
            msg = (
                f"{place}: all of its {len(scales)} levels have the same pixel size, or none is "
                "known, so that none can be chosen by resolution=. Say which by level= or "
                "max_bytes=."
            )
            raise OmeZarrError(msg)
        fine = [
            number
            for number, scale in enumerate(scales)
            # What differs by rounding only, is as fine.
            if all(abs(scale[i]) <= limit * (1 + SAME) for i, limit in limits.items())
        ]
        if fine:
            return max(fine, key=lambda n: (math.prod(abs(scales[n][i]) for i in measured), n))
        raise OmeZarrError(_not_so_fine(self.sizes, limits, axes, scales, place))

    def of(self, image: Image, *, place: str) -> int:
        """Give the level of an image that is not opened yet."""
        return self.pick(image.axes, [one.transform.scale for one in image.levels], place=place)

    def _limits(self, axes: Sequence[Axis], place: str) -> dict[int, float]:
        """Give the largest size of a pixel along some of the axes, in the units of these."""
        if isinstance(self.sizes, Mapping):
            names = [axis.name for axis in axes if not axis.is_channel]
            for dim in self.sizes:
                if dim not in names:
                    msg = (
                        f"resolution: '{dim}' is no axis of {place} that has a pixel size; "
                        f"expected some of {', '.join(names)}."
                    )
                    raise OmeZarrError(msg)
            wanted = dict(self.sizes)
        else:
            wanted = {axis.name: self.sizes for axis in axes if axis.type == "space"}
            if not wanted:
                msg = f"resolution: {place} has no axis of space; name axes, like {{'t': '1 s'}}."
                raise OmeZarrError(msg)
        return {
            i: wanted[axis.name].to(axis.unit, what=f"resolution along '{axis.name}' of {place}")
            for i, axis in enumerate(axes)
            if axis.name in wanted
        }


def _not_so_fine(
    sizes: Mapping[str, Quantity] | Quantity,
    limits: Mapping[int, float],
    axes: Sequence[Axis],
    scales: Sequence[Sequence[float]],
    place: str,
) -> str:
    lines = [
        f"  {number}: pixels of "
        + ", ".join(
            f"{axis.name} {abs(size):g}{f' {axis.unit}' if axis.unit else ''}"
            for axis, size in zip(axes, scale, strict=True)
            if not axis.is_channel
        )
        for number, scale in enumerate(scales)
    ]
    found = "\n".join((f"{place} has no level whose pixels are as fine as asked for:", *lines))
    finest = {i: min(abs(scale[i]) for scale in scales) for i in limits}
    good = {axes[i].name for i in limits if finest[i] <= limits[i] * (1 + SAME)}
    if isinstance(sizes, Quantity) and good:
        # A stack that is coarse along one axis is so at every level.
        one = f"'{sizes}'" if sizes.unit else f"{sizes.number:.10g}"
        named = ", ".join(f"'{axis.name}': {one}" for axis in axes if axis.name in good)
        return f"{found}\nName the axes that count: resolution={{{named}}}."
    return f"{found}\nAsk for a larger pixel size; level=0 is the finest there is."


@dataclass(frozen=True)
class Budget:
    """The number of bytes that pixels may take."""

    nbytes: int

    def pick(self, totals: Mapping[int, int], *, place: str, shapes: Mapping[int, Any]) -> int:
        """Give the finest level that fits.

        Parameters
        ----------
        totals
            What the pixels of each level take, by its number, the finest first.
        place
            What messages call the image.
        shapes
            The shapes of the levels, to be shown.

        Raises
        ------
        OmeZarrError
            Where none fits.
        """
        fitting = [number for number, total in totals.items() if total <= self.nbytes]
        if fitting:
            return max(fitting, key=lambda n: (totals[n], -n))
        lines = "\n".join(
            f"  {number}: {shapes[number]}, {readable(total)}" for number, total in totals.items()
        )
        msg = (
            f"{place} has no level that fits into {readable(self.nbytes)}:\n{lines}\nOpen one "
            "lazily by level=, and select a part of it; or chunks={} reads it piece by piece."
        )
        raise OmeZarrError(msg)


@dataclass(frozen=True)
class NoFinerThan:
    """The level of a number, or the coarsest one where there are not as many."""

    number: int


def asked(level: object, resolution: object, max_bytes: object, default: object = None) -> object:
    """Read the arguments that say which level is wanted; no more than one of them is given.

    Returns
    -------
    object
        A `Resolution`, a `Budget`, or the level as it was given; the default where nothing was.

    Raises
    ------
    OmeZarrError
        Where more than one is given, or one is not understood.
    """
    given = {"level": level, "resolution": resolution, "max_bytes": max_bytes}
    names = [f"{name}={value!r:.80}" for name, value in given.items() if value is not None]
    if len(names) > 1:
        msg = f"{' and '.join(names)}: expected one of them, each picks a level by itself."
        raise OmeZarrError(msg)
    if max_bytes is not None:
        return Budget(parse_bytes(max_bytes, what="max_bytes"))
    if resolution is not None:
        return _resolution(resolution)
    if level is None:
        return default
    check_level(level)
    return level


def check_level(level: object) -> None:
    """Check that what says the number of a level, or of several, is none of another type.

    Raises
    ------
    OmeZarrError
        Where it is a text, a boolean or not whole.

    Examples
    --------
    >>> check_level("1")
    Traceback (most recent call last):
    xarray_omezarr.errors.OmeZarrError: level='1': expected the number of a level, an integer: ...
    """
    for one in level if isinstance(level, (list, tuple)) else [level]:
        if isinstance(one, (str, bytes, bool, float, np.bool_, np.floating)):
            msg = (
                f"level={level!r:.80}: expected the number of a level, an integer: 0 is the finest,"
                " -1 the coarsest. Pixel sizes are resolution=, and bytes max_bytes=."
            )
            raise OmeZarrError(msg)


def _resolution(resolution: object) -> Resolution:
    if not isinstance(resolution, Mapping):
        return Resolution(_positive(resolution, "resolution"))
    if not resolution:
        msg = "resolution={} names no axis; expected one or more, like {'x': '1 um'}."
        raise OmeZarrError(msg)
    return Resolution(
        {str(dim): _positive(size, f"resolution[{dim!r}]") for dim, size in resolution.items()}
    )


def _positive(value: object, what: str) -> Quantity:
    found = parse(value, what=what)
    if found.number <= 0:
        msg = f"{what}: {value!r:.80}; expected a pixel size larger than 0."
        raise OmeZarrError(msg)
    return found
