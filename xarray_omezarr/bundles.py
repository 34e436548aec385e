"""Arrays that are alike, like the fields of a plate, read as one array with axes before theirs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import (
    BasicIndexer,
    CopyOnWriteArray,
    IndexingSupport,
    LazilyIndexedArray,
    MemoryCachedArray,
    OuterIndexer,
    VectorizedIndexer,
    async_explicit_indexing_adapter,
    explicit_indexing_adapter,
)

from xarray_omezarr import chunked, pipelines
from xarray_omezarr.boxes import processors
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.storage import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from xarray.core.indexing import ExplicitIndexer

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.stores import Place


#: What mends a plate whose fields cannot be stacked.
WAY = "Choose fields that are alike by wells= and fields=, or open a tree (xr.open_datatree)."


class Members:
    """Arrays of one shape and data type, each opened when it is first read.

    Parameters
    ----------
    place
        The group that all of them are in.
    paths
        Their paths below it.
    zarr_format
        2 or 3.
    known
        Those whose metadata are known, by their number; the first one tells what all are like.
    refused
        What is to be said of those that are known not to be like the first one, when they are read.
    """

    def __init__(
        self,
        place: Place,
        paths: Sequence[str],
        zarr_format: int,
        known: Mapping[int, Described],
        refused: Mapping[int, str],
    ) -> None:
        self._place, self._paths, self._zarr_format = place, tuple(paths), zarr_format
        self._refused = dict(refused)
        self.shape: tuple[int, ...] = known[0].shape
        self.dtype = known[0].dtype
        self._arrays = {number: self._checked(number, array) for number, array in known.items()}

    @property
    def beside(self) -> int:
        """How many are read at a time: each takes a processor, or waits for a server."""
        return processors() if pipelines.is_near(self._place.store) else REQUESTS

    def open(self, number: int) -> Any:  # noqa: ANN401 - xarray's wrapper of an array
        """Give an array as xarray's lazy indexing takes it.

        Raises
        ------
        OmeZarrError
            Where it is missing, or not like the first one.
        """
        if number in self._refused:
            raise OmeZarrError(self._refused[number])
        found = self._arrays.get(number)
        if found is None:
            paths = [self._paths[number]]
            (array,) = chunked.describe_arrays(self._place, paths, self._zarr_format)
            if isinstance(array, OmeZarrError):
                raise array
            found = self._arrays.setdefault(number, self._checked(number, array))
        return found

    @property
    def places(self) -> list[Place]:
        """Where each of them is."""
        return [self._place.below(path) for path in self._paths]

    def _checked(self, number: int, array: Described) -> Any:  # noqa: ANN401
        if (array.shape, array.dtype) != (self.shape, self.dtype):
            msg = (
                f"{self._place.name}: the arrays '{self._paths[0]}' and '{self._paths[number]}' "
                f"are not alike: they are of shape {self.shape} and {array.shape}, and of type "
                f"{self.dtype} and {array.dtype}. {WAY}"
            )
            raise OmeZarrError(msg)
        return chunked.lazy(array, f"{self._place.name}/{self._paths[number]}").array


@dataclass(frozen=True)
class _Read:
    """What is read of one member, and where it goes."""

    member: int
    key: ExplicitIndexer
    order: tuple[int, ...] | None
    """How the axes of what is read are permuted; None where they stand as they should."""
    shape: tuple[int, ...]
    """The shape of what is put, once for each target."""
    targets: list[tuple[Any, ...]]
    """Where in the result it is put."""

    def put(self, values: NDArray[Any], result: NDArray[Any]) -> None:
        """Put what was read where it belongs."""
        if self.order is not None:
            values = values.transpose(self.order)
        for target in self.targets:
            result[target] = values.reshape(self.shape)


@dataclass(frozen=True)
class _Plan:
    """All that is read for a selection."""

    shape: tuple[int, ...]
    """What the result is allocated as."""
    final: tuple[int, ...]
    """What it is given back as: without the axes that a number selected."""
    reads: list[_Read]


class Bundle(BackendArray):
    """Members laid out along axes of their own, before the axes that each of them has.

    Parameters
    ----------
    members
        The arrays.
    slots
        The number of the member at each position along the axes before; -1 where there is none.
    dtype
        The data type of the whole, which may be wider than theirs, for the fill value's sake.
    fill_value
        What the pixels are where there is no member.
    """

    def __init__(
        self,
        members: Members,
        slots: NDArray[np.intp],
        dtype: np.dtype[Any],
        fill_value: Any = 0,  # noqa: ANN401 - any scalar
    ) -> None:
        self._members, self._slots, self._fill_value = members, slots, fill_value
        self.shape = (*slots.shape, *members.shape)
        self.dtype = dtype

    def __getitem__(self, key: ExplicitIndexer) -> NDArray[Any]:
        plan, key = self._planner(key)

        def read(parts: tuple[Any, ...]) -> NDArray[Any]:
            return self._read(plan(parts))

        found: NDArray[Any] = explicit_indexing_adapter(
            key, self.shape, IndexingSupport.VECTORIZED, read
        )
        return found

    async def async_getitem(self, key: ExplicitIndexer) -> NDArray[Any]:
        """Read a selection, and let others go on meanwhile."""
        plan, key = self._planner(key)

        async def read(parts: tuple[Any, ...]) -> NDArray[Any]:
            # The connections of a store belong to the event loop of Zarr, which is another one.
            return await asyncio.to_thread(self._read, plan(parts))

        found: NDArray[Any] = await async_explicit_indexing_adapter(
            key, self.shape, IndexingSupport.VECTORIZED, read
        )
        return found

    def _planner(
        self, key: ExplicitIndexer
    ) -> tuple[Callable[[tuple[Any, ...]], _Plan], ExplicitIndexer]:
        if isinstance(key, VectorizedIndexer):
            return self._vectorized, key
        # xarray's adapter cannot turn a slice round that has a negative step and selects nothing.
        parts = [
            slice(0, 0) if isinstance(part, slice) and not range(*part.indices(size)) else part
            for part, size in zip(key.tuple, self.shape, strict=True)
        ]
        return self._outer, type(key)(tuple(parts))

    def lazy(self) -> LazilyIndexedArray:
        """Wrap it for xarray's own lazy indexing."""
        return LazilyIndexedArray(self)

    @property
    def places(self) -> list[Place]:
        """Where its members are."""
        return self._members.places

    def member(self, key: tuple[Any, ...]) -> Any | None:  # noqa: ANN401 - as `Members.open`
        """Give the one member that a selection is of; None where it is of several, or of none."""
        ahead = key[: self._slots.ndim]
        if not all(isinstance(part, (int, np.integer)) for part in ahead):
            return None
        number = int(self._slots[ahead])
        return self._members.open(number) if number >= 0 else None

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _read(self, plan: _Plan) -> NDArray[Any]:
        result = self._allocated(plan)

        def load(read: _Read) -> None:
            read.put(np.asarray(self._members.open(read.member)[read.key]), result)

        if len(plan.reads) == 1:
            load(plan.reads[0])
        elif plan.reads:
            with ThreadPoolExecutor(min(self._members.beside, len(plan.reads))) as pool:
                try:
                    for _ in pool.map(load, plan.reads):
                        pass
                finally:
                    # Where one fails, nobody waits for those that have not begun.
                    pool.shutdown(cancel_futures=True)
        return result.reshape(plan.final)

    def _allocated(self, plan: _Plan) -> NDArray[Any]:
        if (self._slots < 0).any():
            return np.full(plan.shape, self._fill_value, self.dtype)
        return np.empty(plan.shape, self.dtype)

    # ── what is read ─────────────────────────────────────────────────────────────────────────────

    def _outer(self, key: tuple[Any, ...]) -> _Plan:
        """Plan a selection by numbers, slices and lists, each along its own axis."""
        ahead = self._slots.ndim
        places = [np.arange(n)[part] for part, n in zip(key, self._slots.shape, strict=False)]
        sides = [np.atleast_1d(place) for place in places]
        inner = [np.arange(n)[part].shape for part, n in zip(
            key[ahead:], self._members.shape, strict=True)]  # fmt: skip
        shape = tuple(side for sides in inner for side in sides)
        final = *(side for place in places for side in place.shape), *shape
        picked = self._slots[np.ix_(*sides)]
        if 0 in final:
            return _Plan(final, final, [])
        listed = any(isinstance(part, np.ndarray) for part in key[ahead:])
        indexer = (OuterIndexer if listed else BasicIndexer)(tuple(key[ahead:]))
        reads = [
            _Read(member, indexer, None, shape, targets)
            for member, targets in _targets(picked).items()
        ]
        return _Plan((*picked.shape, *shape), final, reads)

    def _vectorized(self, key: tuple[Any, ...]) -> _Plan:
        """Plan a selection by arrays that are broadcast against each other: points, or crops."""
        arrays = [
            np.where(part < 0, part + n, part) for part, n in zip(key, self.shape, strict=True)
        ]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        if 0 in shape:
            return _Plan(shape, shape, [])
        # xarray has each of them be of the whole shape, whatever it varies along.
        arrays = [_lean(np.broadcast_to(array, shape)) for array in arrays]
        ahead = self._slots.ndim
        picked = self._slots[tuple(np.broadcast_arrays(*arrays[:ahead]))]
        moving = [axis for axis, side in enumerate(picked.shape) if side > 1]
        inside = arrays[ahead:]
        if any(array.shape[axis] > 1 for array in inside for axis in moving):
            return _Plan(shape, shape, self._points(picked, inside, shape))
        # The same pixels of each member.
        indexer, order = _simplest(inside)
        one = np.broadcast_shapes(*(array.shape for array in inside)) if inside else ()
        reads = []
        for member, targets in _targets(picked).items():
            where = [
                tuple(
                    slice(i, i + 1) if axis in moving else slice(None)
                    for axis, i in enumerate(target)
                )
                for target in targets
            ]
            reads.append(_Read(member, indexer, order, one, where))
        return _Plan(shape, shape, reads)

    @staticmethod
    def _points(
        picked: NDArray[np.intp], inside: Sequence[NDArray[Any]], shape: tuple[int, ...]
    ) -> list[_Read]:
        """Plan a selection of other pixels in each member, point by point."""
        picked = np.broadcast_to(picked, shape)
        points = [np.broadcast_to(array, shape) for array in inside]
        reads = []
        for member in np.unique(picked[picked >= 0]).tolist():
            where = np.nonzero(picked == member)
            indexer = VectorizedIndexer(tuple(array[where] for array in points))
            reads.append(_Read(member, indexer, None, where[0].shape, [where]))
        return reads


