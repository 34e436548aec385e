"""What the pixels of labels add up to: runs, their sums by label, and how sums are merged.

Labels come in runs along the last axis, and a run is as good as its pixels: where it starts, how
long it is, the sum of what lies below it. Each block gives the sums of its runs by label, and the
sums of blocks are merged by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Part = dict[str, NDArray[Any]]
    """Rows, one for each label in column "id", of what its pixels add up to."""

#: Pixels that are worked on at a time.
SLAB = 2**19


@dataclass(frozen=True)
class Job:
    """What is asked of each block."""

    dims: tuple[str, ...]
    image_dims: tuple[str, ...] | None
    channel: str | None
    wanted: frozenset[str] = frozenset()


def measure_block(
    job: Job,
    origin: Mapping[str, int],
    labels: NDArray[Any],
    pixels: NDArray[Any] | None,
    *,
    shapes: bool,
) -> dict[int | None, Part]:
    """Sum up one block. The labels' own sums are left out where another block gives them."""
    channel = job.channel
    dims = tuple(dim for dim in job.dims if dim != channel)
    by_channel = np.moveaxis(labels, job.dims.index(channel), 0) if channel in job.dims else None
    planes: NDArray[Any] | None = None
    if pixels is not None and job.image_dims is not None:
        # To channel, all that the labels do not have, and the labels' own order.
        extra = [dim for dim in job.image_dims if dim not in job.dims and dim != channel]
        order = [*([channel] if channel else []), *extra, *dims]
        planes = np.transpose(pixels, [job.image_dims.index(dim) for dim in order])
        planes = planes.reshape(planes.shape[0] if channel else 1, -1, *planes.shape[-len(dims) :])
    first = origin.get(channel, 0) if channel else 0
    found: dict[int | None, list[Part]] = {None: []}
    for c, one in enumerate([labels] if by_channel is None else by_channel):
        rows = np.ascontiguousarray(one).reshape(-1, one.shape[-1])
        below = {}
        if planes is not None:
            which = range(planes.shape[0]) if by_channel is None else [c]
            below = {first + i: planes[i].reshape(planes.shape[1], *rows.shape) for i in which}
        step = max(1, SLAB // max(1, rows.shape[1]))
        for row in range(0, rows.shape[0], step):
            slab = Runs.of(rows[row : row + step])
            if not len(slab.ids):
                continue
            if shapes:
                corner = [origin[dim] for dim in dims]
                part = slab.shapes(job.wanted, dims, row, one.shape, corner)
                found[None].append(_grouped(part))
            for i, planes_of in below.items():
                for plane in planes_of:
                    part = slab.values(job.wanted, plane[row : row + step].reshape(-1))
                    found.setdefault(i, []).append(_grouped(part))
    nothing = np.zeros((0, *labels.shape[1:]), labels.dtype).reshape(0, 1)
    empty = Runs.of(nothing).shapes(job.wanted, dims, 0, labels.shape, [0] * len(dims))
    found[None] = found[None] or [empty]
    return {i: _combined(parts) for i, parts in found.items()}


@dataclass(frozen=True)
class Runs:
    """Runs of pixels of one label, background left out, along the rows of a slab."""

    ids: NDArray[Any]
    starts: NDArray[np.intp]
    lengths: NDArray[np.int64]
    kept: NDArray[np.bool_]
    all_starts: NDArray[np.intp]
    all_lengths: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Runs:
        """Find the runs in rows of labels."""
        flat = rows.reshape(-1)
        new = np.ones(flat.size, np.bool_)
        np.not_equal(flat[1:], flat[:-1], out=new[1:])
        new[:: rows.shape[1]] = True
        starts = np.flatnonzero(new)
        lengths = np.diff(starts, append=flat.size)
        values = flat[starts]
        kept = values != 0
        # Signed stays signed: the sum of the two would be float64.
        ids = values[kept].astype(np.int64 if values.dtype.kind == "i" else np.uint64)
        return cls(ids, starts[kept], lengths[kept], kept, starts, lengths)

    def shapes(
        self,
        wanted: frozenset[str],
        dims: Sequence[str],
        row: int,
        shape: Sequence[int],
        corner: Sequence[int],
    ) -> Part:
        """Give what the labels alone tell, for the slab that begins with the given row."""
        part: Part = {"id": self.ids, "count": self.lengths}
        if not wanted & {"bbox", "centroid"} or not len(self.ids):
            places: Sequence[NDArray[Any]] = [np.zeros(0, np.int64)] * len(dims)
        else:
            places = np.unravel_index(self.starts + row * shape[-1], shape)
        for axis, (dim, place, offset) in enumerate(zip(dims, places, corner, strict=True)):
            begin = place + offset
            more = self.lengths - 1 if axis == len(dims) - 1 else 0
            if "centroid" in wanted:
                part[f"add {dim}"] = begin * self.lengths + self.lengths * more // 2
            if "bbox" in wanted:
                part[f"min {dim}"], part[f"max {dim}"] = begin, begin + more
        return part

    def values(self, wanted: frozenset[str], flat: NDArray[Any]) -> Part:
        """Give what the values below the labels add up to."""
        starts, kept = self.all_starts, self.kept
        counts = self.all_lengths
        part: Part = {"id": self.ids}
        if flat.dtype.kind == "b":
            flat = flat.view(np.uint8)
        if flat.dtype.kind == "f":
            flat = flat.astype(np.float64)
        summed = zeroed = flat
        if flat.dtype.kind == "f" and (missing := np.isnan(flat)).any():
            counts = counts - np.add.reduceat(missing, starts, dtype=np.int64)
            zeroed = np.where(missing, 0.0, flat)
        narrow = flat.dtype.kind in "iu" and flat.dtype.itemsize <= 4  # noqa: PLR2004
        part["n"] = counts[kept]
        if wanted & {"mean", "std", "sum"}:
            # 32-bit integers cannot overflow 64 bits; wider ones can.
            kind = np.int64 if narrow else np.float64
            summed = np.add.reduceat(zeroed, starts, dtype=kind)
            part["sum"] = summed[kept]
        if "std" in wanted and flat.dtype.kind in "iu" and flat.dtype.itemsize <= 2:  # noqa: PLR2004
            wide = flat.astype(np.int64)
            part["squares"] = np.add.reduceat(wide * wide, starts)[kept]
        elif "std" in wanted:
            with np.errstate(invalid="ignore"):
                centre = summed / np.maximum(counts, 1)
                off = zeroed - np.repeat(centre, self.all_lengths)
                if zeroed is not flat:
                    off[missing] = 0
                part["centre"] = centre[kept]
                part["rest"] = np.add.reduceat(off, starts)[kept]
                part["spread"] = np.add.reduceat(off * off, starts)[kept]
        if "min" in wanted:
            part["min"] = np.fmin.reduceat(flat, starts)[kept]
        if "max" in wanted:
            part["max"] = np.fmax.reduceat(flat, starts)[kept]
        return part


def _grouped(rows: Part) -> Part:
    """Merge the rows of each label, in the order in which they stand."""
    order = np.argsort(rows["id"], kind="stable")
    ids = rows["id"][order]
    new = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    found: Part = {"id": ids[starts]}
    if not len(ids):
        return rows
    for name, values in rows.items():
        if name not in {"id", "centre", "rest", "spread"}:
            rule = {"min": np.fmin, "max": np.fmax}.get(name.partition(" ")[0], np.add)
            found[name] = rule.reduceat(values[order], starts)
    if "spread" in rows:
        # Squares about the groups' own centres are moved to a common one (after Chan, Golub and
        # LeVeque 1983), so that nothing large is taken from anything large. A centre is rounded: by
        # how much it is off its mean, times n, is the rest.
        count, centre, rest = (rows[name][order] for name in ("n", "centre", "rest"))
        sizes = np.diff(starts, append=len(ids))
        with np.errstate(invalid="ignore"):
            off = centre - np.repeat(centre[starts], sizes)
            common = np.add.reduceat(count * off, starts) / np.maximum(found["n"], 1)
            found["centre"] = centre[starts] + common
            off = centre - np.repeat(found["centre"], sizes)
            moved = rows["spread"][order] + off * (2 * rest + count * off)
            found["rest"] = np.add.reduceat(rest + count * off, starts)
            found["spread"] = np.add.reduceat(moved, starts)
    return found


def _combined(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    filled = [part for part in parts if len(part["id"])] or parts[:1]
    return _grouped({name: np.concatenate([part[name] for part in filled]) for name in filled[0]})


def merge(results: Sequence[Mapping[int | None, Part]]) -> dict[int | None, Part]:
    """Merge what several blocks gave, in their order."""
    keys = dict.fromkeys(key for result in results for key in result)
    return {key: _combined([r[key] for r in results if key in r]) for key in keys}


def column(name: str, part: Part) -> NDArray[Any]:
    """Give a property of the values below each label."""
    if name in {"min", "max", "sum"}:
        return part[name]
    count = part["n"]
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "mean":
            return part["sum"] / count
        if "squares" not in part:
            spread = part["spread"] - part["rest"] * (part["rest"] / count)
            return np.sqrt(np.maximum(spread, 0) / count)
    # Exactly: the sum of squares about an integer next to the mean (modulo 2⁶⁴ it may overflow on
    # the way), less what that integer is off.
    total = part["sum"]
    middle = np.rint(total / count).astype(np.int64)
    rest = total - middle * count
    about = part["squares"] - 2 * middle * total + count * middle * middle
    spread = about.view(np.uint64) - rest * (rest / count)
    return np.sqrt(np.maximum(spread, 0) / count)
