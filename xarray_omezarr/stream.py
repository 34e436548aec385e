"""Plan → streamed blocks → commit.

A block is read tile by tile; a tile is written as the finest level that it fills, reduced, and what
that makes of it is written as the next one as soon as there is enough for whole chunks. So each
pixel is read once, and what a worker holds at a time is in the plan. The tasks are dask's, so that
the same code runs on threads, on processes and on a cluster.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from xarray_omezarr import (
    descriptions,
    pipelines,
    progress,
    reducers,
    sources,
    spec,
    storage,
    stores,
    transaction,
)
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.plan import relative, scaled, split

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    import xarray as xr
    import zarr
    from dask.delayed import Delayed

    from xarray_omezarr.model import Image
    from xarray_omezarr.plan import Box, Pass, Plan, Shape
    from xarray_omezarr.pyramid import Chunks
    from xarray_omezarr.reducers import Array

    #: Gives the pixels of a box of a pass's source.
    Read = Callable[[Box], Array]

log = logging.getLogger("xarray_omezarr")


@dataclass(frozen=True)
class Work:
    """One multiscale image to be written: all that is known before the store is touched."""

    plan: Plan
    sources: tuple[xr.Variable, ...]
    """The image itself; or all of its levels, where these are written as they are."""
    image: Image
    """Its levels have paths that the store has yet to give."""
    method: str | None
    """How the levels were made, where they are made anew."""
    resized: tuple[str, ...]
    """The axes that are not as long as they were when the image was opened."""
    codecs: Mapping[str, Any]
    label: str | None = None
    """The name of the label image that this is, below the image's own group."""
    about: Mapping[str, Any] | None = None
    """What there is to say of labels, `properties` and `colors` as JSON; None of other images."""

    def attributes(self, paths: Sequence[str]) -> dict[str, Any]:
        """Give the attributes of the group, once the paths of its datasets are known."""
        levels = tuple(
            replace(level, path=path) for level, path in zip(self.image.levels, paths, strict=True)
        )
        return descriptions.image_attributes(
            replace(self.image, levels=levels),
            method=self.method,
            resized=self.resized,
            about=self.about,
        )

    def metadata(self) -> list[bytes]:
        """Describe the arrays, as their metadata files will.

        Raises
        ------
        OmeZarrError
            Where Zarr cannot store one like that.
        """
        zarr_format = spec.ZARR_FORMATS[self.image.version]
        return [
            transaction.array_metadata(self.plan, i, zarr_format, self.codecs)
            for i in range(len(self.plan.arrays))
        ]

    def checks(self, documents: Sequence[bytes], labels: Sequence[str] = ()) -> dict[str, str]:
        """Give what tells this write from another, by what people call it."""
        tokens = [sources.token(source) for source in self.sources]
        blocks = [
            (step.source, step.levels, step.block, step.window, step.hands)
            for step in self.plan.passes
        ]
        return transaction.checks_of(
            {
                "plan of blocks": [self.plan.method, self.plan.boundary, blocks],
                "arrays (shape, type, chunks, codecs)": list(map(bytes.decode, documents)),
                "coordinates and metadata": self.attributes([""] * len(self.plan.levels)),
                "label images": list(labels),
                "source": tokens if any(tokens) else None,
                "graph of dask": [sources.graph(source) for source in self.sources],
            }
        )


@dataclass(frozen=True)
class Failure:
    """A block that could not be written."""

    place: str
    message: str


class Outcome:
    """What became of a block: what went wrong, and what it is on the level that is handed on."""

    def __init__(self, failures: Iterable[Failure] = (), part: Array | None = None) -> None:
        self.failures = tuple(failures)
        self.part = part