def alone(variable: xr.Variable) -> xr.Variable:
    """Give a variable that one member is all of as what that member itself is.

    What reads it by chunks, or asks where it comes from, so finds an array and no bundle.
    """
    data: Any = variable._data  # noqa: SLF001 - `data` would load what is lazy
    while isinstance(data, (MemoryCachedArray, CopyOnWriteArray)):
        data = data.array
    if not isinstance(data, LazilyIndexedArray) or not isinstance(data.array, Bundle):
        return variable
    found = data.array.member(data.key.tuple)
    if found is None or found.dtype != variable.dtype:
        return variable
    inside = data.key.tuple[len(data.array.shape) - found.ndim :]
    lazy = LazilyIndexedArray(found, type(data.key)(inside))
    return xr.Variable(variable.dims, lazy, variable.attrs, variable.encoding)


def _targets(picked: NDArray[np.intp]) -> dict[int, list[tuple[int, ...]]]:
    """Give the positions of each member that is there."""
    targets: dict[int, list[tuple[int, ...]]] = {}
    for position, member in np.ndenumerate(picked):
        if member >= 0:
            targets.setdefault(int(member), []).append(position)
    return targets


def _lean(array: NDArray[Any]) -> NDArray[Any]:
    """Give an array that has length 1 along each axis along which it does not vary."""
    for axis, side in enumerate(array.shape):
        first = array.take([0], axis)
        if side > 1 and bool((array == first).all()):
            array = first
    return array


