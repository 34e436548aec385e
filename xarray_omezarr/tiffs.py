"""TIFF → lazy pixels, and what is said of them.

What a TIFF is, of all the dialects that there are, tifffile knows. All that can be found wrong with
where its pixels lie is found here, before one is read.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import captions
from xarray_omezarr.captions import Caption
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.rasters import MOST_POSITIONS
from xarray_omezarr.strips import Decoders, Layout, TiffPixels, opened, pixel_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import tifffile
    from numpy.typing import NDArray

    from xarray_omezarr.strips import PixelFile

    Warn = Callable[[str], None]

#: The axes of an image, in the order that OME-Zarr stores them in.
ORDER = "tczyx"
#: What tifffile calls the axes that OME-Zarr has.
_AXES = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}
#: Nobody decodes a strip or tile of more than this at once.
_MOST_DECODED = 2**31
#: What tifffile says where a file ends before it should.
_CUT = ("invalid page offset", "invalid value offset", "invalid offset to")
#: So many series are listed where one has to be chosen.
_MOST_LISTED = 40


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs of a file, of which nobody would hear else."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, collector = logging.getLogger("tifffile"), Collector(logging.WARNING)
    passed, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.propagate = passed


def open_tiff(
    path: str, series: int | None, axes: Sequence[str] | None, warn: Warn
) -> tuple[TiffPixels, Caption]:
    """Open a series of a TIFF.

    Parameters
    ----------
    path
        The file.
    series
        Its number; None where there shall be but one.
    axes
        The names of its axes, as far as somebody says them.
    warn
        Called with each assumption.

    Raises
    ------
    OmeZarrError
        Where that cannot be read, or there are several series.
    """
    with _complaints() as complaints, opened(path) as tif:
        every = tif.series
        if not every:
            msg = f"{path} has no image in it."
            raise OmeZarrError(msg)
        number = _chosen(path, every, series)
        one = every[number]
        caption = _with_samples(_caption(tif, number, path, warn), one.keyframe)
        layout = _layout(path, number, one, axes)
        decoders = None if layout.orders is not None else Decoders(one)
    _tell(path, complaints, layout, warn)
    return TiffPixels(layout, decoders), caption


def _chosen(path: str, every: Sequence[tifffile.TiffPageSeries], series: int | None) -> int:
    if series is None and len(every) == 1:
        return 0
    if series is not None and -len(every) <= series < len(every):
        return series % len(every)
    lines = [
        f"  {number}: {one.name.strip() or one.kind}, {' × '.join(map(str, one.shape))} "
        f"({one.axes}), {one.dtype}"
        for number, one in enumerate(every[:_MOST_LISTED])
    ]
    if len(every) > _MOST_LISTED:
        lines.append(f"  … and {len(every) - _MOST_LISTED} more")
    what = "has several images" if series is None else f"has no image {series}"
    listed = "\n".join(lines)
    msg = f"{path} {what}; choose one of these by series=:\n{listed}"
    raise OmeZarrError(msg)


def _tell(path: str, complaints: Sequence[str], layout: Layout, warn: Warn) -> None:
    """Tell of what tifffile has found wrong, and of what is missing."""
    for complaint in complaints:
        # Parts of an image that lie in a file which is not there would be zeros.
        if "failed to read" in complaint:
            msg = (
                f"{path} is a part of an image, and others are missing: {complaint}. Put all files "
                "of it into one folder."
            )
            raise OmeZarrError(msg)
        # What lies beyond the end of the file may be most of its pages.
        if any(sign in complaint for sign in _CUT):
            msg = f"{path} was cut short, or is damaged: {complaint}. Copy it again."
            raise OmeZarrError(msg)
    for complaint in list(dict.fromkeys(complaints))[:3]:
        warn(f"{path}: {complaint}")
    absent = int((layout.files_of < 0).sum())
    if absent:
        warn(f"{path}: {absent} of {len(layout.files_of)} planes are missing, and read as zeros")


def _caption(tif: tifffile.TiffFile, number: int, path: str, warn: Warn) -> Caption:
    """Read what is said of a series."""
    series = tif.series[number]
    keyframe: Any = series.keyframe
    if series.kind == "ome":
        found = captions.from_ome(tif.ome_metadata or "", path, warn)
        same = [one for one in found if (one.name or "") == (series.name or "")]
        if len(found) == len(tif.series):
            return found[number]
        # Images without pixels in the file are no series.
        if len(same) == 1:
            return same[0]
        warn(f"{path}: which image of its OME-XML this is cannot be told; pixel sizes are left out")
        return Caption(series.name or None)
    resolution = [_resolution(keyframe, tag) for tag in (282, 283)]
    if series.kind == "imagej" and tif.imagej_metadata is not None:
        pixel = {dim: 1 / value for dim, value in zip("xy", resolution, strict=True) if value > 0}
        return captions.from_imagej(tif.imagej_metadata, pixel, path, warn)
    tag = keyframe.tags.get(296)
    # "2 = Inch ... Default = 2 (inch)" (TIFF 6.0, ResolutionUnit).
    unit = int(tag.value) if tag is not None else 2
    return captions.from_resolution(resolution, unit, path, warn)


def _with_samples(caption: Caption, key: Any) -> Caption:  # noqa: ANN401 - a page of tifffile
    """Name the samples of each pixel, where they are colours, or one of them is transparency."""
    samples = int(key.shaped[0]) * int(key.shaped[4])
    # 2 = RGB, 6 = YCbCr, which is decoded to RGB (TIFF 6.0, PhotometricInterpretation).
    if samples > 1 and (key.photometric in (2, 6) or (samples == 2 and key.extrasamples)):  # noqa: PLR2004
        return replace(caption, channels=captions.named_samples(caption.channels, samples))
    return caption


def _resolution(page: Any, code: int) -> float:  # noqa: ANN401 - a page of tifffile
    """Read a tag that is a fraction; nothing and nonsense are 0."""
    tag = page.tags.get(code)
    value = getattr(tag, "value", None)
    if isinstance(value, tuple) and len(value) == 2 and value[1]:  # noqa: PLR2004
        return float(value[0]) / float(value[1])
    return 0.0


# ── the layout of a series ───────────────────────────────────────────────────────────────────────


def _layout(
    path: str, number: int, series: tifffile.TiffPageSeries, axes: Sequence[str] | None
) -> Layout:
    key: Any = series.keyframe
    whole = zip(series.shape, series.axes, strict=True)
    kept = [(int(n), letter) for n, letter in whole if n != 1 or letter in "YX"]
    shape, letters = [n for n, _ in kept], "".join(letter for _, letter in kept)
    inner = len(key.shape)
    pages = _pages(series, math.prod(shape[: len(shape) - inner]))
    if pages is None or tuple(shape[len(shape) - inner :]) != tuple(key.shape):
        msg = (
            f"{path}: series {number} of shape {tuple(shape)} ({letters}) does not consist of "
            f"pages of shape {tuple(key.shape)}, and cannot be read. Save it as OME-TIFF."
        )
        raise OmeZarrError(msg)
    names = _names(path, letters, key.axes, axes)
    lead = tuple(zip(names, shape, strict=False))[: len(shape) - inner]
    planes, depth, length, width, samples = (int(n) for n in key.shaped)
    sizes = dict(lead)
    sizes["c"] = sizes.get("c", 1) * planes * samples
    if depth > 1 and "z" in sizes:
        msg = f"{path}: series {number} has slices of volumes ({letters}), which nobody can read."
        raise OmeZarrError(msg)
    sizes |= ({"z": depth} if depth > 1 else {}) | {"y": length, "x": width}
    if sizes["c"] == 1 and not any(name == "c" for name in names):
        del sizes["c"]
    dims = tuple(dim for dim in ORDER if dim in sizes)
    _check(path, number, key, [sizes[dim] for dim in dims])
    files, files_of, offsets, counts = _table(path, key, pages)
    tiled = bool(key.is_tiled)
    segment = (
        (int(key.tiledepth), int(key.tilelength), int(key.tilewidth))
        if tiled
        else (1, min(int(key.rowsperstrip), length), width)
    )
    orders = _orders(key, files_of, pages)
    if orders is not None and not _in_rows(offsets, counts, files_of, key):
        orders = None
    count = math.prod(n for _, n in lead)
    if len(pages) < count:
        # ImageJ describes the first page alone, and all others follow it without a gap.
        if orders is None:
            msg = f"{path}: its {count} planes are not where its first page says."
            raise OmeZarrError(msg)
        files_of = np.zeros(count, np.intp)
        offsets = offsets[0, 0] + np.arange(count, dtype=np.int64)[:, np.newaxis] * _nbytes(key)
        counts = np.full_like(offsets, _nbytes(key))
    _check_extent(path, files, files_of, offsets, counts)
    _check_segments(path, number, key, segment, offsets, raw=orders is not None)
    return Layout(
        path=path,
        series=number,
        files=files,
        dims=dims,
        shape=tuple(sizes[dim] for dim in dims),
        stored=tuple(dict.fromkeys(names)),
        dtype=np.dtype(key.dtype).newbyteorder("="),
        lead=tuple((name, int(n)) for name, n in lead),
        page=(planes, depth, length, width, samples),
        segment=segment,
        tiled=tiled,
        nodata=key.nodata,
        files_of=files_of,
        offsets=offsets[:, :1] if orders is not None else offsets,
        counts=counts[:, :1] if orders is not None else counts,
        orders=orders,
    )


def _names(path: str, letters: str, page: str, axes: Sequence[str] | None) -> list[str]:
    """Give the name of each axis, as the file says, else as somebody else does."""
    # Samples may go by another name in the series.
    inner = len(letters) - len(page)
    told = [*letters[:inner], *("S" if own == "S" else at for own, at in zip(page, letters[inner:],
                                                                         strict=True))]  # fmt: skip
    names = [_AXES.get(letter) for letter in told]
    spoken = [name or letter for name, letter in zip(names, told, strict=True)]
    merged = [name for i, name in enumerate(spoken) if name != "c" or "c" not in spoken[:i]]
    if axes is not None and len(axes) == len(merged):
        # What the file does not know is as it is said; what it knows, the caller compares.
        given = dict(zip(merged, axes, strict=True))
        names = [
            name or (given[letter] if given[letter] not in names else None)
            for name, letter in zip(names, told, strict=True)
        ]
    unknown = [letter for name, letter in zip(names, told, strict=True) if name not in set(ORDER)]
    if unknown and axes is not None:
        msg = (
            f"{path} has the axes '{''.join(spoken)}', which axes='{''.join(axes)}' do not fit. "
            f"Name {len(merged)} axes in their order, those that are known the same."
        )
        raise OmeZarrError(msg)
    if unknown:
        msg = (
            f"{path} does not say what its axes {', '.join(dict.fromkeys(unknown))} are, of "
            f"'{''.join(spoken)}'. Say what all of them are, such as axes='zyx' (AXES), in their "
            "order."
        )
        raise OmeZarrError(msg)
    known = [str(name) for name in names]
    outer = known[:inner]
    if len(set(outer)) < len(outer) or set(outer) & set("yx"):
        msg = f"{path}: an image cannot have the axes {', '.join(known)}."
        raise OmeZarrError(msg)
    return known


def _check(path: str, number: int, key: Any, shape: Sequence[int]) -> None:  # noqa: ANN401
    """Check that somebody can decode a series, before anything is written."""
    if sum(shape) > MOST_POSITIONS or min(shape) < 1:
        msg = f"{path}: series {number} is said to be of shape {tuple(shape)}, which no image is."
        raise OmeZarrError(msg)
    try:
        key.decode(None, 0)
    except (ValueError, NotImplementedError) as error:
        message = str(error)
        way = ""
        if "imagecodecs" in message:
            way = " Install it: pip install imagecodecs."
        msg = f"{path}: series {number} cannot be decoded: {message}.{way}"
        raise OmeZarrError(msg) from error
    needs = _needed(key)
    if needs:
        msg = (
            f"{path}: series {number} has {needs}, which requires the 'imagecodecs' package. "
            "Install it: pip install imagecodecs."
        )
        raise OmeZarrError(msg)


def _needed(key: Any) -> str | None:  # noqa: ANN401 - a page of tifffile
    """Say what of a page's encoding is known to imagecodecs alone, where that is missing."""
    from importlib.util import find_spec

    if find_spec("imagecodecs") is not None:
        return None
    if key.bitspersample not in (8, 16, 32, 64, 128):
        return f"{key.bitspersample} bits in a sample"
    if key.fillorder == 2:  # noqa: PLR2004 - of TIFF 6.0, the reversed one
        return "reversed bits"
    return None