class Job:
    """What the tasks of one write share. Not a dataclass: dask would look into one."""

    def __init__(
        self,
        work: Work,
        target: transaction.Target,
        arrays: Sequence[zarr.Array[Any]],
        then: Callable[[], None] | None = None,
    ) -> None:
        self.plan = work.plan
        self.is_label = work.about is not None
        self.target = target
        self.arrays = arrays
        self.then = then
        """What is done once the image stands, and before nothing is left of the write."""
        # What comes from dask is handed to the tasks in pieces.
        self.sources = [None if s.chunks is not None else s for s in work.sources]
        chunks = [s.chunks for s in work.sources]
        self.ends = [
            [np.cumsum((0, *sizes)) for sizes in pieces]
            if (pieces := self._pieces(step, chunks)) is not None
            else None
            for step in self.plan.passes
        ]
        """Where the pieces that a pass is handed begin and end, along each axis."""
        self.dtypes = [s.dtype for s in work.sources]
        self.attributes = work.attributes(target.paths[: len(work.plan.levels)])

    def source(self, step: Pass) -> int:
        """Give the number of the source that a pass over the image reads."""
        return step.levels[0] if len(self.sources) > 1 else 0

    def _pieces(self, step: Pass, chunks: Sequence[Chunks | None]) -> Chunks | None:
        """Give the sizes of the pieces that a pass is handed, along each axis; None for none."""
        if step.source is not None:
            return None
        return chunks[self.source(step)] if step.parts is None else step.parts

    def write(self, number: int, index: int, pieces: Sequence[Array]) -> Outcome:
        """Write one block of a pass."""
        step = self.plan.passes[number]
        box = step.box(index)
        written: list[tuple[int, Box]] = []
        try:
            part = self._fill_block(step, box, self._reader(number, box, pieces), written)
            if self.target.fsync:
                for level, region in written:
                    storage.flush_chunks(self.arrays[level], region)
            transaction.record(self.target, number, index)
        except Exception as error:
            # The others go on; what they have written is there for the next attempt.
            log.debug("block %s of pass %s failed", index, number, exc_info=True)
            name = f"{self.target.place.name}/{self.target.paths[step.levels[0]]}"
            sides = [f"{dim} {a}:{b}" for dim, (a, b) in zip(self.plan.dims, box, strict=True)]
            place = f"{name} ({', '.join(sides)})"
            return Outcome([Failure(place, f"{type(error).__name__}: {error}")])
        return Outcome(part=part)

    def read_part(self, number: int, index: int) -> Outcome:
        """Give what a block that an earlier attempt has written becomes on the level handed on."""
        step = self.plan.passes[number]
        last = step.levels[-1]
        array = self.arrays[last]
        region = scaled(step.box(index), self.plan.base(step), self.plan.levels[last])
        return Outcome(part=self._reduced(pipelines.read_box(array, _slices(region)), step))

    def bytes(self, step: Pass, index: int) -> int:
        """Give the bytes of the pixels that a block of a pass writes."""
        box, base, arrays = step.box(index), self.plan.base(step), self.plan.arrays
        pixels = sum(_size(scaled(box, base, arrays[level])) for level in step.levels)
        return pixels * self.plan.dtype.itemsize

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _reader(self, number: int, box: Box, pieces: Sequence[Array]) -> Read:
        step = self.plan.passes[number]
        if step.source is not None:
            array = self.arrays[step.source]
            return lambda part: pipelines.read_box(array, _slices(part))
        # The source has but the pixels of the window.
        origin = _starts(step.window)
        ends = self.ends[number]
        if ends is not None:
            dtype = np.dtype(self.dtypes[self.source(step)]) if step.parts is None else None
            held = dict(zip(self.wanted(number, box), pieces, strict=True))
            return _Pieces(held, ends, origin, dtype).read
        source = cast("xr.Variable", self.sources[self.source(step)])
        return lambda part: np.asarray(source[_slices(_shifted(part, origin))].values)

    def _around(self, step: Pass, box: Box) -> Box:
        return _extended(box, step.halo, step.shape)

    def wanted(self, number: int, box: Box) -> Iterator[tuple[int, ...]]:
        """Yield the indices of the pieces that a block is handed."""
        step = self.plan.passes[number]
        local = _shifted(self._around(step, box), _starts(step.window))
        return _indices(_touched(self.ends[number] or (), local))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _fill_block(
        self, step: Pass, box: Box, read: Read, written: list[tuple[int, Box]]
    ) -> Array | None:
        details = self.plan.method == "laplacian" and step.levels[0] < len(self.plan.levels)
        fill = self._differ if details else self._fill
        parts = _Mosaic()
        for tile in split(box, step.tiles[-1]):
            pixels = fill(step, len(step.chain) - 1, tile, read, written)
            if step.hands is not None and pixels is not None:
                region = scaled(tile, self.plan.base(step), self.plan.levels[step.hands])
                parts.add(region, self._reduced(pixels, step))
        if step.hands is None:
            return None
        return parts.whole(scaled(box, self.plan.base(step), self.plan.levels[step.hands]))

    def _reduced(self, pixels: Array, step: Pass) -> Array:
        """Reduce the last level that a pass fills to the one that it hands on."""
        assert step.hands is not None  # noqa: S101 - or nobody asks
        levels = self.plan.levels
        ratio = relative(levels[step.levels[-1]], levels[step.hands])
        return reducers.downsample(pixels, ratio, self.plan.method, self.plan.boundary)

    def _fill(
        self, step: Pass, depth: int, box: Box, read: Read, written: list[tuple[int, Box]]
    ) -> Array:
        """Write a box of a level, and of all finer ones that the pass fills; give its pixels."""
        plan, number = self.plan, step.chain[depth]
        base, level = plan.base(step), plan.arrays[number]
        if not depth:
            pixels = read(self._around(step, box))
            if step.source is None:
                self._store(number, box, pixels, written)
            return pixels
        target = scaled(box, base, level)
        ratio = relative(plan.arrays[step.chain[depth - 1]], level)
        halo = step.halo if depth == 1 else (0,) * len(box)
        parts = _Mosaic()
        for tile in split(box, step.tiles[depth - 1]):
            finer = self._fill(step, depth - 1, tile, read, written)
            part = reducers.downsample(finer, ratio, plan.method, plan.boundary)
            region = scaled(tile, base, level)
            if any(halo):
                around = scaled(_extended(tile, halo, step.shape), base, level)
                part = part[_slices(_shifted(region, _starts(around)))]
            parts.add(region, part)
        result = parts.whole(target)
        self._store(number, target, result, written)
        return result

    def _differ(
        self, step: Pass, depth: int, box: Box, read: Read, written: list[tuple[int, Box]]
    ) -> None:
        """Write what a level differs by from the smoothed one, and that one, reduced."""
        del depth
        plan = self.plan
        base = plan.base(step)
        number, *further = step.levels
        coarser = plan.arrays[further[0]] if further else base
        parts = _Mosaic()
        ratio = relative(base, coarser) if further else relative(plan.levels[number - 1], base)
        for tile in split(box, step.tiles[0]):
            around = self._around(step, tile)
            difference, reduced = reducers.laplacian(read(around), ratio, plan.boundary)
            difference = difference[_slices(_shifted(tile, _starts(around)))]
            self._store(number, tile, difference, written)
            if further:
                region, wide = scaled(tile, base, coarser), scaled(around, base, coarser)
                parts.add(region, reduced[_slices(_shifted(region, _starts(wide)))])
        if further:
            region = scaled(box, base, coarser)
            self._store(further[0], region, parts.whole(region), written)

    def _store(self, number: int, box: Box, pixels: Array, written: list[tuple[int, Box]]) -> None:
        if pixels.size:
            pixels = pixels.astype(self.plan.dtype, copy=False)
            pipelines.write_box(self.arrays[number], _slices(box), pixels)
            written.append((number, box))


