"""Quantities as people write them: "1 um", "0.3 mm", "90 s", "500 MB"; and bare numbers."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.transforms import exact
from xarray_omezarr.units import METERS, SECONDS, UNIT_NAMES

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_WRITTEN = re.compile(rf"\s*({_NUMBER})\s*((?:[^\s\d.,;+-].*?)?)\s*", re.DOTALL)
#: Units of bytes, in lower case: powers of 1000, and of 1024.
_BYTES = {
    "": 1, "b": 1, "byte": 1, "bytes": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtpe", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtpe", 1)},
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A number, with the unit that it was given in."""

    number: float
    unit: str | None = None
    """In the specification's spelling, where it has one; None for that of the axis."""

    def __str__(self) -> str:
        """Write it as people do."""
        return f"{self.number:.10g}" + ("" if self.unit is None else f" {self.unit}")

    def to(self, unit: str | None, *, what: str) -> float:
        """Convert it to the unit of an axis, on the decimals that the numbers show.

        Parameters
        ----------
        unit
            That of the axis; None where nothing is known of it.
        what
            What messages call the axis.

        Raises
        ------
        OmeZarrError
            Where one of the units is not known, or they do not measure the same thing.

        Examples
        --------
        >>> parse("0.3 mm", what="x").to("micrometer", what="x")
        300.0
        """
        own = None if unit is None else named(unit)
        if self.unit is None or self.unit == own:
            return self.number
        if self.unit not in METERS and self.unit not in SECONDS:
            msg = (
                f"{what}: the unit of '{self}' is not known; expected one of length or time, like "
                f"'um', 'nm', 'millimeter', 's' or 'min'{'' if own is None else f'; or {own!r}'}."
            )
            raise OmeZarrError(msg)
        if own is None:
            msg = (
                f"{what}: '{self}' has a unit, but nothing says which unit the axis is in. Give a "
                "bare number, or set the unit: .omezarr.assign_scale(units='micrometer')."
            )
            raise OmeZarrError(msg)
        sizes = METERS if self.unit in METERS else SECONDS
        if own not in sizes:
            kind = "length" if sizes is METERS else "time"
            msg = f"{what}: '{self}' is a {kind}, but the axis is in {own}."
            raise OmeZarrError(msg)
        try:
            return float(exact(self.number) * exact(sizes[self.unit]) / exact(sizes[own]))
        except OverflowError:
            msg = f"{what}: '{self}' is too large a number of {own} for floating point."
            raise OmeZarrError(msg) from None


def named(unit: str) -> str:
    """Give a unit in the specification's spelling, where it has one.

    Examples
    --------
    >>> named("µm"), named("arbitrary")
    ('micrometer', 'arbitrary')
    """
    return UNIT_NAMES.get(unit.strip(), unit.strip())


def parse(value: Any, *, what: str) -> Quantity:  # noqa: ANN401 - whatever users write
    """Read a quantity: a number, a text like "0.3 mm", a duration, or a quantity of pint.

    Parameters
    ----------
    value
        A bare number is in the unit of the axis.
    what
        What messages call it.

    Raises
    ------
    OmeZarrError
        Where it is none of these.

    Examples
    --------
    >>> parse("0.3mm", what="x")
    Quantity(number=0.3, unit='millimeter')
    >>> parse(5, what="x")
    Quantity(number=5.0, unit=None)
    """
    found: Quantity | None = None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, str):
        written = _WRITTEN.fullmatch(value)
        if written is not None:
            found = Quantity(float(written[1]), named(written[2]) or None)
    elif isinstance(value, (dt.timedelta, np.timedelta64)):
        # One of pandas is a `timedelta` too, and knows nanoseconds.
        exactly = getattr(value, "to_timedelta64", None)
        found = _duration(np.timedelta64(value) if exactly is None else exactly())
    elif hasattr(value, "magnitude") and hasattr(value, "units"):  # as pint has it
        found = Quantity(_number(value.magnitude), named(str(value.units)))
    else:
        found = Quantity(_number(value))
    if found is None or not math.isfinite(found.number):
        msg = (
            f"{what}: {value!r:.80} is no quantity; expected a finite number, in the unit of the "
            "axis, or one with a unit, like '0.3 mm' or '90 s'."
        )
        raise OmeZarrError(msg)
    return found


def _number(value: object) -> float:
    """Give a number as float64; NaN for what is none, or too large."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _duration(value: np.timedelta64) -> Quantity | None:
    """Give a duration in the unit that NumPy counts it in; None for months, whose length varies."""
    unit, count = np.datetime_data(value.dtype)
    name = {"m": "minute", "D": "day"}.get(unit, named(unit))
    if np.isnat(value) or name not in SECONDS:
        return None
    return Quantity(float(int(value.astype(np.int64)) * count), name)


def parse_bytes(value: Any, *, what: str) -> int:  # noqa: ANN401 - whatever users write
    """Read a number of bytes: a number, or a text like "500 MB" or "2 GiB".

    Parameters
    ----------
    value
        k, M, G, T and P are powers of 1000, Ki, Mi, Gi, Ti and Pi of 1024; case makes no
        difference.
    what
        What messages call it.

    Raises
    ------
    OmeZarrError
        Where it is none of these, or not positive.

    Examples
    --------
    >>> parse_bytes("500 MB", what="max_bytes"), parse_bytes("2GiB", what="max_bytes")
    (500000000, 2147483648)
    """
    count = _number(value)
    written = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if written is not None and written[2].lower() in _BYTES:
        count = float(written[1]) * _BYTES[written[2].lower()]
    if not 1 <= count < math.inf:
        msg = (
            f"{what}={value!r:.80} is no number of bytes; expected a positive one, like 500_000_000"
            ", '500 MB' or '2 GiB'."
        )
        raise OmeZarrError(msg)
    return int(count)
