"""The parameters of transformations: numbers that are checked, and arrays that are read late."""

from __future__ import annotations

import math
import numbers
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable

#: A matrix, row by row.
Matrix = tuple[tuple[float, ...], ...]
T_co = TypeVar("T_co", covariant=True)

#: No array of NumPy has more dimensions, so no transformation of images has.
MOST_DIMENSIONS = 64

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


def show(value: object) -> str:
    """Represent what was found for a message, however deep or large it is.

    Examples
    --------
    >>> show(list(range(100)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    try:
        return f"{_brief.repr(value):.120}"
    except ValueError:
        # An integer of more digits than Python is willing to print.
        return f"a {type(value).__name__} with numbers beyond measure"


def vector(values: object, what: str) -> tuple[float, ...]:
    """Check a list of finite numbers."""
    given = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        if isinstance(given, (list, tuple)) and given:
            result = tuple(
                float(value) if not isinstance(value, bool) and isinstance(value, numbers.Real)
                else math.nan
                for value in given
            )  # fmt: skip
            if all(map(math.isfinite, result)):
                return result
    except OverflowError:
        # JSON has integers beyond any float.
        pass
    msg = f"the {what} is {show(given)}; expected a list of finite numbers."
    raise OmeZarrError(msg)


def matrix(values: object, what: str) -> Matrix:
    """Check a list of rows of finite numbers, all of one length."""
    given = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(given, (list, tuple)) or not given:
        msg = f"the {what} is {show(given)}; expected a list of rows, each a list of numbers."
        raise OmeZarrError(msg)
    rows = tuple(vector(row, f"row {i} of the {what}") for i, row in enumerate(given))
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        msg = f"the rows of the {what} have {show(lengths)} numbers; expected equally many in each."
        raise OmeZarrError(msg)
    return rows


def axes(values: object, what: str) -> tuple[int, ...]:
    """Check a list of different axis numbers."""
    if isinstance(values, (list, tuple)) and all(
        not isinstance(value, bool) and isinstance(value, numbers.Real) for value in values
    ):
        try:
            result = tuple(int(value) for value in values)
        except (OverflowError, ValueError):
            result = (-1,)
        if (
            all(0 <= axis < MOST_DIMENSIONS for axis in result)
            and result == tuple(values)
            and len(set(result)) == len(result)
        ):
            return result
    msg = f"the {what} are {show(values)}; expected numbers of axes, from 0, each of them once."
    raise OmeZarrError(msg)


class Array(Protocol):
    """What parameters are read from: an array of NumPy, of Zarr, or anything like them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its dimensions."""

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401 - as NumPy has it
        """Read a part."""


@dataclass(frozen=True)
class Stored(Generic[T_co]):
    """Parameters that lie beside the metadata, and are opened when they are first needed."""

    path: str
    """Where they lie, below the group whose metadata name them."""
    load: Callable[[], T_co] | None = field(default=None, compare=False, repr=False)
    """Opens them; picklable where the transformation is to be."""

    def read(self) -> T_co:
        """Open the parameters."""
        if self.load is None:
            msg = (
                f"the parameters at {show(self.path)} are not at hand, so nothing can be computed."
            )
            raise OmeZarrError(msg)
        return self.load()
