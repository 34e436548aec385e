"""The reducers: what a cell of pixels becomes on the next level.

Pure functions on NumPy blocks. The result never depends on how an image was cut into blocks,
because blocks start at whole multiples of the factor, and come with the halo that their method
needs; and partial cells, at the end of an axis, are reduced over the pixels that they have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xarray_omezarr import cells
from xarray_omezarr.cells import Boundary, reduced_shape, tiles
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.smoothing import GAUSSIAN, LINEAR, Kernel, centres, pixels, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "ALIASES",
    "CENTRED",
    "REDUCERS",
    "SELECTS",
    "Boundary",
    "Reducer",
    "check_method",
    "downsample",
    "halo",
    "laplacian",
    "reduced_dtype",
    "reduced_shape",
]


def downsample(
    block: Array, factors: Sequence[int], method: str = "mean", boundary: Boundary = "pad"
) -> Array:
    """Reduce a block by a whole factor along each axis.

    Parameters
    ----------
    block : numpy.ndarray
        Any number of axes; boolean, integer or floating point. It starts at a whole multiple of the
        factors, and its end is the image's; or else it has the method's `halo`, and what that
        becomes is to be dropped.
    factors : sequence of int
        One for each axis; 1 leaves an axis as it is.
    method : str
        What a cell of pixels becomes, by the method's name or alias:

        - "mean" ("local_mean"), "median", "min", "max" of its pixels;
        - "nearest", its first pixel;
        - "mode", its most frequent value (of equally frequent ones the smallest);
        - "gaussian", the image at its centre, smoothed by a Gaussian of a third of the factor, as
          `skimage.transform.pyramid_reduce` has it;
        - "linear" ("resize", "zoom"), the image at its centre, smoothed by a Gaussian of half of
          the factor less one, as `skimage.transform.resize` has it;
        - "laplacian", the same as "gaussian", but never rounded to integers; see `laplacian`.

        Integers are rounded to the nearest, halves to even; a boolean is a 0 or 1. NaN counts as
        missing, but for "nearest". The last three are computed in double precision, so of integers
        beyond 2**53 they keep no more than that; the others keep every bit. An axis that is shorter
        than its factor is one cell, of its own length.
    boundary : {"pad", "trim"}
        Whether the partial cells at the end of an axis are reduced over the pixels that they have,
        or dropped.

    Returns
    -------
    numpy.ndarray
        Of the same dtype (see `reduced_dtype` for "laplacian"), in native byte order; sizes are
        rounded up, or down for "trim".

    Raises
    ------
    OmeZarrError
        There is no such method.

    Examples
    --------
    >>> downsample(np.array([[0, 1, 2], [1, 2, 3]], dtype=np.uint8), (2, 2)).tolist()
    [[1, 2]]
    >>> downsample(np.array([7, 7, 5, 9, 5]), (3,), "mode").tolist()
    [7, 5]
    >>> downsample(np.array([0, 0, 9, 0, 0, 0]), (2,), "gaussian").tolist()
    [1, 4, 0]
    """
    name = check_method(method)
    dtype = reduced_dtype(name, block.dtype)
    if block.dtype.kind == "b":
        return downsample(block.view(np.uint8), factors, name, boundary).astype(dtype, copy=False)
    block, factors = _fit(block, factors, boundary)
    if all(factor == 1 for factor in factors):
        return block.astype(dtype)
    result = np.empty(reduced_shape(block.shape, factors, boundary), dtype)
    reduce = REDUCERS[name].reduce
    itemsize = 8 if isinstance(reduce, Kernel) else block.dtype.itemsize
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for tile in tiles(block.shape, factors, itemsize):
            if isinstance(reduce, Kernel):
                combs = [centres(reduce, f, part) for f, part in zip(factors, tile, strict=True)]
                values = _narrow(sample(block, combs, reduce), dtype)
            else:
                values = _native(block[tuple(part.source for part in tile)])
                cell = [part.cell for part in tile]
                if math.prod(cell) > 1:
                    values = reduce(values, cell)
            result[tuple(part.target for part in tile)] = values
    return result


def laplacian(
    block: Array, factors: Sequence[int], boundary: Boundary = "pad"
) -> tuple[Array, Array]:
    """Split a block into the details of its level and what is left for the next one.

    One step of a Laplacian pyramid [1]_, as `skimage.transform.pyramid_laplacian` has it; what is
    left is the block of the next step.

    Parameters
    ----------
    block : numpy.ndarray
        As for `downsample`.
    factors : sequence of int
        One for each axis.
    boundary : {"pad", "trim"}
        As for `downsample`.

    Returns
    -------
    difference : numpy.ndarray
        The block less the smoothed block, of the block's shape, partial cells included; of the
        dtype that `reduced_dtype` says. NaN where the block is.
    coarser : numpy.ndarray
        The smoothed block at the centre of each cell: `downsample(block, factors, "laplacian")`.

    References
    ----------
    .. [1] Burt and Adelson (1983), "The Laplacian pyramid as a compact image code", IEEE
       Transactions on Communications 31 (4), 532-540.

    Examples
    --------
    >>> difference, coarser = laplacian(np.full((4, 4), 7, dtype=np.uint8), (2, 2))
    >>> difference.any(), coarser.tolist(), coarser.dtype
    (np.False_, [[7.0, 7.0], [7.0, 7.0]], dtype('float64'))
    """
    coarser = downsample(block, factors, "laplacian", boundary)
    block, factors = _fit(block, factors, "pad")
    difference = np.empty(block.shape, coarser.dtype)
    for tile in tiles(block.shape, factors, 8):
        place = tuple(part.source for part in tile)
        combs = [pixels(GAUSSIAN, f, part) for f, part in zip(factors, tile, strict=True)]
        with np.errstate(invalid="ignore", over="ignore"):
            difference[place] = block[place] - sample(block, combs, GAUSSIAN)
    return difference, coarser


def halo(method: str, factors: Sequence[int]) -> tuple[int, ...]:
    """Say how many whole cells beyond a cell its value depends on, along each axis.

    A block that is reduced on its own has to be extended by so many cells on all sides, or as far
    as the image goes; and its result (for `laplacian` the difference too) cropped by as many.

    Examples
    --------
    >>> halo("mean", (1, 2, 3)), halo("gaussian", (1, 2, 3)), halo("linear", (1, 2, 3))
    ((0, 0, 0), (0, 2, 2), (0, 1, 2))
    """
    reduce = REDUCERS[check_method(method)].reduce
    return tuple(reduce.halo(f) if isinstance(reduce, Kernel) else 0 for f in factors)


def reduced_dtype(method: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype of a reduced block: the block's, but float64 for "laplacian" of integers.

    Examples
    --------
    >>> reduced_dtype("mean", np.dtype("uint16")), reduced_dtype("laplacian", np.dtype("uint16"))
    (dtype('uint16'), dtype('float64'))
    """
    if check_method(method) == "laplacian" and dtype.kind != "f":
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def check_method(method: str) -> str:
    """Give a method's own name, or raise an error that lists the methods there are.

    Examples
    --------
    >>> check_method("median"), check_method("resize")
    ('median', 'linear')
    """
    name = ALIASES.get(method, method)
    if name not in REDUCERS:
        aliases = ", ".join(f"{alias} ({name})" for alias, name in ALIASES.items())
        msg = (
            f"method={method!r} is not known; expected one of {', '.join(REDUCERS)}, "
            f"or an alias: {aliases}."
        )
        raise OmeZarrError(msg)
    return name


