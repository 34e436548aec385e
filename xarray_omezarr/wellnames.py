"""What the name of a well, as tables have it, means on a plate: A1, A01, A/1 or a1.

A well is known by its path, row and column as they are stored. Names leave out the slash, fill up
with zeros and change case, each as its program likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How many wells a message names.
_SHOWN = 5


def parse(name: str) -> tuple[tuple[str, str], ...]:
    """Give each row and column that a name may be made of.

    Parameters
    ----------
    name : str
        A path like "A/1", or a name without the slash.

    Returns
    -------
    tuple of (row, column)
        One pair where there is a slash; without it one for each place where it may have been, as
        only the plate knows which of "1" and "11" are rows. Spaces around the parts are left out.

    Examples
    --------
    >>> parse("A/1"), parse("B03")
    ((('A', '1'),), (('B', '03'), ('B0', '3')))
    """
    name = name.strip()
    if "/" in name:
        row, _, column = name.strip("/").partition("/")
        pairs = [(row, column)]
    else:
        pairs = [(name[:end], name[end:]) for end in range(1, len(name))]
    stripped = [(row.strip(), column.strip()) for row, column in pairs]
    return tuple((row, column) for row, column in stripped if row and column and "/" not in column)


def folded(part: str) -> str:
    """Give a row or column as it is compared: in one case, and without leading zeros.

    Examples
    --------
    >>> folded("01"), folded("b"), folded("00")
    ('1', 'B', '0')
    """
    if part.isascii() and part.isdigit():
        return part.lstrip("0") or "0"
    return part.upper()


@dataclass(frozen=True)
class WellNames:
    """The wells of a plate, found by what they are called."""

    wells: tuple[str, ...]
    """Their paths: row, slash, column, as they are stored."""
    _paths: frozenset[str] = field(init=False, repr=False, compare=False)
    _folded: dict[tuple[str, str], dict[str, None]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[tuple[str, str], dict[str, None]] = {}
        for path in self.wells:
            for row, column in parse(path):
                found.setdefault((folded(row), folded(column)), {})[path] = None
        object.__setattr__(self, "_paths", frozenset(self.wells))
        object.__setattr__(self, "_folded", found)

    def find(self, name: str) -> str | None:
        """Give the path of the well that a name means; None where there is no such well.

        A path as it is stored means itself. Anything else is compared without regard to case and
        leading zeros.

        Raises
        ------
        OmeZarrError
            Where the name may mean several wells: it names them.

        Examples
        --------
        >>> plate = WellNames(("A/1", "A/2", "B/01"))
        >>> plate.find("a02"), plate.find("B1"), plate.find("C1")
        ('A/2', 'B/01', None)
        """
        if name in self._paths:
            return name
        found: dict[str, None] = {}
        for row, column in parse(name):
            found.update(self._folded.get((folded(row), folded(column)), {}))
        if len(found) > 1:
            msg = (
                f"The name {name!r} may mean {' or '.join(map(repr, found))}. Write the well as "
                f"it is stored, like {next(iter(found))!r}."
            )
            raise OmeZarrError(msg)
        return next(iter(found), None)


def find(name: str, wells: Iterable[str]) -> str:
    """Give the path of the one well of a plate that a name means.

    Parameters
    ----------
    name : str
        A path, or a name like "A1", "A01" or "a1".
    wells : iterable of str
        The paths of the plate's wells.

    Raises
    ------
    OmeZarrError
        Where there is no such well, or where there are several.

    Examples
    --------
    >>> find("p24", ["A/1", "P/24"])
    'P/24'
    """
    names = WellNames(tuple(wells))
    path = names.find(name)
    if path is None:
        first = ", ".join(map(repr, names.wells[:_SHOWN])) or "none"
        more = f", … ({len(names.wells)} in all)" if len(names.wells) > _SHOWN else ""
        msg = f"There is no well {name!r} on this plate; its wells are {first}{more}."
        raise OmeZarrError(msg)
    return path
