"""What encodes and decodes the chunks of an array: zarrs where it can, else Zarr's own.

A pipeline belongs to one array object, and travels with it when that is pickled. Zarr's
configuration, which all threads of a process share, is left alone; and where somebody has set a
pipeline there, that one stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from zarr.abc.codec import CodecPipeline
from zarr.buffer import cpu
from zarr.codecs import ShardingCodec
from zarr.core import codec_pipeline
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.storage import LocalStore, MemoryStore, StorePath

from xarray_omezarr import options, spec
from xarray_omezarr.archive import Flat
from xarray_omezarr.boxes import Boxes, Compiled, Part, Plain, normal, processors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self, TypeVar

    import zarr
    from zarr.abc.codec import Codec
    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer, NDBuffer

    from xarray_omezarr.boxes import Box, Fetch

    Kind = TypeVar("Kind")
    #: Where a chunk is, what it looks like, which part of it belongs where in the array, and
    #: whether that is all of it.
    Item = tuple[Any, ArraySpec, Any, Any, bool]

#: The codecs that zarrs is trusted with. It knows others, but not all of them to the last bit.
_CODECS = {
    2: frozenset({"blosc", "bz2", "gzip", "zlib", "zstd"}),
    3: frozenset({"blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd"}),
}


def attach(array: zarr.Array[Any], store: Store, *, atomic: bool = False) -> None:
    """Give an array that was just opened the fastest pipeline for it.

    Parameters
    ----------
    array
        The array.
    store
        The store that its chunks are in, which the array's own may be a wrapper of.
    atomic
        Whether a chunk that is written has to be the old one or the new one at every moment. zarrs
        writes into the file that is there, so it only reads then.
    """
    inner = array.async_array
    plain = inner.codec_pipeline
    if options.get("codec_pipeline") == "zarr" or type(plain) is not BatchedCodecPipeline:
        return
    # Other stores, and wrappers that may have reasons, are read as they ask for it.
    if not is_near(store):
        return
    pipeline = Pipeline(
        _fused(array, plain), inner.metadata, inner.store_path, zarrs=_suits(array), atomic=atomic
    )
    # Its class is frozen, so that nobody changes an array that others hold. This one is ours.
    object.__setattr__(inner, "codec_pipeline", pipeline)


def is_near(store: Store) -> bool:
    """Say whether a store is files or memory of this machine, and nothing else."""
    return store.is_local if isinstance(store, Flat) else type(store) in (LocalStore, MemoryStore)


def moved(pipeline: CodecPipeline, place: StorePath) -> CodecPipeline:
    """Give the pipeline of an array for another one with the same metadata."""
    # Those of Zarr do not know where the array is.
    return replace(pipeline, place=place) if isinstance(pipeline, Pipeline) else pipeline


def _fused(array: zarr.Array[Any], plain: BatchedCodecPipeline) -> CodecPipeline:
    """Give the pipeline of newer releases of Zarr that works without an event loop."""
    fused: Any = getattr(codec_pipeline, "FusedCodecPipeline", None)
    if fused is None:
        return plain
    codecs = tuple(plain)
    if len(codecs) > 1 and any(isinstance(codec, ShardingCodec) for codec in codecs):
        # Shards within other codecs: each new pipeline warns of that again.
        return plain
    metadata = array.async_array.metadata
    config = {"order": metadata.order} if metadata.zarr_format == spec.V2 else {}
    looks = ArraySpec(
        shape=array.shards or array.chunks,
        dtype=metadata.dtype,
        fill_value=metadata.fill_value,
        config=ArrayConfig.from_dict(cast("Any", config)),
        prototype=cpu.buffer_prototype,
    )
    made: CodecPipeline = fused.from_codecs(codecs).evolve_from_array_spec(looks)
    return made


# ── zarrs ────────────────────────────────────────────────────────────────────────────────────────


def _suits(array: zarr.Array[Any]) -> bool:
    """Say whether zarrs reads and writes an array as Zarr does: its store, type and codecs."""
    if type(array.store) is not LocalStore:
        return False
    metadata: Mapping[str, Any] = array.metadata.to_dict()
    if array.metadata.zarr_format == spec.V2:
        compressor = metadata.get("compressor")
        return not metadata.get("filters") and (
            compressor is None or compressor.get("id") in _CODECS[2]
        )
    regular: bool = metadata["chunk_grid"]["name"] == "regular"
    return regular and all(name in _CODECS[3] for name in _names(metadata["codecs"]))


def _names(codecs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Give the names of codecs, and of those within shards."""
    for codec in codecs:
        yield codec["name"]
        inside = codec.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _names(inside.get(key) or ())