def _table(
    path: str,
    key: Any,  # noqa: ANN401 - a page of tifffile
    pages: Sequence[Any],
) -> tuple[tuple[PixelFile, ...], NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """Collect where each strip or tile of each page lies."""
    numbers: dict[str, int] = {}
    files_of: list[int] = []
    offsets: list[Sequence[int]] = []
    counts: list[Sequence[int]] = []
    expected = len(key.dataoffsets)
    for number, page in enumerate(pages):
        if page is None:
            files_of.append(-1)
            offsets.append([0] * expected)
            counts.append([0] * expected)
            continue
        name = str(Path(page.parent.filehandle.path))
        files_of.append(numbers.setdefault(name, len(numbers)))
        starts, sizes = page.dataoffsets, page.databytecounts
        if len(starts) != expected or len(sizes) != expected:
            msg = (
                f"{path}: page {number} has {len(starts)} strips or tiles of {len(sizes)} sizes; "
                f"expected {expected}. It is damaged: copy the file again."
            )
            raise OmeZarrError(msg)
        offsets.append(starts)
        counts.append(sizes)
    files = tuple(pixel_file(name) for name in numbers)
    return (
        files,
        np.array(files_of, np.intp),
        np.array(offsets, np.int64),
        np.array(counts, np.int64),
    )


def _pages(series: tifffile.TiffPageSeries, count: int) -> list[Any] | None:
    """Give so many pages of a series; the first alone, where it tells of all that follow it."""
    pages: list[Any] = list(series._pages)  # noqa: SLF001 - by the public way, made-up ones too
    if len(pages) == count or (len(pages) == 1 and series.dataoffset is not None):
        return pages
    pages = [*series]
    return pages if len(pages) == count else None


def _orders(
    key: Any,  # noqa: ANN401 - a page of tifffile
    files_of: NDArray[np.intp],
    pages: Sequence[Any],
) -> tuple[str, ...] | None:
    """Give the byte order of each file, where pixels in them are as in memory."""
    bits = np.dtype(key.dtype).itemsize * 8
    plain = (
        key.compression == 1
        and key.predictor == 1
        and key.fillorder == 1
        and key.bitspersample == bits
        and key.sampleformat != 5  # noqa: PLR2004 - complex integers
        and not key.is_tiled
        and not key.is_subsampled
    )
    if not plain:
        return None
    orders = [""] * (int(files_of.max()) + 1)
    for number, page in zip(files_of, pages, strict=True):
        if number >= 0:
            orders[number] = page.parent.byteorder
    return tuple(orders)


def _nbytes(key: Any) -> int:  # noqa: ANN401 - a page of tifffile
    return math.prod(int(n) for n in key.shaped) * int(np.dtype(key.dtype).itemsize)


def _in_rows(
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    files_of: NDArray[np.intp],
    key: Any,  # noqa: ANN401
) -> bool:
    """Say whether the strips of each page follow each other, so that they are one."""
    there = files_of >= 0
    follow = offsets[there, 1:] == offsets[there, :-1] + counts[there, :-1]
    return bool(follow.all() and (counts[there].sum(axis=1) >= _nbytes(key)).all())


def _check_extent(
    path: str,
    files: Sequence[PixelFile],
    files_of: NDArray[np.intp],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Check that all pixels lie in their files."""
    sizes = np.array([file.size for file in files], np.int64)
    there = files_of >= 0
    ends = offsets[there] + counts[there]
    beyond = (ends > sizes[files_of[there], np.newaxis]) | (ends < offsets[there])
    if (offsets < 0).any() or (counts < 0).any() or beyond.any():
        name = files[int(files_of[there][np.argwhere(beyond)[0][0]])].path if beyond.any() else path
        msg = (
            f"{name} was cut short: {int(beyond.sum())} of {ends.size} strips or tiles lie beyond "
            "its end. Copy it again."
        )
        raise OmeZarrError(msg)


def _check_segments(
    path: str,
    number: int,
    key: Any,  # noqa: ANN401 - a page of tifffile
    segment: Sequence[int],
    offsets: NDArray[np.int64],
    *,
    raw: bool,
) -> None:
    """Check that nobody is made to decode more at once than a memory holds."""
    if raw:
        return
    size = math.prod(segment) * int(key.shaped[4]) * np.dtype(key.dtype).itemsize
    expected = math.prod(
        [int(key.shaped[0])]
        + [-(-int(n) // s) for n, s in zip(key.shaped[1:4], segment, strict=True)]
    )
    if min(segment) < 1 or size > _MOST_DECODED or offsets.shape[1] != expected:
        msg = (
            f"{path}: series {number} comes in {offsets.shape[1]} strips or tiles of {size} bytes; "
            f"expected {expected}, of no more than {_MOST_DECODED}. Save it in tiles."
        )
        raise OmeZarrError(msg)
