"""Arrays of which a part is taken: chunks as they are where they can be, encoded anew elsewhere.

Where a part begins with a chunk, those that lie wholly in it are the same bytes under other keys.
All others are read, cut and encoded as the array says: with its codecs, and in its chunks.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from xarray_omezarr import copies, formats
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from xarray_omezarr.extracts import Cut
    from xarray_omezarr.stores import Place

    Index = tuple[int, ...]


def kept(cut: Cut) -> tuple[range, ...]:
    """Give the chunks of the part, along each axis, that are the same as in the whole.

    Examples
    --------
    Of pixels 4 to 10, in chunks of 4, there is one whole chunk.

    >>> from types import SimpleNamespace
    >>> array = SimpleNamespace(metadata={"chunks": [4]}, shape=(12,))
    >>> kept(SimpleNamespace(array=array, box=((4, 10),), metadata={"shape": [6]}))
    (range(0, 1),)
    """
    sizes, shape = _sizes(cut), cut.array.shape
    if any(start % size for (start, _), size in zip(cut.box, sizes, strict=True)):
        return tuple(range(0) for _ in sizes)
    return tuple(
        # What an array ends with is a whole chunk as well.
        range(-(-(stop - start) // size) if stop == n else (stop - start) // size)
        for (start, stop), size, n in zip(cut.box, sizes, shape, strict=True)
    )


def renamed(cut: Cut) -> Iterator[tuple[str, str]]:
    """Yield the keys of the chunks that stay as they are, with those that they get."""
    sizes, path = _sizes(cut), cut.array.path
    before = [start // size for (start, _), size in zip(cut.box, sizes, strict=True)]
    for new in itertools.product(*kept(cut)):
        old = tuple(a + b for a, b in zip(new, before, strict=True))
        yield (
            join(path, formats.chunk_key(old, cut.array.metadata)),
            join(path, formats.chunk_key(new, cut.array.metadata)),
        )


def encode(
    source: Place,
    target: Place,
    cut: Cut,
    *,
    there: Collection[str],
    done: Callable[[int], object],
) -> None:
    """Write the chunks of a part that are none of the whole, block by block.

    Parameters
    ----------
    source, target
        The roots of both hierarchies.
    cut
        The part.
    there
        The keys of chunks that are written already.
    done
        Called with the bytes of the pixels of each block.

    Raises
    ------
    OmeZarrError
        Where the array cannot be read, or its chunks not be written.
    """
    path = cut.array.path
    try:
        old = copies.opened(source.store, source.key(path), cut.array.metadata)
        new = copies.opened(target.store, target.key(path), cut.metadata)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{source.name}/{path} cannot be cut, since Zarr cannot read it: {error}."
        raise OmeZarrError(msg) from error
    same = kept(cut)
    for block in copies.blocks(new):
        for box, keys in _pieces(cut, block, same):
            if not all(key in there for key in keys):
                of = tuple(
                    slice(start + at.start, start + min(at.stop, n))
                    for (start, _), at, n in zip(cut.box, box, new.shape, strict=True)
                )
                new[box] = old[of]
        pixels = math.prod(min(s.stop, n) - s.start for s, n in zip(block, new.shape, strict=True))
        done(pixels * new.dtype.itemsize)


def nbytes(cut: Cut) -> int:
    """Give how many bytes the pixels of a part take."""
    itemsize = copies.chunk_bytes(cut.array.metadata) // math.prod(_sizes(cut))
    return math.prod(stop - start for start, stop in cut.box) * itemsize


def is_same(cut: Cut) -> bool:
    """Say whether no chunk of a part is written anew."""
    sizes, shape = _sizes(cut), cut.metadata["shape"]
    counts = [-(-n // size) for n, size in zip(shape, sizes, strict=True)]
    return 0 in shape or all(
        len(some) == count for some, count in zip(kept(cut), counts, strict=True)
    )


def _pieces(
    cut: Cut, block: tuple[slice, ...], same: tuple[range, ...]
) -> Iterator[tuple[tuple[slice, ...], list[str]]]:
    """Yield what has to be written of a block: all of it, or chunk by chunk; with the keys."""
    sizes, shape = _sizes(cut), cut.metadata["shape"]
    indices = list(
        itertools.product(
            *(
                range(s.start // size, -(-min(s.stop, n) // size))
                for s, size, n in zip(block, sizes, shape, strict=True)
            )
        )
    )
    anew = [one for one in indices if not all(i in some for i, some in zip(one, same, strict=True))]
    if len(anew) == len(indices):
        yield block, [_key(cut, one) for one in anew]
        return
    for one in anew:
        box = tuple(slice(i * size, (i + 1) * size) for i, size in zip(one, sizes, strict=True))
        yield box, [_key(cut, one)]


def _key(cut: Cut, index: Index) -> str:
    return join(cut.array.path, formats.chunk_key(index, cut.array.metadata))


def _sizes(cut: Cut) -> tuple[int, ...]:
    found = formats.chunk_shape(cut.array.metadata)
    if found is None:
        metadata: Mapping[str, object] = cut.array.metadata
        msg = (
            f"{cut.array.path} has chunks of different sizes ({metadata['chunk_grid']!r:.60}), "
            "which are not cut. Download all of it."
        )
        raise OmeZarrError(msg)
    return found