def _fit(block: Array, factors: Sequence[int], boundary: Boundary) -> tuple[Array, tuple[int, ...]]:
    """Drop what is to be trimmed; and no cell is longer than its axis."""
    if boundary == "trim":
        whole = [n - n % f for n, f in zip(block.shape, factors, strict=True)]
        block = block[tuple(slice(0, n) for n in whole)]
        return block, tuple(factors)
    return block, tuple(max(1, min(f, n)) for f, n in zip(factors, block.shape, strict=True))


def _native(block: Array) -> Array:
    return block.astype(block.dtype.newbyteorder("="), copy=False)


def _narrow(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round double precision to another dtype; it is within its range, but for rounding."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    values = np.rint(values, out=values)
    if dtype.itemsize < 8:  # noqa: PLR2004
        return values.astype(dtype)
    # The largest 64-bit integers have no double of their own: the next one is out of range.
    limits = np.iinfo(dtype)
    result = values.astype(dtype)
    result[values <= limits.min] = limits.min
    result[values >= limits.max] = limits.max
    return result


# ── the methods ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reducer:
    """What a cell becomes, and what else has to be known of it.

    Attributes
    ----------
    reduce : callable or Kernel
        Reduces whole cells of a block; or smooths.
    centred : bool
        Whether its pixels lie at the centre of the cell that they stand for.
    selects : bool
        Whether they are always of a value that the cell has.
    """

    reduce: Callable[[Array, Sequence[int]], Array] | Kernel
    centred: bool = True
    selects: bool = False


REDUCERS: Mapping[str, Reducer] = {
    "mean": Reducer(cells.mean),
    "nearest": Reducer(cells.first, centred=False, selects=True),
    "mode": Reducer(cells.mode, selects=True),
    "median": Reducer(cells.median),
    "min": Reducer(cells.least, selects=True),
    "max": Reducer(cells.greatest, selects=True),
    "gaussian": Reducer(GAUSSIAN),
    "linear": Reducer(LINEAR),
    "laplacian": Reducer(GAUSSIAN),
}

#: The names that other packages have for them.
ALIASES: Mapping[str, str] = {
    "local_mean": "mean",
    "resize": "linear",
    "resize_image": "linear",
    "zoom": "linear",
}

#: Methods whose pixels lie at the centre of the cell that they stand for.
CENTRED = frozenset(name for name, method in REDUCERS.items() if method.centred)

#: Methods whose pixels have values that are in the cell: the ones that labels may be reduced by.
SELECTS = frozenset(name for name, method in REDUCERS.items() if method.selects)