@dataclass(frozen=True)
class Pipeline(CodecPipeline):
    """The fastest way to the chunks of an array in files or in memory, and Zarr's own beside it.

    Whatever the fast one cannot do, or fails at, is done again by Zarr, which says what is wrong.
    """

    plain: CodecPipeline
    """Zarr's own."""
    metadata: Any
    place: StorePath
    zarrs: bool
    """Whether zarrs may be asked."""
    atomic: bool
    """Whether a chunk that is written has to be the old one or the new one at every moment."""
    compiled: Compiled | None = field(init=False, repr=False, compare=False)
    """What zarrs does; None where it is not there, or refuses the array."""
    reads: Boxes | None = field(init=False, repr=False, compare=False)
    """What reads without an event loop where zarrs does not."""
    saves: Synchronous | None = field(init=False, repr=False, compare=False)
    """What writes without an event loop where zarrs does not."""

    def __post_init__(self) -> None:
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "compiled": None, "reads": None, "saves": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def _connect(self) -> None:
        """Find what there is in this process."""
        compiled: Compiled | None = None
        reads: Boxes | None = None
        saves: Synchronous | None = None
        if self.metadata.dtype.to_native_dtype().kind in "biufc" and self.metadata.shape:
            store, fetch = self.place.store, _fetch(self.place.store)
            if self.zarrs:
                compiled = _made(Compiled, self.metadata, store)
            if hasattr(self.plain, "read_sync"):
                saves = _made(Synchronous, self.metadata, self.plain, store)
            reads = _made(Plain, self.metadata, fetch) if fetch is not None else None
            reads = saves if reads is None else reads
        object.__setattr__(self, "compiled", compiled)
        object.__setattr__(self, "reads", reads)
        object.__setattr__(self, "saves", saves)

    @property
    def able(self) -> Compiled | None:
        """Give what zarrs does, here and now."""
        return self.compiled if self.compiled is not None and self.compiled.at_home else None

    def load(self, box: Box, shape: Sequence[int]) -> np.ndarray[Any, Any] | None:
        """Read a box of the array; None where only Zarr can."""
        compiled, reads = self.able, self.reads
        boxes = compiled or reads
        if boxes is None:
            return None
        values = np.empty([side.stop - side.start for side in box], boxes.dtype)
        try:
            parts = boxes.parts(box, shape, self._prefix)
            if compiled is not None and isinstance(reads, Plain) and not compiled.small:
                parts, boxes = compiled.load_whole(parts, values), reads
            boxes.load(parts, values)
        except Exception:  # noqa: BLE001 - damaged, or more than it can do: Zarr will say
            return None
        return values

    def save(
        self, box: Box, shape: Sequence[int], values: np.ndarray[Any, Any], *, empty: bool
    ) -> bool:
        """Write a box of the array, and say whether it was done."""
        boxes = (None if self.atomic else self.able) or self.saves
        if boxes is None or values.dtype.newbyteorder("=") != boxes.dtype:
            return False
        if values.shape != tuple(side.stop - side.start for side in box):
            return False
        try:
            boxes.save(boxes.parts(box, shape, self._prefix), values, empty=empty)
        except Exception:  # noqa: BLE001 - what was written is written again
            return False
        return True

    @property
    def _prefix(self) -> str:
        return f"{self.place.path}/" if self.place.path else ""

    async def read(
        self, batch_info: Iterable[Item], out: NDBuffer, drop_axes: tuple[int, ...] = ()
    ) -> Any:  # noqa: ANN401 - newer releases of Zarr want to know what was there, if asked to
        """Read parts of chunks into an array."""
        batch, boxes = list(batch_info), self.able
        array: object = out.as_ndarray_like()
        if (
            boxes is not None
            and isinstance(array, np.ndarray)
            and all(_fills(looks.config) for _, looks, *_ in batch)
        ):
            found = None if drop_axes else _straightened(batch, array)
            try:
                if found is not None:
                    await asyncio.to_thread(boxes.load, *found)
                    return ()
                if not boxes.sharded:
                    parts = [Part(at.path, *rest) for at, _, *rest in batch]
                    await asyncio.to_thread(boxes.load_any, parts, array, drop_axes)
                    return ()
            except Exception:  # noqa: BLE001, S110 - damaged, or more than zarrs can do
                pass
        return await self.plain.read(batch, out, drop_axes)

    async def write(
        self, batch_info: Iterable[Item], value: NDBuffer, drop_axes: tuple[int, ...] = ()
    ) -> None:
        """Write parts of an array into chunks."""
        batch, boxes = list(batch_info), self.able
        array: object = value.as_ndarray_like()
        if boxes is not None and not self.atomic and isinstance(array, np.ndarray) and array.ndim:
            found = None if drop_axes else _straightened(batch, array)
            if found is not None:
                empty = batch[0][1].config.write_empty_chunks if batch else False
                try:
                    await asyncio.to_thread(boxes.save, *found, empty=empty)
                except Exception:  # noqa: BLE001, S110 - what was written is written again
                    pass
                else:
                    return
        await cast("Any", self.plain).write(batch, value, drop_axes)

    # The rest is asked for by nobody but Zarr's tests of metadata: Zarr's own answers.

    @classmethod
    def from_codecs(cls, codecs: Iterable[Codec]) -> Self:
        """Make a pipeline of codecs alone: Zarr's own, as there is no store for zarrs."""
        return BatchedCodecPipeline.from_codecs(codecs)  # type: ignore[return-value]

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Adapt to an array: done already."""
        del array_spec
        return self

    @property
    def supports_partial_decode(self) -> bool:
        """Whether a part of a chunk can be decoded alone."""
        return self.plain.supports_partial_decode

    @property
    def supports_partial_encode(self) -> bool:
        """Whether a part of a chunk can be encoded alone."""
        return self.plain.supports_partial_encode

    def __iter__(self) -> Iterator[Codec]:
        yield from iter(self.plain)  # type: ignore[call-overload]

    def validate(self, **kwargs: Any) -> None:  # noqa: ANN401 - differs between releases
        """Check that the codecs fit an array."""
        self.plain.validate(**kwargs)

    def compute_encoded_size(self, byte_length: int, array_spec: ArraySpec) -> int:
        """Say how long so many bytes become."""
        return self.plain.compute_encoded_size(byte_length, array_spec)

    async def decode(
        self, chunk_bytes_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]
    ) -> Iterable[NDBuffer | None]:
        """Decode chunks."""
        return await self.plain.decode(chunk_bytes_and_specs)

    async def encode(
        self, chunk_arrays_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]
    ) -> Iterable[Buffer | None]:
        """Encode chunks."""
        return await self.plain.encode(chunk_arrays_and_specs)


def _made(kind: Callable[..., Kind], *args: object) -> Kind | None:
    """Make something; None where that fails."""
    try:
        return kind(*args)
    except Exception:  # noqa: BLE001 - it is not there, or another release, or not for this array
        return None


def _fetch(store: Store) -> Fetch | None:
    """Give what fetches an object without an event loop; None where nothing does."""
    if type(store) is LocalStore:
        root = store.root

        def read(key: str) -> bytes | None:
            try:
                return (root / key).read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None

        return read
    if isinstance(store, Flat):
        return store.content
    if not hasattr(MemoryStore, "get_sync"):
        return None
    get_sync = cast("Any", store).get_sync

    def get(key: str) -> Any:  # noqa: ANN401 - bytes, or an array of them
        found = get_sync(key, prototype=cpu.buffer_prototype)
        return None if found is None else found.as_numpy_array()

    return get


# ── boxes ────────────────────────────────────────────────────────────────────────────────────────


class Synchronous(Boxes):
    """Chunks that go through the pipeline of Zarr that works without an event loop."""

    def __init__(self, metadata: Any, pipeline: Any, store: Store) -> None:  # noqa: ANN401
        super().__init__(metadata)
        if pipeline.sync_transform is None:
            msg = "There are codecs that need an event loop."
            raise TypeError(msg)
        self._pipeline, self._store, self._metadata = pipeline, store, metadata

    def load(self, parts: Sequence[Part], out: np.ndarray[Any, Any]) -> None:
        """Read boxes of chunks into boxes of an array."""
        workers = processors() if len(parts) > 1 else 1
        looks = self._looks()
        batch = [self._item(part, looks) for part in parts]
        self._pipeline.read_sync(batch, _buffer(out), max_workers=workers)

    def save(self, parts: Sequence[Part], values: np.ndarray[Any, Any], *, empty: bool) -> None:
        """Write boxes of an array into boxes of chunks."""
        workers = processors() if len(parts) > 1 else 1
        stored, checked = self._looks(empty=True), self._looks(empty=empty)
        batch = []
        for part in parts:
            # Whether all of a chunk is the fill value takes as long to see as to encode it, and of
            # most chunks their first line tells that they are not. NaN is equal to none.
            line = values[part.outside][(0,) * (values.ndim - 1)]
            seen = np.any((line != self._fill_value) & (line == line))  # noqa: PLR0124
            batch.append(self._item(part, stored if seen and not self.sharded else checked))
        self._pipeline.write_sync(batch, _buffer(values), max_workers=workers)

    def _looks(self, *, empty: bool = False) -> ArraySpec:
        v2 = self._metadata.zarr_format == spec.V2
        order: Literal["C", "F"] = self._metadata.order if v2 else "C"
        return ArraySpec(
            shape=self.chunk,
            dtype=self._metadata.dtype,
            fill_value=self._metadata.fill_value,
            config=ArrayConfig(order=order, write_empty_chunks=empty),
            prototype=cpu.buffer_prototype,
        )

    def _item(self, part: Part, looks: ArraySpec) -> Item:
        return StorePath(self._store, part.key), looks, *part[1:]


def read_box(array: zarr.Array[Any], key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """Read what a key of numbers and slices selects, in native byte order.

    As `array[key]`, but without an event loop where that can be.
    """
    pipeline, box = array.async_array.codec_pipeline, normal(key, array.shape)
    if isinstance(pipeline, Pipeline) and box is not None and _fills(array.async_array.config):
        sides, numbers = box
        values = pipeline.load(sides, array.shape)
        if values is not None:
            return values.squeeze(tuple(numbers))
    return np.asarray(array[key], array.dtype.newbyteorder("="))


def write_box(array: zarr.Array[Any], key: tuple[slice, ...], values: np.ndarray[Any, Any]) -> None:
    """Write values to where slices select.

    As `array[key] = values`, but without an event loop where that can be.
    """
    pipeline, box = array.async_array.codec_pipeline, normal(key, array.shape)
    if isinstance(pipeline, Pipeline) and box is not None and not array.read_only:
        empty = array.async_array.config.write_empty_chunks
        if pipeline.save(box[0], array.shape, values, empty=empty):
            return
    array[key] = values


def _buffer(array: np.ndarray[Any, Any]) -> NDBuffer:
    return cpu.NDBuffer.from_ndarray_like(cast("Any", array))


def _fills(config: object) -> bool:
    """Say whether chunks that are not there read as the fill value, and nobody asks which."""
    return getattr(config, "read_missing_chunks", True) is not False


def _straightened(
    batch: Iterable[Item], array: np.ndarray[Any, Any]
) -> tuple[list[Part], np.ndarray[Any, Any]] | None:
    """Write selections with slices alone; None where they are no boxes.

    Where a number selects, the array has no axis: it gets one of length 1.
    """
    parts: list[Part] = []
    numbers: list[int] = []
    for at, looks, inside, outside, complete in batch:
        found = normal(inside, looks.shape) if isinstance(inside, tuple) else None
        if found is None or not (isinstance(outside, tuple) and all(map(_is_range, outside))):
            return None
        box, numbers = found
        place = list(outside)
        for axis in numbers:
            place.insert(axis, slice(0, 1))
        parts.append(Part(at.path, box, tuple(place), complete))
    return parts, np.expand_dims(array, tuple(numbers)) if numbers else array


def _is_range(part: object) -> bool:
    return isinstance(part, slice) and part.step in (None, 1)