class _Mosaic:
    """Parts that are put together to one array."""

    def __init__(self) -> None:
        self.parts: list[tuple[Box, Array]] = []

    def add(self, region: Box, part: Array) -> None:
        """Add a part, and where it belongs."""
        self.parts.append((region, part))

    def whole(self, region: Box) -> Array:
        """Give what the parts make of a region: the part itself, where one is all of it."""
        if len(self.parts) == 1 and self.parts[0][0] == region:
            return self.parts[0][1]
        result = np.empty([b - a for a, b in region], self.parts[0][1].dtype)
        for place, part in self.parts:
            result[_slices(_shifted(place, _starts(region)))] = part
        return result


class _Pieces:
    """Whole chunks of a source from dask, as if they were one array."""

    def __init__(
        self,
        pieces: Mapping[tuple[int, ...], Array],
        ends: Sequence[np.ndarray[Any, Any]],
        origin: Sequence[int],
        dtype: np.dtype[Any] | None,
    ) -> None:
        self.pieces = pieces
        self.ends = ends
        self.origin = origin
        self.dtype = dtype

    def read(self, part: Box) -> Array:
        """Give the pixels of a box: a view, where one piece has them all."""
        box = _shifted(part, self.origin)
        found = _Mosaic()
        for index in _indices(_touched(self.ends, box)):
            piece = np.asarray(self.pieces[index])
            starts = [int(e[i]) for e, i in zip(self.ends, index, strict=True)]
            shape = tuple(int(e[i + 1] - e[i]) for e, i in zip(self.ends, index, strict=True))
            if piece.shape != shape or self.dtype not in (None, piece.dtype):
                msg = (
                    f"chunk {index} of the dask array is {piece.dtype} of shape {piece.shape}, "
                    f"which was said to be {self.dtype} of shape {shape}"
                )
                raise ValueError(msg)
            inside = tuple(
                (max(a, s), min(b, s + n))
                for (a, b), s, n in zip(box, starts, piece.shape, strict=True)
            )
            found.add(inside, piece[_slices(_shifted(inside, starts))])
        return found.whole(box)


