"""Labels looked up in a table: at the cost of one look-up per pixel, whatever the labels are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels that are looked up at a time.
_SLAB = 2**19
#: So many values beyond those that are asked for may a table of consecutive labels have.
_SPARE = 2**16


def ranks_of(ids: NDArray[Any], sought: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find labels in ascending ones: where each is, and whether it is there at all.

    Integers of different types are compared as integers, not as the float64 that NumPy makes of
    int64 beside uint64.
    """
    limits = np.iinfo(ids.dtype)
    there = (sought >= limits.min) & (sought <= limits.max)
    if not len(ids):
        return np.zeros(len(sought), np.intp), np.zeros(len(sought), np.bool_)
    if sought.dtype != ids.dtype:
        sought = np.where(there, sought, 0).astype(ids.dtype)
    ranks = np.minimum(np.searchsorted(ids, sought), len(ids) - 1)
    return ranks, there & (ids[ranks] == sought)


@dataclass(frozen=True)
class LookUp:
    """The value of each label: by place where labels are dense, by search where they are not."""

    table: NDArray[Any]
    """Values, the one of all other labels last (for labels of 8 and 16 bits, one for each)."""
    keys: NDArray[Any] | None
    """The labels, ascending; None where they follow each other."""
    first: int
    """The label of the first value, if so."""

    @classmethod
    def of(
        cls,
        index: NDArray[Any],
        table: NDArray[Any],
        dtype: np.dtype[Any],
        known: NDArray[np.bool_],
    ) -> LookUp:
        """Build the table.

        Parameters
        ----------
        index
            The labels.
        table
            Their values, and the fill at the end.
        dtype
            The type of the pixels.
        known
            Which of the labels have a value.

        Raises
        ------
        OmeZarrError
            Where a label has two values.
        """
        limits = np.iinfo(dtype)
        # Only what a pixel can be; and background is none.
        known = known & (index >= limits.min) & (index <= limits.max) & (index != 0)
        rows = np.flatnonzero(known)
        keys = index[rows].astype(dtype.newbyteorder("="))
        rows = rows[np.argsort(keys)]
        keys = np.sort(keys)
        if (keys[1:] == keys[:-1]).any():
            twice = keys[1:][keys[1:] == keys[:-1]][0]
            msg = f"Label {twice} has more than one value in the table; keep one of them."
            raise OmeZarrError(msg)
        if dtype.itemsize <= 2:  # noqa: PLR2004
            first, size = int(limits.min), int(limits.max) - int(limits.min) + 1
        else:
            first = int(keys[0]) if len(keys) else 0
            size = int(keys[-1]) - first + 1 if len(keys) else 0
            if size > 4 * len(keys) + _SPARE:
                return cls(table[np.append(rows, len(table) - 1)], keys, 0)
        dense = np.full(size + 1, table[-1], table.dtype)
        # Signed to unsigned keeps the distance, for the first label may be negative.
        dense[_distance(keys, first)] = table[rows]
        return cls(dense[:size] if dtype.itemsize <= 2 else dense, None, first)  # noqa: PLR2004

    def __call__(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Look up an array of labels."""
        flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
        found = np.empty(flat.size, self.table.dtype)
        for start in range(0, flat.size, _SLAB):
            slab = slice(start, start + _SLAB)
            (self._by_place if self.keys is None else self._by_search)(flat[slab], found[slab])
        return found.reshape(labels.shape)

    def _by_place(self, labels: NDArray[Any], out: NDArray[Any]) -> None:
        last = len(self.table) - 1
        distance = _distance(labels, self.first)
        np.minimum(distance, distance.dtype.type(last), out=distance)
        np.take(self.table, distance.astype(np.intp), out=out, mode="clip")

    def _by_search(self, labels: NDArray[Any], out: NDArray[Any]) -> None:
        new = np.ones(len(labels), np.bool_)
        np.not_equal(labels[1:], labels[:-1], out=new[1:])
        starts = np.flatnonzero(new)
        ranks, there = ranks_of(cast("NDArray[Any]", self.keys), labels[starts])
        values = self.table[np.where(there, ranks, len(self.table) - 1)]
        out[:] = np.repeat(values, np.diff(starts, append=len(labels)))


def _distance(labels: NDArray[Any], first: int) -> NDArray[Any]:
    """Give how far labels are beyond the first, unsigned: those before it are far beyond."""
    unsigned = np.dtype(f"u{labels.dtype.itemsize}")
    modulus = 1 << (8 * labels.dtype.itemsize)
    distance: NDArray[Any] = labels.view(unsigned) - unsigned.type(first % modulus)
    return distance