def _simplest(arrays: Sequence[NDArray[Any]]) -> tuple[ExplicitIndexer, tuple[int, ...] | None]:
    """Write arrays that are broadcast as lists along axes where they are that, and slices of these.

    Returns
    -------
    indexer, order
        Lists and slices are read faster than points; but the axes of the result are in the order of
        the arrays, so that they may have to be permuted.
    """
    along = [[axis for axis, side in enumerate(array.shape) if side > 1] for array in arrays]
    axes = [axis for one in along for axis in one]
    if any(len(one) > 1 for one in along) or len(set(axes)) < len(axes):
        return VectorizedIndexer(tuple(arrays)), None
    parts = [_part(array.ravel()) if one else int(array.flat[0]) for array, one in
             zip(arrays, along, strict=True)]  # fmt: skip
    listed = any(isinstance(part, np.ndarray) for part in parts)
    kind: Any = OuterIndexer if listed else BasicIndexer
    return kind(tuple(parts)), tuple(int(i) for i in np.argsort(axes))


def _part(numbers: NDArray[Any]) -> slice | NDArray[Any]:
    """Write a list of numbers as a slice, where it is one that ascends."""
    step = int(numbers[1] - numbers[0])
    if step > 0 and bool((np.diff(numbers) == step).all()):
        return slice(int(numbers[0]), int(numbers[-1]) + 1, step)
    return numbers
