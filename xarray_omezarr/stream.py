"""Plan → streamed blocks → commit.

A block is read, written as the finest level that it fills, reduced, written as the next one, and so
on: each pixel is read once, and what a worker holds at a time is in the plan. The tasks are dask's,
so that the same code runs on threads, on processes and on a cluster.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xarray_omezarr import reducers, spec, storage, transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    import zarr
    from dask.delayed import Delayed

    from xarray_omezarr.model import Image
    from xarray_omezarr.pyramid import Pass, Plan

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


class _Job:
    """What the tasks of one write share. Not a dataclass: dask would look into one."""

    def __init__(
        self,
        work: Work,
        target: transaction.Target,
        arrays: Sequence[zarr.Array[Any]],
        sources: Sequence[xr.Variable | None],
    ) -> None:
        self.plan = work.plan
        self.is_label = work.about is not None
        self.target = target
        self.arrays = arrays
        self.sources = sources
        self.attributes = spec.image_attributes(
            replace(
                work.image,
                levels=tuple(
                    replace(level, path=path)
                    for level, path in zip(work.image.levels, target.paths, strict=True)
                ),
            ),
            method=work.method,
            resized=work.resized,
            about=work.about,
        )

    def read(self, step: Pass, box: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Read a block of a pass's source."""
        if step.source is not None:
            return np.asarray(self.arrays[step.source][box])
        source = self.sources[step.levels[0] if len(self.sources) > 1 else 0]
        return np.asarray(cast("xr.Variable", source)[box].values)

    def fill(self, step: Pass, box: tuple[slice, ...], block: np.ndarray[Any, Any]) -> None:
        """Write a block and the levels that are reduced from it."""
        plan = self.plan
        factors = plan.levels[step.levels[0] if step.source is None else step.source].factors
        start = [s.start * f for s, f in zip(box, factors, strict=True)]
        for number in step.levels:
            finer, factors = factors, plan.levels[number].factors
            if factors != finer:
                relative = [f // g for f, g in zip(factors, finer, strict=True)]
                block = reducers.downsample(block, relative, plan.method, plan.boundary)
            if not block.size:
                return
            region = tuple(
                slice(s // f, s // f + n)
                for s, f, n in zip(start, factors, block.shape, strict=True)
            )
            self.arrays[number][region] = block


def _write_block(
    job: _Job,
    number: int,
    box: tuple[slice, ...],
    block: np.ndarray[Any, Any] | None,
    after: object,
) -> None:
    """Read, reduce and write one block; `after` is what has to be finished before."""
    del after
    step = job.plan.passes[number]
    job.fill(step, box, job.read(step, box) if block is None else np.asarray(block))


def _all_done(*tasks: object) -> None:
    """Wait for all blocks of a pass."""
    del tasks


def _finish(job: _Job, drop: Sequence[str], *after: object) -> None:
    """Make the arrays the image, or a label image of it."""
    del after
    transaction.commit(job.target, job.attributes)
    if job.is_label:
        transaction.list_label(job.target)
    if drop:
        transaction.drop_labels(job.target, drop)


def write(
    works: Sequence[Work],
    place: storage.Place,
    modes: Sequence[str],
    *,
    drop: Sequence[str],
    compute: bool,
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
    compute
        Whether to write now; else what comes back writes when it is computed.
    """
    from dask.delayed import delayed

    task: Any = None
    formats = [spec.ZARR_FORMATS[work.image.version] for work in works]
    # Whatever can be found wrong is found before anything is touched.
    metadata = [
        [
            transaction.array_metadata(work.plan, i, f, work.codecs)
            for i in range(len(work.plan.levels))
        ]
        for work, f in zip(works, formats, strict=True)
    ]
    targets = [
        transaction.prepare(
            place if work.label is None else place.below("labels", work.label),
            mode=mode,
            zarr_format=f,
            levels=len(work.plan.levels),
            label=work.about is not None,
        )
        for work, mode, f in zip(works, modes, formats, strict=True)
    ]
    for target in targets:
        transaction.claim(target)
    jobs, written = [], []
    for work, target, documents in zip(works, targets, metadata, strict=True):
        log.info("writing %s\n%s", target.place.name, work.plan)
        job, blocks = _graph(work, target, transaction.create_arrays(target, documents))
        jobs.append(job)
        written.append(blocks)
    # All pixels are there before anything is replaced: they may come from what is. Then the image
    # is first, and its labels after it.
    finish = delayed(_finish, pure=False)
    for work, job in zip(works, jobs, strict=True):
        task = finish(job, drop if work.label is None else (), task, *written)
    if not compute:
        return cast("Delayed", task)
    # A store in this process's memory is written to by this process.
    local = {"scheduler": "threads"} if storage.in_memory(place.store) else {}
    task.compute(**local)
    place.close()
    return None


def _graph(
    work: Work, target: transaction.Target, arrays: Sequence[zarr.Array[Any]]
) -> tuple[Any, Any]:
    """Build the tasks that write the pixels: one for each block, a pass after the other.

    Returns
    -------
    job, written
        What the tasks share, and the task that waits for them all.
    """
    from dask.delayed import delayed

    chunked = [source.chunks is not None for source in work.sources]
    sources = [None if c else s for s, c in zip(work.sources, chunked, strict=True)]
    job = delayed(_Job(work, target, arrays, sources), pure=False, traverse=False)
    write, wait = delayed(_write_block, pure=False), delayed(_all_done, pure=False)
    after: Any = None
    for number, step in enumerate(work.plan.passes):
        boxes = [tuple(slice(*side) for side in box) for box in step.boxes()]
        blocks: Sequence[Any] = [None] * len(boxes)
        origin = step.levels[0] if len(work.sources) > 1 else 0
        if step.source is None and chunked[origin]:
            data = work.sources[origin].data
            blocks = data.rechunk(step.block).to_delayed().ravel().tolist()
        tasks = [
            write(job, number, box, block, after) for box, block in zip(boxes, blocks, strict=True)
        ]
        after = wait(*tasks)
    return job, after
