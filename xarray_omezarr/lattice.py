"""Positions along one axis ⇄ scale and translation.

Positions lie on an integer lattice, so that a crop, a crop of a crop or a reversal that is written
and opened again has bit for bit the positions it had: what a file can hold, a scale and the
position of the first pixel, is enough to find the lattice again.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.transforms import ScaleTranslation, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

#: A deviation from even spacing up to this part of a pixel is measurement noise.
EVEN = 1e-3
#: Coordinates within this part of a pixel of each other are the same.
SAME = 1e-6
#: Positions are split into whole pixels and a rest at this fraction, which no remainder of a
#: division of decimals comes near: the golden ratio is the number worst approximated by fractions.
_SPLIT = Fraction(381966, 10**6)
#: So many digits fewer, and a pixel size is not short by chance.
_SPARED = 4
#: Integers up to here are exact in float64.
_EXACT = 2**53


def _split(scale: float, translation: float) -> tuple[Fraction, int, Fraction]:
    """Split a position into a number of pixels and a rest that a crop has too."""
    size = abs(exact(scale))
    # The exponent of the leading digit, read off the decimal: a logarithm may round up.
    exponent = int(f"{abs(scale):.17e}".rpartition("e")[2])
    position = exact(translation)
    pixels = math.floor(position / size + _SPLIT)
    return size, pixels, round(position - pixels * size, 7 - exponent)


def lattice(size: int, scale: float, translation: float) -> NDArray[np.float64]:
    """Give the positions of the pixels of one axis.

    With `s` the scale and `t` the translation, pixel `i` lies at `|s|·(k ± i) + R`, where `k` is a
    whole number of pixels and `R` what is left of `t`, rounded to about a ten-millionth of a pixel.
    Each position is evaluated exactly on the decimals that the numbers show, and rounded once.

    Parameters
    ----------
    size : int
        The number of pixels.
    scale : float
        The pixel size; negative where positions descend.
    translation : float
        The position of the first pixel's centre.

    Returns
    -------
    numpy.ndarray
        float64, of shape (size,).

    Examples
    --------
    >>> lattice(4, 0.1, 0.2).tolist()
    [0.2, 0.3, 0.4, 0.5]
    """
    step, pixels, rest = _split(scale, translation)
    first = step * pixels + rest
    denominator = math.lcm(step.denominator, first.denominator)
    start = first.numerator * (denominator // first.denominator)
    stride = step.numerator * (denominator // step.denominator) * (-1 if scale < 0 else 1)
    last = start + stride * max(size - 1, 0)
    # A single pixel has a size too, that NumPy's integers may not hold.
    largest = max(abs(start), abs(last), abs(stride))
    if largest < _EXACT and int(float(denominator)) == denominator:
        # Both are exact in float64, and IEEE division rounds correctly.
        return (start + stride * np.arange(size, dtype=np.int64)) / float(denominator)
    # So does the division of Python's integers, of any size.
    return np.array([(start + stride * i) / denominator for i in range(size)], dtype=np.float64)


def recover(values: NDArray[Any], hint: Mapping[Hashable, Any], what: str) -> tuple[float, float]:
    """Read scale and translation off the positions of one axis.

    Parameters
    ----------
    values
        Positions, one for each pixel: numbers, or `timedelta64`, which count as seconds.
    hint
        The encoding of the coordinate. Its exact `scale` is used where it reproduces the values.
    what
        What messages call the coordinate.

    Raises
    ------
    OmeZarrError
        Where the values are no evenly spaced numbers.
    """
    positions = positions_of(values, what)
    known = _known(hint)
    if len(positions) == 1:
        return _of_one_pixel(float(positions[0]), known, what)
    _check_even(positions, what)
    first, last = float(positions[0]), float(positions[-1])
    extent, index = float(np.abs(positions).max()), np.arange(len(positions))
    span = (last - first) / (len(positions) - 1)

    def deviation(scale: float) -> float:
        if abs(first + scale * index[-1] - last) > EVEN * abs(span):
            return math.inf
        return float(np.abs(first + scale * index - positions).max())

    if known:
        steps = round(span / known[0])
        scale = float(exact(known[0]) * steps)
        if steps and deviation(scale) <= EVEN * abs(scale):
            return scale, _origin(scale, first, extent, known)
    # Of all pixel sizes that reproduce the values, the one with the fewest digits: 0.325, not
    # 0.32500000000000284.
    rounding = float(np.spacing(extent))
    strict, digits = _shortest(span, lambda scale: deviation(scale) <= 4 * rounding)
    # Sums of steps carry as much more noise as there are steps. Within that, a number that is
    # shorter by some digits is what was summed.
    summed = deviation(span) + len(positions) * rounding
    loose, fewer = _shortest(span, lambda scale: deviation(scale) <= summed)
    scale = loose if fewer < digits - _SPARED else strict
    return scale, _origin(scale, first, extent, None)


def _shortest(number: float, good: Callable[[float], bool]) -> tuple[float, int]:
    """Find the decimal with the fewest digits that is good enough for a number, and their count."""
    for digits in range(1, 17):
        rounded = float(f"{number:.{digits - 1}e}")
        if good(rounded):
            return rounded, digits
    return number, 17


def _of_one_pixel(
    position: float, known: tuple[float, float] | None, what: str
) -> tuple[float, float]:
    if known:
        # An average of several pixels has their scale in its encoding, but lies between them.
        pixels = (position - known[1]) / known[0]
        if abs(pixels - round(pixels)) <= EVEN:
            return known[0], _origin(known[0], position, abs(position), known)
    warn(
        f"{what} has a single value, {position:g}, that no pixel size can be read off; 1.0 is "
        "taken. Use .omezarr.assign_scale(…) to say what it is."
    )
    return 1.0, position


def positions_of(values: NDArray[Any], what: str) -> NDArray[np.float64]:
    """Give positions as float64; durations in seconds."""
    if values.dtype.kind == "m":
        # Seconds, with one rounding: nanoseconds are integers.
        nanoseconds = values.astype("timedelta64[ns]").astype(np.int64)
        positions = nanoseconds / 1e9
    elif values.dtype.kind == "f" and values.dtype.itemsize < 8:  # noqa: PLR2004
        # A float32 of 0.1 means 0.1, not 0.10000000149.
        positions = np.array([float(str(value)) for value in values], dtype=np.float64)
    elif values.dtype.kind in "iuf":
        positions = values.astype(np.float64)
    else:
        way = (
            " Subtract the first to count from it: a timedelta64 is written in seconds."
            if values.dtype.kind == "M"
            else ""
        )
        msg = f"{what} is of type {values.dtype}; expected numbers or timedelta64.{way}"
        raise OmeZarrError(msg)
    if positions.size == 0:
        msg = f"{what} is empty: there is no image in no pixels. Select at least one."
        raise OmeZarrError(msg)
    if not np.isfinite(positions).all() or (
        values.dtype.kind == "m" and bool(np.isnat(values).any())
    ):
        bad = ~np.isfinite(positions)
        if values.dtype.kind == "m":
            bad |= np.isnat(values)
        worst = int(np.argmax(bad))
        msg = f"{what} is {values[worst]} at index {worst}; expected finite numbers."
        raise OmeZarrError(msg)
    return positions


def _check_even(positions: NDArray[np.float64], what: str) -> None:
    size = len(positions)
    step = float(np.median(np.diff(positions)))
    if step == 0:
        msg = f"{what} does not advance from one pixel to the next; expected evenly spaced values."
        raise OmeZarrError(msg)
    off = np.abs(positions - np.linspace(positions[0], positions[-1], size)) / abs(step)
    if off.max() <= EVEN:
        return
    # Against the most common step, a gap shows where it is, and an outlier at the end too.
    off = np.abs(positions - (positions[0] + step * np.arange(size))) / abs(step)
    worst = int(np.argmax(off > off.max() - EVEN))
    msg = (
        f"{what} is not evenly spaced: at index {worst} it is {positions[worst]:.10g}, "
        f"{off[worst]:.4g} pixels from where an even spacing of {step:.10g} has it. OME-Zarr knows "
        "only a scale and a translation for each axis: interpolate to an even grid (.interp), "
        "write evenly spaced parts, or drop the coordinate (.drop_vars) to count in pixels."
    )
    raise OmeZarrError(msg)


def _known(hint: Mapping[Hashable, Any]) -> tuple[float, float] | None:
    scale, translation = hint.get("scale"), hint.get("translation")
    if isinstance(scale, float) and isinstance(translation, float) and scale:
        return scale, translation
    return None


def _origin(scale: float, first: float, extent: float, known: tuple[float, float] | None) -> float:
    """Give the translation to be written for a first position, without float noise."""
    if known and known[0] == scale and lattice(1, *known)[0] == first:
        return known[1]
    if lattice(1, scale, first)[0] == first:
        return first
    noise = 4 * np.spacing(extent)
    candidates = (float(f"{first:.{digits}e}") for digits in range(17))
    return next((c for c in candidates if abs(c - first) <= noise), first)


def moved(scale: float, origin: float, offset: float) -> float:
    """Give the position that lies an offset beyond the origin of a lattice, and on that lattice.

    A crop of an image whose positions count from its origin has so the positions that a crop of the
    image at its place has, bit for bit.

    Examples
    --------
    >>> moved(0.1, 0.7, 0.1), 0.7 + 0.1
    (0.8, 0.7999999999999999)
    """
    if not offset:
        return origin
    size, pixels, rest = _split(scale, origin)
    return float(size * pixels + rest + exact(offset))


def coarser(
    transform: ScaleTranslation, factors: Sequence[int], *, centred: bool
) -> ScaleTranslation:
    """Give the transformation of a level that is coarser by a whole factor along each axis.

    A pixel that stands for a block of `f` lies at the block's centre, `(f - 1) / 2` pixels after
    its first; one that is a copy of the block's first pixel lies on that.
    """
    pairs = {}
    for axis, factor in enumerate(factors):
        if factor > 1:
            scale, translation = transform.scale[axis], transform.translation[axis]
            size, pixels, rest = _split(scale, translation)
            shift = Fraction(factor - 1, 2) * exact(scale) if centred else 0
            pairs[axis] = (
                float(exact(scale) * factor),
                float(size * pixels + rest + shift),
            )
    return transform.replaced(pairs)
