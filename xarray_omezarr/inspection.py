"""Pixels looked at for a verdict: do levels lie on each other, do chunks decode, are labels told.

What is read is bounded: a sample of each level, and all chunks one by one where it is about
decoding them.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xarray_omezarr import chunked, documents, inventory, multiscale, spec
from xarray_omezarr.alignment import displacement
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.findings import Book, brief
from xarray_omezarr.report import Census
from xarray_omezarr.rules_image import metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import zarr

    from xarray_omezarr.findings import Finding
    from xarray_omezarr.model import Image
    from xarray_omezarr.report import Report
    from xarray_omezarr.stores import Place
    from xarray_omezarr.verdict import Seen

GEOMETRY = Book('"multiscales" metadata')
CHUNKS = Book("Storage format")
LABELS = Book('"image-label" metadata')

FACTOR = GEOMETRY.must(
    "levels",
    "`scale` specifies the pixel size of a level, so that all levels cover the same space.",
)(None)
SHIFT = GEOMETRY.should(
    "levels", "The transformation of a level maps its pixels to where they are in the finest level."
)(None)
UNCOMPARED = GEOMETRY.note("levels", "Levels are compared by a sample of their pixels.")(None)
DECODED = CHUNKS.must("chunk", "Chunks are encoded as the metadata of their array say (Zarr).")(
    None
)
WHOLE = CHUNKS.must("chunk", "A chunk is stored as a whole (Zarr).")(None)
DESCRIBED = LABELS.note("labels", "`properties` describe the unique pixel values of the labels.")(
    None
)
THERE = LABELS.note("labels", "`properties` and `colors` are of labels that there are.")(None)

#: A level that is further off than this, in pixels of the level above, is told of.
_TOLERANCE: Final = 0.25
#: As many pixels of a level are compared with the level above, along each axis of space.
_SAMPLE: Final = {1: 4096, 2: 96, 3: 24}
#: Chunks of more bytes than this are not decoded.
_LARGEST: Final = 2**29
#: So many chunks of an array are decoded.
_CHUNKS: Final = 1_000_000
#: So many different labels are kept in mind.
_LABELS: Final = 1_000_000
#: What the index of a shard says of an inner chunk that is not there.
_EMPTY: Final = 2**64 - 1


def inspected(
    place: Place, report: Report, images: Sequence[Seen], *, deep: bool, chunks: bool
) -> Report:
    """Give a report with what the chunks of all images say."""
    found: list[Finding] = []
    census: list[Census] = []
    for image in images:
        opened = _opened(place, image, found)
        if chunks:
            for array in opened.values():
                census += _counted(place, array, image.version, found)
        if deep:
            model = _model(image, found)
            if model is not None:
                found += _compared(image, model, opened)
            found += _decoded(place, image, opened)
    return replace(report, findings=(*report.findings, *found), census=tuple(census))


def _opened(place: Place, image: Seen, found: list[Finding]) -> dict[str, zarr.Array[Any]]:
    """Open the arrays of an image; what cannot be opened is a finding."""
    paths = [level.path for level in image.levels]
    arrays: dict[str, zarr.Array[Any]] = {}
    opened = chunked.open_arrays(place, paths, image.zarr_format) if paths else []
    for path, array in zip(paths, opened, strict=True):
        if isinstance(array, OmeZarrError):
            found.append(DECODED.broken(image.version, path, "", str(array)))
        else:
            arrays[path] = array
    return arrays


def _model(image: Seen, found: list[Finding]) -> Image | None:
    """Read an image as the reader does; where it cannot, levels are not compared."""
    try:
        return multiscale.parse_image(
            image.attributes, zarr_format=image.zarr_format, place=image.path, warn=lambda _: None
        )
    except Exception as error:  # noqa: BLE001 - whatever is in a document, there is a verdict
        told = f"not compared: {error}"
        found.append(UNCOMPARED.broken(image.version, image.path, "", told))
        return None


# ── geometry ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Pair:
    """Two levels of an image, the finer and the coarser one."""

    version: str
    paths: tuple[str, str]
    arrays: tuple[zarr.Array[Any], zarr.Array[Any]]
    axes: tuple[int, ...]
    """Those of space."""
    factors: tuple[float, ...]
    """Of each axis: how many pixels of the finer level are one of the coarser one."""
    origins: tuple[float, ...]
    """Where the first pixel of the coarser level is, in pixels of the finer one."""
    names: tuple[str, ...]


def _compared(
    image: Seen, model: Image, arrays: Mapping[str, zarr.Array[Any]]
) -> Iterator[Finding]:
    paths = [f"{image.path}/{level.path}".strip("/") for level in model.levels]
    there = [(p, level) for p, level in zip(paths, model.levels, strict=True) if p in arrays]
    for (one, upper), (other, lower) in itertools.pairwise(there):
        pair = (arrays[one], arrays[other])
        if {array.ndim for array in pair} != {len(model.axes)}:
            continue
        scales = zip(upper.transform.scale, lower.transform.scale, strict=True)
        factors = tuple(b / a for a, b in scales)
        origins = tuple(
            (b - a) / scale
            for a, b, scale in zip(
                upper.transform.translation,
                lower.transform.translation,
                upper.transform.scale,
                strict=True,
            )
        )
        axes = tuple(i for i, axis in enumerate(model.axes) if axis.type == "space")
        facts = _Pair(image.version, (one, other), pair, axes, factors, origins, model.dims)
        wrong = list(_wrong_factors(facts))
        yield from wrong or _shifted(facts, labels=image.label_of is not None)


def _wrong_factors(pair: _Pair) -> Iterator[Finding]:
    """Tell of levels whose sizes and scales contradict each other."""
    for axis in pair.axes:
        fine, coarse = (array.shape[axis] for array in pair.arrays)
        factor = pair.factors[axis]
        # A partial block at the rim is kept or dropped: less than one pixel of the coarser level.
        if factor <= 0 or abs(fine / factor - coarse) >= 1 + 1e-6 * coarse:
            told = (
                f"{pair.names[axis]}: {coarse} pixels, each {factor:g} times those of the level "
                f"above, which has {fine}"
            )
            yield FACTOR.broken(pair.version, pair.paths[1], "scale", told)


def _shifted(pair: _Pair, *, labels: bool) -> Iterator[Finding]:
    """Tell of a level whose pixels are not where its transformation says."""
    told = _too_large(pair.arrays)
    if told:
        yield UNCOMPARED.broken(pair.version, pair.paths[1], "", told)
        return
    try:
        sample = _sample(pair)
    except Exception as error:  # noqa: BLE001 - whatever chunks provoke; decoding them tells of it
        told = f"not compared: {type(error).__name__}: {error}"
        yield UNCOMPARED.broken(pair.version, pair.paths[1], "", told)
        return
    if sample is None:
        return
    fine, coarse, factors, origins = sample
    shift = displacement(fine, coarse, factors, origins, labels=labels)
    if shift is not None and np.abs(shift).max(initial=0) > _TOLERANCE:
        names = [pair.names[axis] for axis in pair.axes]
        off = ", ".join(f"{name} {value:+.2f}" for name, value in zip(names, shift, strict=True))
        told = f"off by {off} pixels of the level above"
        yield SHIFT.broken(pair.version, pair.paths[1], "translation", told)


def _too_large(arrays: Sequence[zarr.Array[Any]]) -> str | None:
    """Say which chunk would not fit into memory, if one would not."""
    for array in arrays:
        size = math.prod(array.chunks) * array.dtype.itemsize
        if size > _LARGEST:
            return f"a chunk of {array.path} has {size:,} bytes"
    return None


def _sample(pair: _Pair) -> tuple[Any, Any, list[float], list[float]] | None:
    """Read the middle of two levels: pixels, and how those of the one lie on the other."""
    fine, coarse = pair.arrays
    length = _SAMPLE.get(len(pair.axes), 0)
    keys: list[list[Any]] = [[], []]
    origins = []
    for axis in range(fine.ndim):
        if axis not in pair.axes:
            for key, array in zip(keys, pair.arrays, strict=True):
                key.append(array.shape[axis] // 2)
            continue
        size, factor, origin = coarse.shape[axis], pair.factors[axis], pair.origins[axis]
        start = max(0, (size - length) // 2)
        stop = min(size, start + length)
        # Wide enough for a shift by a pixel of the coarser level, which is the largest looked for.
        first = max(0, math.floor(factor * (start - 2) + origin))
        last = min(fine.shape[axis], math.ceil(factor * (stop + 2) + origin) + 1)
        if last <= first or (last - first) > 8 * (length + 8):
            return None
        keys[0].append(slice(first, last))
        keys[1].append(slice(start, stop))
        origins.append(factor * start + origin - first)
    values = [np.asarray(array[tuple(key)]) for array, key in zip(pair.arrays, keys, strict=True)]
    factors = [pair.factors[axis] for axis in pair.axes]
    return values[0], values[1], factors, origins


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────


def _decoded(place: Place, image: Seen, arrays: Mapping[str, zarr.Array[Any]]) -> Iterator[Finding]:
    """Decode all chunks one by one, and compare labels with what is told of them."""
    for position, (path, array) in enumerate(arrays.items()):
        told = _too_large([array])
        if told:
            yield UNCOMPARED.broken(image.version, path, "", f"not decoded: {told}")
            continue
        labels = set[int]() if image.label_of is not None and position == 0 else None
        failed = 0
        if len(stored := list(itertools.islice(boxes(place, array), _CHUNKS + 1))) > _CHUNKS:
            told = f"decoded: {_CHUNKS:,} chunks of more"
            yield UNCOMPARED.broken(image.version, path, "", told)
        for box in stored[:_CHUNKS]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    values = array[box]
            except Exception as error:  # noqa: BLE001 - a codec may raise anything
                failed += 1
                if failed <= _TOLD:
                    where = ", ".join(f"{part.start}:{part.stop}" for part in box)
                    told = f"[{where}]: {type(error).__name__}: {error}"
                    yield DECODED.broken(image.version, path, "", told)
                continue
            pixels = np.asarray(values)
            if labels is not None and pixels.dtype.kind in "iu" and len(labels) < _LABELS:
                labels.update(np.unique(pixels).tolist())
        if failed > _TOLD:
            yield DECODED.broken(image.version, path, "", f"and {failed - _TOLD:,} more")
        if labels is not None and len(labels) < _LABELS:
            yield from _labels(image, labels)


#: So many chunks that cannot be decoded are told of one by one.
_TOLD: Final = 20


def boxes(place: Place, array: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
    """Give the parts of an array that are read at a time: its chunks or shards.

    Where the store lists them, those that are there: a shape may say that there are any number.
    """
    sizes = array.shards or array.chunks
    counts = _counts(array)
    stored = inventory.sizes_below(place, _below(place, array))
    indices: Iterable[tuple[int, ...] | None] = (
        (_index(array, key, counts) for key in stored) if stored is not None else _all(counts)
    )
    for index in indices:
        if index is not None:
            yield tuple(
                slice(i * size, min((i + 1) * size, n))
                for i, size, n in zip(index, sizes, array.shape, strict=True)
            )


def _all(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Give the indices of a grid, of which there may be too many to be kept."""
    for position in itertools.takewhile(lambda n: n < math.prod(counts), itertools.count()):
        index, rest = [], position
        for count in reversed(counts):
            rest, own = divmod(rest, count)
            index.append(own)
        yield tuple(reversed(index))


