"""The pixels of a TIFF, read from its strips and tiles when they are asked for.

They are read from a file that is open for one read alone: nothing is shared between threads, and
nothing is left to close.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from xarray.backends.common import BackendArray
from xarray.core import indexing

from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    import tifffile
    from numpy.typing import NDArray

    Box = tuple[tuple[int, int], ...]
    #: Decodes a strip or tile, by its number in the page.
    Decode = Callable[..., tuple[NDArray[Any] | None, tuple[int, ...], tuple[int, ...]]]

#: Strips go by so many bytes, so that a read is worth its while.
_READ = 2**20
#: Uncompressed rows are read with what lies beside them up to so many bytes at once.
_SLAB = 2**23
#: A read of many files has no more than so many of them open.
_MOST_OPEN = 32


class Known(NamedTuple):
    """What `sources` asks of an array in a file: in which chunks it comes, and which it is."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    store_path: str
    metadata: str
    store: str
    path: str = ""


class PixelFile(NamedTuple):
    """A file that pixels lie in, as it was when it was opened."""

    path: str
    size: int
    changed: int
    """When it was changed last, in nanoseconds."""


class Segment(NamedTuple):
    """A strip or tile of a plane, as far as it is read."""

    number: int
    """Which of the plane's it is."""
    there: tuple[slice, ...]
    """The part of what is read that it fills."""
    here: tuple[slice, ...]
    """And the part of itself that it fills that by."""


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a series lie."""

    path: str
    series: int
    files: tuple[PixelFile, ...]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    stored: tuple[str, ...]
    """The axes in the order that the file has them in."""
    dtype: np.dtype[Any]
    lead: tuple[tuple[str, int], ...]
    """The axes along which there are pages, and their lengths, in the order of the pages."""
    page: tuple[int, int, int, int, int]
    """The shape of a page: planes of samples, depth, length, width, interleaved samples."""
    segment: tuple[int, int, int]
    """The depth, length and width of a strip or tile."""
    tiled: bool
    nodata: Any
    files_of: NDArray[np.intp]
    """The file that each page is in; -1 for a page that is missing."""
    offsets: NDArray[np.int64]
    """Where each strip or tile of each page begins; of `orders`, the page."""
    counts: NDArray[np.int64]
    orders: tuple[str, ...] | None
    """The byte order of each file, where pages lie in them as they are in memory."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """The boxes that are read at once at no cost: whole strips or tiles, or rows."""
        _, _, length, width, samples = self.page
        depth, rows, columns = self.segment
        if self.orders is not None:
            depth, columns = 1, width
            # Of rows that can be read in any number, blocks are made easily.
            rows = 1
            while rows < length and rows * width * samples * self.dtype.itemsize < _READ:
                rows *= 2
        elif not self.tiled:
            row = width * samples * self.dtype.itemsize
            rows *= max(1, _READ // max(row * rows, 1))
        sizes = {name: 1 for name, _ in self.lead}
        sizes = {"z": depth, **sizes, "c": samples, "y": rows, "x": columns}
        return tuple(min(sizes[dim], n) for dim, n in zip(self.dims, self.shape, strict=True))

    def known(self) -> Known:
        """Tell what it is, so that a write can be resumed with the same pixels."""
        return Known(
            self.shape, self.chunks, str(self.files), f"{self.series} {self.dims}", self.path
        )


class TiffPixels(BackendArray):
    """The pixels of a series, read when they are asked for."""

    def __init__(self, layout: Layout, decoders: Decoders | None = None) -> None:
        self.layout = layout
        self.shape = layout.shape
        self.dtype = layout.dtype
        self._array = layout.known()
        self._decoders = decoders
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[TiffPixels], tuple[Layout]]:
        return type(self), (self.layout,)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        found: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return found

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read what slices and numbers choose."""
        box: list[tuple[int, int]] = []
        then: list[int | slice] = []
        for index, size in zip(key, self.shape, strict=True):
            if not isinstance(index, slice):
                number = int(index) % size
                box.append((number, number + 1))
                then.append(0)
                continue
            chosen = range(*index.indices(size))
            low, high = (min(chosen), max(chosen) + 1) if chosen else (0, 0)
            box.append((low, high))
            then.append(slice(None, None, chosen.step))
        found: NDArray[Any] = self.box(tuple(box))[tuple(then)]
        return found

    def box(self, box: Box) -> NDArray[Any]:
        """Read a box of pixels.

        Raises
        ------
        OmeZarrError
            Where the file has changed or is broken.
        """
        layout = self.layout
        result = np.empty([b - a for a, b in box], layout.dtype)
        if not result.size:
            return result
        sides = dict(zip(layout.dims, box, strict=True))
        planes, _, length, width, samples = layout.page
        inside = (
            (0, 1) if any(name == "z" for name, _ in layout.lead) else sides.get("z", (0, 1)),
            sides.get("y", (0, length)),
            sides.get("x", (0, width)),
        )
        # The same for each page.
        segments = [] if layout.orders is not None else self._segments(inside)
        ranges = [
            range(*self._pages_along(name, sides.get(name, (0, 1)))) for name, _ in layout.lead
        ]
        shape = [n for _, n in layout.lead]
        with ExitStack() as stack:
            files = _Files(layout, stack)
            for index in itertools.product(*ranges):
                page = int(np.ravel_multi_index(index, shape)) if shape else 0
                lead = dict(zip((name for name, _ in layout.lead), index, strict=True))
                for plane in range(planes):
                    first = (lead.get("c", 0) * planes + plane) * samples
                    low, high = sides.get("c", (0, samples))
                    begin, end = max(low, first), min(high, first + samples)
                    if begin >= end:
                        continue
                    where: dict[str, int | slice] = {
                        name: number - sides[name][0] for name, number in lead.items()
                    }
                    where["c"] = slice(begin - low, end - low)
                    into = result[tuple(where.get(name, slice(None)) for name in layout.dims)]
                    into = into if "c" in layout.dims else into[np.newaxis]
                    into = np.moveaxis(into, 0, -1)
                    into = into if into.ndim == 4 else into[np.newaxis]  # noqa: PLR2004
                    part = (begin - first, end - first)
                    try:
                        self._fill(into, files, page, plane, inside, segments, part)
                    except OmeZarrError:
                        raise
                    except Exception as error:
                        msg = (
                            f"{layout.path}: page {page} of series {layout.series} cannot be "
                            f"decoded: {type(error).__name__}: {error}. It is damaged, or was cut "
                            "short: copy the file again."
                        )
                        raise OmeZarrError(msg) from error
        return result

    def _pages_along(self, name: str, side: tuple[int, int]) -> tuple[int, int]:
        """Give the pages along an axis that hold a part of it: a page has several channels."""
        if name != "c":
            return side
        held = self.layout.page[0] * self.layout.page[4]
        return side[0] // held, -(-side[1] // held)

    def _fill(  # noqa: PLR0917 - all of them say where
        self,
        into: NDArray[Any],
        files: _Files,
        page: int,
        plane: int,
        inside: Box,
        segments: Sequence[Segment],
        samples: tuple[int, int],
    ) -> None:
        """Fill an array, of depth, length, width and samples, with a part of a page."""
        number = int(self.layout.files_of[page])
        if number < 0:
            into[...] = self.layout.nodata
        elif self.layout.orders is not None:
            order = self.layout.orders[number]
            start = int(self.layout.offsets[page, 0])
            self._fill_rows(into, files.open(number), (start, order), plane, inside, samples)
        else:
            self._fill_segments(into, files.open(number), page, plane, segments, samples)

    def _fill_rows(  # noqa: PLR0917 - all of them say where
        self,
        into: NDArray[Any],
        file: BinaryIO,
        at: tuple[int, str],
        plane: int,
        inside: Box,
        samples: tuple[int, int],
    ) -> None:
        """Fill an array from pixels that lie in the file as in memory, row by row."""
        _, depth, length, width, count = self.layout.page
        dtype = np.dtype(f"{at[1]}{self.layout.dtype.str[1:]}")
        pixel = count * dtype.itemsize
        (z0, z1), (y0, y1), (x0, x1) = inside
        # What lies beside a few columns is not read.
        narrow = (x1 - x0) * 4 < width
        left, right = (x0, x1) if narrow else (0, width)
        rows = 1 if narrow else max(1, _SLAB // max(width * pixel, 1))
        for z in range(z0, z1):
            for y in range(y0, y1, rows):
                some = min(rows, y1 - y)
                first = ((plane * depth + z) * length + y) * width + left
                content = _content(file, at[0] + first * pixel, some * (right - left) * pixel)
                part = np.frombuffer(content, dtype).reshape(some, right - left, count)
                into[z - z0, y - y0 : y - y0 + some] = part[
                    :, x0 - left : x1 - left, samples[0] : samples[1]
                ]

    def _segments(self, inside: Box) -> list[Segment]:
        """Give the strips or tiles that a part of a plane touches."""
        sizes, segment = self.layout.page[1:4], self.layout.segment
        counts = [-(-n // s) for n, s in zip(sizes, segment, strict=True)]
        touched = [
            range(low // size, -(-high // size))
            for (low, high), size in zip(inside, segment, strict=True)
        ]
        found = []
        for index in itertools.product(*touched):
            starts = [i * s for i, s in zip(index, segment, strict=True)]
            cut = [
                (max(low, start), min(high, start + s, n))
                for (low, high), start, s, n in zip(inside, starts, segment, sizes, strict=True)
            ]
            there = tuple(
                slice(a - low, b - low) for (a, b), (low, _) in zip(cut, inside, strict=True)
            )
            here = tuple(slice(a - s, b - s) for (a, b), s in zip(cut, starts, strict=True))
            found.append(Segment(int(np.ravel_multi_index(index, counts)), there, here))
        return found

    def _fill_segments(  # noqa: PLR0917 - all of them say where
        self,
        into: NDArray[Any],
        file: BinaryIO,
        page: int,
        plane: int,
        segments: Sequence[Segment],
        samples: tuple[int, int],
    ) -> None:
        """Fill an array from the strips or tiles of a page."""
        layout = self.layout
        decode, tables = self._decoder(page)
        first = plane * (layout.offsets.shape[1] // layout.page[0])
        for segment in segments:
            number = first + segment.number
            size = int(layout.counts[page, number])
            content = _content(file, int(layout.offsets[page, number]), size) if size else None
            pixels, _, _ = decode(content, number, **tables)
            into[segment.there] = (
                layout.nodata if pixels is None else pixels[(*segment.here, slice(*samples))]
            )

    def _decoder(self, page: int) -> tuple[Decode, Mapping[str, Any]]:
        with self._lock:
            if self._decoders is None:
                with opened(self.layout.path) as tif:
                    self._decoders = Decoders(tif.series[self.layout.series])
            return self._decoders.of(page)


class Decoders:
    """How the pages of a series are decoded: those of each file in one way."""

    def __init__(self, series: tifffile.TiffPageSeries) -> None:
        self._pages = [*series]
        # What colours a JPEG has is read from its file, which is open for now.
        _ = series.keyframe.decode

    def of(self, page: int) -> tuple[Decode, Mapping[str, Any]]:
        """Give what decodes a page, and what it needs besides."""
        found: Any = self._pages[page]
        tables = {
            key: value
            for key in ("jpegtables", "jpegheader")
            if (value := getattr(found, key, None)) is not None
        }
        return found.keyframe.decode, tables


class _Files:
    """The files that one read opens."""

    def __init__(self, layout: Layout, stack: ExitStack) -> None:
        self._layout = layout
        self._stack = stack
        self._open: dict[int, BinaryIO] = {}

    def open(self, number: int) -> BinaryIO:
        """Open a file, unless it is open.

        Raises
        ------
        OmeZarrError
            Where it is not what it was: what is known of it would lead anywhere.
        """
        if number not in self._open:
            known = self._layout.files[number]
            try:
                if len(self._open) >= _MOST_OPEN:
                    self._stack.close()
                    self._open.clear()
                opening = Path(known.path).open("rb", buffering=0)  # noqa: SIM115 - the stack is one
                file = self._stack.enter_context(opening)
            except OSError as error:
                msg = f"{known.path} cannot be read any more: {error.strerror or error}."
                raise OmeZarrError(msg) from error
            if pixel_file(known.path) != known:
                msg = f"{known.path} has changed since it was opened. Open it again."
                raise OmeZarrError(msg)
            self._open[number] = file
        return self._open[number]


def _content(file: BinaryIO, start: int, size: int) -> bytearray:
    """Read so many bytes."""
    content = bytearray(size)
    view, done = memoryview(content), 0
    file.seek(start)
    while done < size:
        # One call reads no more than 2 GiB.
        count: int = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            msg = f"{file.name} ends before its pixels do: it was cut short. Copy it again."
            raise OmeZarrError(msg)
        done += count
    return content


def pixel_file(path: str) -> PixelFile:
    """Tell what a file is like now."""
    told = Path(path).stat()
    return PixelFile(path, told.st_size, told.st_mtime_ns)


@contextmanager
def opened(path: str) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF; whatever it provokes is told as what it is, a broken file."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            yield tif
    except OmeZarrError:
        raise
    except FileNotFoundError as error:
        msg = f"There is nothing at {path}."
        raise OmeZarrFileNotFoundError(msg) from error
    except Exception as error:
        msg = (
            f"{path} cannot be read as a TIFF: {type(error).__name__}: {error}. It is damaged, or "
            "was cut short: copy it again."
        )
        raise OmeZarrError(msg) from error