def _touched(ends: Sequence[np.ndarray[Any, Any]], box: Box) -> list[range]:
    """Give the chunks along each axis that a box touches."""
    return [
        range(
            int(np.searchsorted(along, start, side="right")) - 1,
            int(np.searchsorted(along, stop, side="left")),
        )
        for along, (start, stop) in zip(ends, box, strict=True)
    ]


def _indices(ranges: Sequence[range]) -> Iterator[tuple[int, ...]]:
    for index in np.ndindex(*map(len, ranges)):
        yield tuple(side[i] for side, i in zip(ranges, index, strict=True))


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in box)


def _starts(box: Box) -> list[int]:
    return [start for start, _ in box]


def _shifted(box: Box, origin: Sequence[int]) -> Box:
    return tuple((a - o, b - o) for (a, b), o in zip(box, origin, strict=True))


def _extended(box: Box, halo: Shape, shape: Shape) -> Box:
    return tuple(
        (max(a - h, 0), min(b + h, n)) for (a, b), h, n in zip(box, halo, shape, strict=True)
    )


def _size(box: Box) -> int:
    size = 1
    for start, stop in box:
        size *= stop - start
    return size


# ── the tasks ────────────────────────────────────────────────────────────────────────────────────


def _write_block(
    job: Job, number: int, index: int, pieces: Sequence[Any], failed: Sequence[Failure]
) -> Outcome:
    """Read, reduce and write one block, unless what it is made of is not all there."""
    handed = [piece for piece in pieces if isinstance(piece, Outcome)]
    failures = [*failed, *(failure for piece in handed for failure in piece.failures)]
    if failures:
        return Outcome(failures)
    parts = [piece.part for piece in handed if piece.part is not None]
    return job.write(number, index, parts or pieces)


def _begin(job: Job) -> list[Failure]:
    """Check, where time has passed, that it is still this write's turn; nothing has failed yet."""
    if not job.target.committed:
        try:
            with transaction.held(job.target):
                pass
        except transaction.TakenError as error:
            msg = (
                f"{job.target.place.name} was written to by somebody else since this task was "
                "made, or it has been computed before. Nothing was changed; call to_zarr() again."
            )
            raise transaction.TakenError(msg) from error
    return []


def _read_part(job: Job, number: int, index: int) -> Outcome:
    """Give what a block that is written already hands on."""
    return job.read_part(number, index)


def _wait(outcomes: Sequence[Outcome], before: Sequence[Failure]) -> list[Failure]:
    """Wait for all blocks of a pass, and tell which failed."""
    found = [*before, *(failure for outcome in outcomes for failure in outcome.failures)]
    return list(dict.fromkeys(found))


def check_written(jobs: Sequence[Job], failed: Sequence[Sequence[Failure]]) -> None:
    """Check that all blocks are written.

    Raises
    ------
    OmeZarrError
        Which tells how many are not, and of the first why.
    """
    failures = [failure for some in failed for failure in some]
    if failures:
        total = sum(job.plan.tasks for job in jobs)
        first = failures[0]
        way = (
            "The others are kept, and nothing that is unfinished reads as finished: once that is "
            "mended, write again with resume=True."
            if stores.keeps(jobs[0].target.place)
            else "Nothing is left of the others: once that is mended, write again."
        )
        msg = (
            f"{len(failures)} of {total} blocks could not be written, the first of them "
            f"{first.place}: {first.message}. {way}"
        )
        raise OmeZarrError(msg)
    for job in jobs:
        if not job.target.committed:
            transaction.check_complete(job.target, job.plan.tasks)


