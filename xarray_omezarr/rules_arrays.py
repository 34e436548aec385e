"""The rules of the arrays behind an image, and of how a hierarchy is stored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.documents import ARRAY_METADATA
from xarray_omezarr.findings import Book, Part, brief, listing, text, whole
from xarray_omezarr.spec import V3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xarray_omezarr.findings import Finding

STORAGE = Book("Storage format")
LAYOUT = Book("Images (layout)")
AXES = Book('"axes" metadata')
MULTISCALES = Book('"multiscales" metadata')

BOOKS = (STORAGE, LAYOUT, AXES, MULTISCALES)

THERE = MULTISCALES.must("array", '"path" contains the path to the array for this resolution.')(
    None
)
READABLE = STORAGE.must("array", "Arrays are those of the Zarr specification.")(None)
JSON = STORAGE.must("group", "Metadata are JSON objects, as the Zarr specification defines them.")(
    None
)
GROUP = STORAGE.must("group", "Each image is a Zarr group.")(None)
FORMAT_2 = STORAGE.must(
    "group", "Arrays MUST be stored as version 2 of Zarr defines it.", until="0.4"
)(None)
FORMAT_3 = STORAGE.must("group", "OME-Zarr is implemented using version 3 of Zarr.", "0.5")(None)
BOTH = STORAGE.note("group", "Metadata of both formats of Zarr may stand side by side (RFC-2).")(
    None
)
CONSOLIDATED = STORAGE.should(
    "group", "Consolidated metadata repeat what the metadata of groups and arrays say (Zarr)."
)(None)
CUT_SHORT = STORAGE.note("group", "A hierarchy is looked at up to a number of groups and arrays.")(
    None
)
FIVE = LAYOUT.must("array", "All image arrays are 5-dimensional (t, c, z, y, x).", until="0.2")(
    None
)
AT_MOST_FIVE = MULTISCALES.must("array", "It MUST NOT have more than 5 dimensions.", "0.3", "0.6")(
    None
)
AS_MANY = AXES.must(
    "array", 'The length of "axes" MUST be equal to the number of dimensions of the arrays.', "0.3"
)(None)
SAME_NDIM = MULTISCALES.must("array", "Every array MUST have the same number of dimensions.")(None)
SAME_DTYPE = MULTISCALES.must("array", "All arrays MUST have the same data type.", "0.6")(None)
SAME_DTYPE_BEFORE = MULTISCALES.should(
    "array", "The levels of one image hold the same kind of pixels.", until="0.5"
)(None)
LARGEST_FIRST = MULTISCALES.must(
    "array", 'The "path"s MUST be ordered from largest (i.e. highest resolution) to smallest.'
)(None)
NAMED = AXES.must(
    "array", 'The "dimension_names" MUST match the names in the "axes" metadata.', "0.5", "0.5"
)(None)
NAMED_SINCE = AXES.should(
    "array", "The axes of an array have names corresponding to its `dimension_names`.", "0.6"
)(None)
ARRAY_DIMENSIONS = MULTISCALES.must(
    "array", 'The "axes" values MUST be repeated in the field "_ARRAY_DIMENSIONS".', "0.3", "0.3"
)(None)
FLAT = LAYOUT.should("array", "Chunks are stored with the flat directory layout.", until="0.1")(
    None
)
NESTED = LAYOUT.should(
    "array", "Chunks are stored with the nested directory layout.", "0.2", "0.4"
)(None)
CHANNELS = LAYOUT.should("array", "`channels`: array matching the c dimension size.")(None)


@dataclass(frozen=True)
class Array:
    """What the metadata of an array say."""

    path: str
    file: str
    """Its metadata file."""
    shape: tuple[int, ...]
    dtype: str
    """The name of a NumPy data type where it is one, else as it was written."""
    names: tuple[str | None, ...] | None
    separator: str


def parse_array(document: Mapping[str, Any], path: str) -> Array | str:
    """Read the metadata of an array, of either format; give what is wrong where that fails."""
    shape: Any = document.get("shape")
    if not listing(whole(0))(shape):
        return f"'shape' is {brief(shape)}"
    v3 = document.get("zarr_format") == V3
    if v3 and document.get("node_type") != "array":
        return f"'node_type' is {brief(document.get('node_type'))}, not 'array'"
    whole_document = Part(document)
    names: Any = document.get("dimension_names") if v3 else None
    if names is not None and not listing(lambda name: name is None or text(name))(names):
        return f"'dimension_names' is {brief(names)}"
    found = whole_document["data_type" if v3 else "dtype"]
    separator = whole_document["dimension_separator"]
    if v3:
        separator = whole_document["chunk_key_encoding"]["configuration"]["separator"]
    if not isinstance(found.value, (str, dict, list)):
        return f"its data type is {brief(found.value)}"
    default = "/" if v3 else "."
    return Array(
        path,
        f"{path}/{ARRAY_METADATA[3 if v3 else 2]}".lstrip("/"),
        tuple(map(int, shape)),
        _dtype(found.value),
        None if names is None else tuple(names),
        default if separator.absent else str(separator.value),
    )


def _dtype(name: object) -> str:
    if not text(name):
        return brief(name)
    try:
        return np.dtype(str(name)).newbyteorder("=").name
    except (TypeError, ValueError, SyntaxError):
        return str(name)


def is_integer(dtype: str) -> bool:
    """Say whether a data type is one of the integers of 8 to 64 bits."""
    return dtype in {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def look_at_arrays(
    arrays: Sequence[Array], names: Sequence[str | None] | None, version: str
) -> Iterator[Finding]:
    """Check the arrays of the levels of an image by the rules of a version.

    Parameters
    ----------
    arrays
        Those that there are, finest first.
    names
        The names of the axes; None where there are none.
    version
        The dialect.
    """
    for array in arrays:
        yield from _alone(array, names, version)
    for one, other in itertools.pairwise(arrays):
        yield from _together(one, other, version)


def _alone(array: Array, names: Sequence[str | None] | None, version: str) -> Iterator[Finding]:
    """Check one array."""
    ndim = len(array.shape)
    for rule, kept in ((FIVE, ndim == 5), (AT_MOST_FIVE, ndim <= 5)):  # noqa: PLR2004
        if version in rule.versions and not kept:
            yield rule.broken(version, array.file, "shape", brief(list(array.shape)))
    if names is not None and version in AS_MANY.versions and ndim != len(names):
        told = f"{ndim} dimensions, and {len(names)} axes"
        yield AS_MANY.broken(version, array.file, "shape", told)
    elif names is not None:
        named = NAMED if version in NAMED.versions else NAMED_SINCE
        if version in named.versions and list(array.names or ()) != list(names):
            told = brief(list(array.names)) if array.names else "nothing"
            yield named.broken(version, array.file, "dimension_names", told)
    for rule, separator in ((FLAT, "."), (NESTED, "/")):
        if version in rule.versions and ndim > 1 and array.separator != separator:
            found = brief(array.separator)
            yield rule.broken(version, array.file, "dimension_separator", found)


def _together(one: Array, other: Array, version: str) -> Iterator[Finding]:
    """Check an array against the one of the level above."""
    if len(one.shape) != len(other.shape):
        told = f"{len(other.shape)} dimensions after {len(one.shape)}"
        yield SAME_NDIM.broken(version, other.file, "shape", told)
    elif any(a < b for a, b in zip(one.shape, other.shape, strict=True)):
        told = f"{brief(list(other.shape))} after {brief(list(one.shape))}"
        yield LARGEST_FIRST.broken(version, other.file, "shape", told)
    if one.dtype != other.dtype:
        rule = SAME_DTYPE if version in SAME_DTYPE.versions else SAME_DTYPE_BEFORE
        yield rule.broken(version, other.file, "data type", f"{other.dtype} after {one.dtype}")


def differing(
    consolidated: Mapping[str, object], real: Mapping[str, object], ignored: str = ""
) -> list[str]:
    """Give the keys of two metadata documents that do not say the same."""
    keys = (consolidated.keys() | real.keys()) - {ignored}
    # What is empty may as well be left out.
    return sorted(key for key in keys if (consolidated.get(key) or None) != (real.get(key) or None))
