"""How long a scale bar is, and how lengths are written: "50 µm"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xarray_omezarr.units import METERS, SPACE_UNITS, TIME_UNITS

#: The signs of prefixes that lengths are written with, and what each multiplies.
_PREFIXES = {
    "femto": ("f", -15), "pico": ("p", -12), "nano": ("n", -9), "micro": ("µ", -6),
    "milli": ("m", -3), "": ("", 0), "kilo": ("k", 3),
}  # fmt: skip
#: The signs of other units.
_SIGNS = {
    "angstrom": "Å", "centimeter": "cm", "decimeter": "dm", "minute": "min", "hour": "h",
    "day": "d", "inch": "in", "foot": "ft", "yard": "yd", "mile": "mi", "parsec": "pc",
}  # fmt: skip
#: A scale bar is so long at the most, of what it lies in.
_SHARE = 0.3
#: The lengths of scale bars, but for powers of ten.
_STEPS = (5, 2, 1)


def symbol(unit: str | None) -> str:
    """Give the sign of a unit; a unit without one as it is, and nothing as "px".

    Examples
    --------
    >>> symbol("micrometer"), symbol("second"), symbol("hogshead"), symbol(None)
    ('µm', 's', 'hogshead', 'px')
    """
    if unit is None:
        return "px"
    if unit in _SIGNS:
        return _SIGNS[unit]
    for base, sign in (("meter", "m"), ("second", "s")):
        prefix = unit.removesuffix(base)
        if unit in SPACE_UNITS | TIME_UNITS and unit.endswith(base) and prefix in _PREFIXES:
            return f"{_PREFIXES[prefix][0]}{sign}"
    return unit


def quantity(value: float, unit: str | None, digits: int = 4) -> str:
    """Write a length, in the unit in which it is a short number where it is one of meters.

    Examples
    --------
    >>> quantity(64.87, "micrometer"), quantity(64870, "micrometer"), quantity(384, None)
    ('64.87 µm', '64.87 mm', '384 px')
    """
    value, unit = _handy(value, unit)
    return f"{value:.{digits}g} {symbol(unit)}"


def _handy(value: float, unit: str | None) -> tuple[float, str | None]:
    """Give a length of meters in its own unit from 0.1 to 1000, else in one that makes it short."""
    if unit is None or not unit.endswith("meter") or unit not in METERS or not value:
        return value, unit
    if 0.1 <= abs(value) < 1000 and unit.removesuffix("meter") in _PREFIXES:  # noqa: PLR2004
        return value, unit
    meters = abs(value) * METERS[unit]
    for prefix, (_, power) in reversed(_PREFIXES.items()):
        # What is a thousand but for rounding is no 1000 of the smaller unit.
        if meters >= 10.0**power * (1 - 1e-9):
            return math.copysign(meters / 10.0**power, value), f"{prefix}meter"
    return value, unit


@dataclass(frozen=True)
class ScaleBar:
    """A bar that says how long things are in a picture."""

    length: float
    """In the unit of the picture's axis."""
    text: str
    """What is written beside it."""


def scale_bar(extent: float, unit: str | None, share: float = _SHARE) -> ScaleBar | None:
    """Choose a scale bar: 1, 2 or 5 times a power of ten, as long as fits.

    Parameters
    ----------
    extent
        How long the axis is.
    unit
        The unit of the axis; None where it counts pixels.
    share
        How much of the axis the bar may take.

    Returns
    -------
    ScaleBar or None
        None where the axis has no length.

    Examples
    --------
    >>> scale_bar(249.6, "micrometer")
    ScaleBar(length=50.0, text='50 µm')
    >>> scale_bar(65000, "micrometer")
    ScaleBar(length=10000.0, text='10 mm')
    """
    most = abs(extent) * share
    if not (math.isfinite(most) and most > 0):
        return None
    power = math.floor(math.log10(most))
    length = next(
        float(f"{step}e{exponent}")
        for exponent in (power, power - 1)
        for step in _STEPS
        # What fits but for rounding fits.
        if float(f"{step}e{exponent}") <= most * (1 + 1e-9)
    )
    return ScaleBar(length, quantity(length, unit))