def finished(jobs: Sequence[Job], failed: Sequence[Sequence[Failure]]) -> None:
    """Make the arrays the image and its label images.

    All pixels are there before anything is replaced: they may come from what is.
    """
    with transaction.tidied([job.target for job in jobs]):
        check_written(jobs, failed)
    _conclude(jobs)


def _conclude(jobs: Sequence[Job]) -> None:
    with transaction.tidied([job.target for job in jobs]):
        _commit(jobs[0])
    lost: list[transaction.TakenError] = []
    for job in jobs[1:]:
        try:
            _commit(job)
        except transaction.TakenError as error:
            transaction.give_up(job.target)
            lost.append(error)
    if jobs[0].target.dropped:
        transaction.drop_labels(jobs[0].target)
    if jobs[0].then is not None:
        jobs[0].then()
    # The journal of the image goes last: until then, it says that something is left to do.
    for job in reversed(jobs):
        transaction.clean(job.target)
    if lost:
        raise lost[0]


def _commit(job: Job) -> None:
    if job.target.committed:
        transaction.settle(job.target)
    else:
        transaction.commit(job.target, job.attributes)
    if job.is_label:
        transaction.list_label(job.target)


def write(
    works: Sequence[Work],
    place: stores.Place,
    modes: Sequence[str],
    *,
    drop: Sequence[str],
    running: Running,
    finish: Callable[..., None] | None = None,
    then: Callable[[], None] | None = None,
) -> Delayed | None:
    """Write an image and its label images.

    Parameters
    ----------
    works
        The image, and its label images after it.
    place
        The group of the image.
    modes
        "w-" or "w", for each of them.
    drop
        The label images that are removed once the image stands.
    running
        How the tasks are run.
    finish
        What makes of the arrays the image, once all tasks have been run, if not the usual.
    then
        What lists the image above, once it stands: that makes the groups above, too.
    """
    # Whatever can be found wrong is found before anything is touched.
    _check_layout(works, running)
    labels = sorted(work.label for work in works if work.label is not None)
    metadata = [work.metadata() for work in works]
    targets: list[transaction.Target] = []
    for work, mode, documents in zip(works, modes, metadata, strict=True):
        target = transaction.prepare(
            place if work.label is None else place.below("labels", work.label),
            mode=mode,
            zarr_format=spec.ZARR_FORMATS[work.image.version],
            levels=len(work.plan.levels),
            scratch=len(work.plan.scratch),
            label=work.about is not None,
            checks=work.checks(documents, labels),
            resume=running.resume,
            fsync=running.fsync,
            drop=() if targets else drop,
            leader=targets[0] if targets else None,
        )
        targets.append(target)
    targets = [replace(one, listed=then is not None) for one in transaction.together(targets)]
    jobs: list[Job] = []
    with storage.explained(place):
        transaction.claim_all(targets)
    with storage.explained(place), transaction.tidied(targets):
        for work, target, documents in zip(works, targets, metadata, strict=True):
            log.info("writing %s\n%s", target.place.name, work.plan)
            arrays = transaction.create_arrays(target, documents)
            jobs.append(Job(work, target, arrays, None if jobs else then))
        if running.layout:
            _lay_out(jobs, visible=running.layout == "visible")
            place.close()
            return None
    return run(jobs, works, finish or finished, place, running)


def _check_layout(works: Sequence[Work], running: Running) -> None:
    if running.layout not in (False, True, "visible"):
        msg = f"layout={running.layout!r} is not known; expected True, False or 'visible'."
        raise OmeZarrError(msg)
    if running.layout and not running.compute:
        msg = "layout= writes no pixels that compute=False could put off. Leave one of them out."
        raise OmeZarrError(msg)
    if running.layout and any(work.plan.method == "laplacian" for work in works):
        msg = "layout= is for images that are written in regions, which a Laplacian pyramid is not."
        raise OmeZarrError(msg)


def _lay_out(jobs: Sequence[Job], *, visible: bool) -> None:
    """Leave the arrays empty: as an image of zeros, or as none until regions have filled it."""
    if visible:
        _conclude(jobs)
        return
    for job in jobs:
        if job.target.laid_out:
            continue
        transaction.lay_out(job.target, job.attributes, job.plan.levels[0].shape)