def _counts(array: zarr.Array[Any]) -> list[int]:
    """Give how many chunks or shards there are along each axis."""
    grid = array.shards or array.chunks
    return [-(-n // size) if size else 0 for n, size in zip(array.shape, grid, strict=True)]


def _below(place: Place, array: zarr.Array[Any]) -> str:
    return array.path.removeprefix(place.path).strip("/")


def _labels(image: Seen, values: set[int]) -> Iterator[Finding]:
    about = metadata(image.attributes, image.version)["image-label"]
    for key in ("properties", "colors"):
        told = {
            entry["label-value"].value
            for entry in about[key].objects()
            if isinstance(entry["label-value"].value, int)
        }
        if not told:
            continue
        file = f"{image.path}/{documents.METADATA[image.zarr_format]}"
        missing, unknown = sorted(values - told - {0}), sorted(told - values - {0})
        if missing and key == "properties":
            found = f"{len(missing):,} labels have none: {brief(missing)}"
            yield DESCRIBED.broken(image.version, file, about[key].path, found)
        if unknown:
            found = f"{len(unknown):,} are of no pixel: {brief(unknown)}"
            yield THERE.broken(image.version, file, about[key].path, found)


def _counted(
    place: Place, array: zarr.Array[Any], version: str, found: list[Finding]
) -> Iterator[Census]:
    """Count the chunks of an array, where the store lists them."""
    below = _below(place, array)
    sizes = inventory.sizes_below(place, below)
    if sizes is None:
        return
    counts = _counts(array)
    stored = {k: n for k, n in sizes.items() if _index(array, k, counts) is not None}
    empty = [key for key, size in stored.items() if size == 0]
    least = _least(array)
    short = [key for key, size in stored.items() if 0 < size < least]
    if _index_bytes(array):
        short += [
            key
            for key, size in stored.items()
            if size >= least and _is_cut(place, f"{below}/{key}", size, least)
        ]
    for keys, told in ((empty, "empty"), (short, "truncated")):
        if keys:
            names = ", ".join(sorted(keys)[:3])
            what = f"{len(keys):,} {told}: {names}{', …' * (len(keys) > 3)}"  # noqa: PLR2004
            found.append(WHOLE.broken(version, below, "", what))
    total = math.prod(counts)
    sharded = array.shards is not None
    yield Census(below, total, len(stored), len(empty), len(short), sharded)


def _index(array: zarr.Array[Any], key: str, counts: Sequence[int]) -> tuple[int, ...] | None:
    """Give the index of the chunk that an object below an array is; None where it is none."""
    encoding = getattr(array.metadata, "chunk_key_encoding", None)
    separator = getattr(encoding, "separator", getattr(array.metadata, "dimension_separator", "."))
    parts = key.split(str(separator))
    if getattr(encoding, "name", "v2") == "default":
        if parts[0] != "c":
            return None
        parts = parts[1:]
    elif not counts:
        parts = []
    # More digits than any grid has are no number of a chunk, and take long to read.
    if len(parts) != len(counts) or not all(p.isdecimal() and len(p) < 20 for p in parts):  # noqa: PLR2004
        return None
    index = tuple(map(int, parts))
    return index if all(i < n for i, n in zip(index, counts, strict=True)) else None


def _index_bytes(array: zarr.Array[Any]) -> int:
    """Give the length of the index at the end of each shard; 0 where there is none to be read."""
    if array.shards is None:
        return 0
    (codec, *_) = array.metadata.codecs  # type: ignore[union-attr]
    names = [type(one).__name__ for one in getattr(codec, "index_codecs", ())]
    at_end = str(getattr(codec, "index_location", "")).rpartition(".")[2] == "end"
    if not at_end or names != ["BytesCodec", "Crc32cCodec"]:
        return 0
    inner = math.prod(-(-s // c) for s, c in zip(array.shards, array.chunks, strict=True))
    return 16 * inner + 4


def _least(array: zarr.Array[Any]) -> int:
    """Give how many bytes a chunk has at least: all where nothing packs it, an index in a shard."""
    if array.shards is not None:
        return max(1, _index_bytes(array))
    plain = not array.compressors and not array.filters and array.dtype.kind in "iufcb"
    serializer = (
        getattr(array, "serializer", None) if array.metadata.zarr_format == spec.V3 else None
    )
    if not plain or (serializer is not None and type(serializer).__name__ != "BytesCodec"):
        return 1
    return math.prod(array.chunks) * array.dtype.itemsize


def _is_cut(place: Place, key: str, size: int, least: int) -> bool:
    """Say whether the index at the end of a shard tells of more than there is before it."""
    content = inventory.tail(place, key, least)
    if content is None or len(content) < least:
        return True
    index = np.frombuffer(content[:-4], "<u8").reshape(-1, 2)
    used = index[(index != _EMPTY).any(axis=1)]
    ends = used.astype("float64").sum(axis=1)
    return bool((ends > size - least).any())