@dataclass(frozen=True)
class Running:
    """How the tasks of a write are run."""

    compute: bool = True
    """Whether to write now; else what comes back writes when it is computed."""
    progress: bool = False
    fsync: bool = False
    resume: bool = False
    layout: bool | Literal["visible"] = False
    """Whether only empty arrays are written, and whether these are an image at once."""


def run(
    jobs: Sequence[Job],
    works: Sequence[Work],
    finish: Callable[..., None],
    place: stores.Place,
    running: Running,
) -> Delayed | None:
    """Run the tasks of some jobs, and what finishes them; or give the task that does so."""
    task, blocks = _graph(jobs, works, finish, compute=running.compute)
    if not running.compute:
        return task
    # A store in this process's memory is written to by this process.
    here = stores.in_memory(place.store)
    progress.compute(task, blocks, here=here, bar=running.progress)
    place.close()
    return None


def _graph(
    jobs: Sequence[Job],
    works: Sequence[Work],
    finish: Callable[..., None],
    *,
    compute: bool,
) -> tuple[Delayed, dict[Hashable, int]]:
    """Build the tasks: one for each block, a pass after the other, and one that finishes them.

    The graph is built by hand: its size, and the time it takes, grow with the blocks alone.

    Returns
    -------
    task, blocks
        The last task; and the keys of those that write blocks, with the bytes that these write.
    """
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    delayed: Any = Delayed
    layer: dict[Any, Any] = {}
    dependencies = []
    waits, names = [], []
    blocks: dict[Hashable, int] = {}
    for job, work in zip(jobs, works, strict=True):
        name = f"omezarr-{job.target.owner}"
        names.append(f"{name}-job")
        layer[names[-1]] = job
        data = [_chunked(source) for source in work.sources]
        # What is in memory whole stays out of the graph: dask may or may not cull all of it.
        dependencies += [a for a, known in data if a is not None and len(known) < a.npartitions]
        before: Any = []
        if not compute:
            before = f"{name}-begin"
            layer[before] = (_begin, names[-1])
        unclaimed: set[Hashable] = set()
        for number, step in enumerate(() if job.target.committed else work.plan.passes):
            handed = step.parts is not None
            lazy = step.source is None and not handed
            array, known = data[job.source(step)] if lazy else (None, {})
            keys = []
            for index in range(step.blocks):
                key = (name, number, index)
                if (number, index) in job.target.done:
                    if step.hands is not None:
                        layer[key] = (_read_part, names[-1], number, index)
                    continue
                pieces: list[Any] = []
                if handed:
                    grid = [len(side) for side in work.plan.passes[number - 1].grid]
                    pieces = [
                        (name, number - 1, int(np.ravel_multi_index(piece, grid)))
                        for piece in job.wanted(number, step.box(index))
                    ]
                    unclaimed.difference_update(pieces)
                elif array is not None:
                    wanted = [(array.name, *p) for p in job.wanted(number, step.box(index))]
                    pieces = [known.get(key, key) for key in wanted]
                layer[key] = (_write_block, names[-1], number, index, pieces, before)
                blocks[key] = job.bytes(step, index)
                keys.append(key)
            # What is handed on is waited for by those who take it, and is gone after that. Where it
            # is no pixel of the next level, nobody takes it.
            if step.hands is not None:
                unclaimed.update(keys)
                continue
            layer[f"{name}-pass-{number}"] = (_wait, [*keys, *unclaimed], before)
            before = f"{name}-pass-{number}"
            unclaimed.clear()
        waits.append(before)
    last = f"omezarr-{jobs[0].target.owner}-finish"
    layer[last] = (_call, finish, names, waits)
    graph = HighLevelGraph.from_collections(last, layer, dependencies=dependencies)
    return delayed(last, graph), blocks


def _chunked(source: xr.Variable) -> tuple[Any, Mapping[Any, Array]]:
    """Give an array of dask as it is read, and its chunks that are in memory; None for others."""
    import dask

    untyped: Any = dask
    if source.chunks is None:
        return None, {}
    (array,) = untyped.optimize(source.data)
    return array, sources.known_chunks(array)


def _call(
    finish: Callable[..., None], jobs: Sequence[Job], failed: Sequence[Sequence[Failure]]
) -> None:
    with storage.explained(jobs[0].target.place):
        finish(jobs, failed=failed)
