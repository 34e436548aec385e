"""Label images and their tables: measure labels, paint a property onto the pixels, colour them.

An image is gone through once, block by block, whatever its size.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xarray_omezarr import coordinates, runs, slots
from xarray_omezarr.composite import distinct_colors
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.lookup import LookUp, ranks_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from numpy.typing import NDArray

    from xarray_omezarr.model import Axis
    from xarray_omezarr.runs import Part

    Color = str | Sequence[float]
    Colormap = Callable[[NDArray[Any]], NDArray[Any]]
    Colors = str | Mapping[int, Color] | Sequence[Color] | Colormap

#: What partial sums can give; those of the label image, then those of the image below it.
SHAPES = ("area", "bbox", "centroid", "count")
INTENSITIES = ("max", "mean", "min", "std", "sum")

#: Pixels that a block of an array without chunks has.
_BLOCK = 2**22
#: Partial results that are merged at a time.
_FAN = 8
#: Integers below this are exact in float64.
_EXACT = 2**53


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def label_ids(ds: xr.Dataset, label: str) -> NDArray[np.int64] | NDArray[np.uint64]:
    """Give the labels of a label image, without the background.

    They are those of its table, the index coordinate ``<label>_id``, as they stand there. Without
    a table they are found in the pixels, each block of which is read once.

    Parameters
    ----------
    ds : xarray.Dataset
        With the label image as a variable.
    label : str
        Its name.

    Returns
    -------
    numpy.ndarray
        int64; uint64 where one is beyond int64. Ascending where they come from the pixels.

    Raises
    ------
    OmeZarrError
        Where there is no such label image.

    Examples
    --------
    >>> label_ids(samples.astronaut(), "circles")
    array([1, 2, 3])
    """
    variable = label_image(ds, label)
    ids = _index(ds, label)
    if ids is None:
        job = runs.Job(tuple(map(str, variable.dims)), None, None)
        ids = _smallest(_gather(job, variable, None)[None]["id"])
    return cast("NDArray[np.int64] | NDArray[np.uint64]", ids[ids != 0])


def label_image(ds: xr.Dataset, label: str) -> xr.DataArray:
    """Give the variable of a label image; the message says which ones there are."""
    known = coordinates.label_images(ds) or {
        str(name): variable
        for name, variable in ds.data_vars.items()
        if variable.ndim > 1 and variable.dtype.kind in "iu" and name != coordinates.IMAGE
    }
    # A list, to find what has no hash as well.
    if label not in list(ds.data_vars):
        there = ", ".join(known) or "none"
        msg = f"There is no label image {label!r:.80} in this Dataset; there are: {there}."
        raise OmeZarrError(msg)
    variable = ds[label]
    if variable.dtype.kind not in "iu" or not variable.ndim:
        there = ", ".join(name for name in known if name != label) or "none"
        what = f"of type {variable.dtype}" if variable.ndim else "a single value"
        msg = (
            f"'{label}' is no label image: it is {what}, and labels are integers, one for each "
            f"pixel (.astype('uint32') makes them); other label images: {there}."
        )
        raise OmeZarrError(msg)
    return variable


def _index(ds: xr.Dataset, label: str) -> NDArray[Any] | None:
    """Give the label values of the table of a label image, if it has one."""
    dim = f"{label}_id"
    if dim not in ds.coords:
        if dim in ds.dims:
            msg = (
                f"Dimension '{dim}' has no coordinate to say which labels its values are of: "
                f".assign_coords({dim}=…)."
            )
            raise OmeZarrError(msg)
        return None
    values = np.asarray(ds.coords[dim].values)
    if ds.coords[dim].dims != (dim,) or values.dtype.kind not in "iu":
        msg = (
            f"The coordinate '{dim}' is of type {values.dtype} along {ds.coords[dim].dims}; "
            "expected integers, the label values, along itself."
        )
        raise OmeZarrError(msg)
    # A table without rows has no type of its own either.
    return _smallest(values)


def _smallest(ids: NDArray[Any]) -> NDArray[Any]:
    """Give integers as int64, or as uint64 where one is beyond it."""
    beyond = ids.dtype.kind == "u" and bool((ids > np.iinfo(np.int64).max).any())
    return ids.astype(np.uint64 if beyond else np.int64)


# ── measure ──────────────────────────────────────────────────────────────────────────────────────


def measure(
    ds: xr.Dataset,
    label: str,
    properties: str | Sequence[str],
    image: str | None = coordinates.IMAGE,
) -> xr.Dataset:
    """Measure each label, and join what comes out as variables along ``<label>_id``.

    Positions and sizes are in the units of the coordinates. A time axis that the label image has
    counts like any other: select one time first for the areas at it.

    ========== ================================ ====================================================
    property   variables                        what it is
    ========== ================================ ====================================================
    area       ``nuclei_area``                  pixels times pixel size along the axes of space:
                                                unit² of an image, unit³ (a volume) of a stack
    bbox       ``nuclei_bbox_y_min``, ``…_max`` outer edges of the outermost pixels, per axis: half
                                                a pixel beyond their centres; min is always below
                                                max
    centroid   ``nuclei_centroid_y``, …         mean position of the pixels' centres, per axis
    count      ``nuclei_count``                 number of pixels of the label image
    max, min   ``nuclei_max``, …                of the image's values below the label
    mean, std  ``nuclei_mean``, …               of the same; std is that of the pixels themselves
                                                (``ddof=0``)
    sum        ``nuclei_sum``                   of the same, not multiplied by the pixel size
    ========== ================================ ====================================================

    Of an image with a channel axis, each channel has variables of its own, with its label or, in
    want of that, its number at the end: ``nuclei_mean_DAPI``. Along other axes that the label image
    does not have, its labels hold everywhere: an image of several times and labels of none give
    one mean over all times. NaN counts as missing. The median and other quantiles are not to be had
    from partial sums.

    Parameters
    ----------
    ds : xarray.Dataset
        With the label image as a variable: in memory, lazy or dask. Each block is read once; what
        is held is a few blocks and sums, where the chunks of label image and image divide one
        another, else all that lies between boundaries that they share.
    label : str
        The name of the label image.
    properties : str or sequence of str
        Some of those above.
    image : str, optional
        The variable whose values are measured; None for the only one that it can be. It is asked
        for only by properties of values.

    Returns
    -------
    xarray.Dataset
        A new Dataset. Integers are int64 (uint64 where one is beyond), all else float64. An index
        ``<label>_id`` that is not there yet is made of the labels in the pixels. One that is there
        stays as it is: its labels without a pixel have gaps, which are NaN, or 0 beside a boolean
        ``…_present`` where integers are too large for float64; labels it does not have are left
        out with a warning. Variables of the same names are replaced.

    Raises
    ------
    OmeZarrError
        Where there is no such label image, image or property; where the label image has a
        dimension that the image lacks; where a position is asked for along an axis that is not
        evenly spaced.

    Examples
    --------
    >>> ds = measure(samples.coins(), "coins", ["area", "centroid", "mean"])
    >>> table = ds[["coins_area", "coins_centroid_y", "coins_mean"]].to_dataframe()
    >>> table.round(2).head(2)
              coins_area  coins_centroid_y  coins_mean
    coins_id
    1             ...
    2             ...
    """
    wanted = _checked([properties] if isinstance(properties, str) else properties)
    labels = label_image(ds, label)
    if slots.is_stack(labels):
        # Each field counts its labels from 1.
        msg = (
            f"'{label}' has the labels of several fields of a plate, each with numbers of its own: "
            "measure one of them (.isel of its well and field), or all by "
            "xarray_omezarr.map_fields, which makes one table."
        )
        raise OmeZarrError(msg)
    index = _index(ds, label)
    pixels = None
    if any(name in INTENSITIES for name in wanted):
        pixels = _pixels(ds, labels, image)
    axes = _axes(labels if pixels is None else pixels)
    channel = _channel(axes)
    job = runs.Job(
        tuple(map(str, labels.dims)),
        None if pixels is None else tuple(map(str, pixels.dims)),
        channel,
        frozenset(wanted),
    )
    shown = [axis for axis in axes if axis.name in job.dims and axis.name != channel]
    # What cannot be told is found before pixels are read.
    frame = _frame(labels, shown, wanted)
    parts = _gather(job, labels, pixels)
    suffixes = [""]
    if pixels is not None and channel is not None:
        suffixes = [f"_{name}" for name in _channel_names(pixels, channel)]
    columns: dict[str, _Column] = {}
    ids = parts[None]["id"]
    for name in wanted:
        if name in SHAPES:
            columns.update(_shape_columns(name, parts[None], frame))
            continue
        for c, suffix in enumerate(suffixes):
            column = _Column(np.zeros(len(ids)), np.zeros(len(ids), np.bool_))
            if c in parts:
                # Of a label image that has channels too, not all have each label.
                ranks, there = ranks_of(parts[c]["id"], ids)
                column = _Column(runs.column(name, parts[c])[ranks], there)
            columns[f"{name}{suffix}"] = column
    return _joined(ds, label, index, _smallest(ids), columns)


def _checked(properties: Sequence[str]) -> list[str]:
    known = sorted((*SHAPES, *INTENSITIES))
    wrong = [str(name) for name in properties if name not in known]
    if wrong or not properties:
        what = ", ".join(wrong) if wrong else "nothing"
        msg = (
            f"properties: {what} cannot be measured; expected some of {', '.join(known)}. Only "
            "what sums over blocks can tell is measured here: compute the labels' "
            "skimage.measure.regionprops_table of an image in memory for others, and join it."
        )
        raise OmeZarrError(msg)
    return list(dict.fromkeys(properties))


def _pixels(ds: xr.Dataset, labels: xr.DataArray, name: str | None) -> xr.DataArray:
    pixels = ds[coordinates.find_image(ds, name)]
    lacking = [str(dim) for dim in labels.dims if dim not in pixels.dims]
    if lacking:
        msg = (
            f"The label image '{labels.name}' has dimension {', '.join(lacking)}, which '"
            f"{pixels.name}' lacks: its dimensions are {', '.join(map(str, pixels.dims))}. Select "
            "one position along it, or name another image."
        )
        raise OmeZarrError(msg)
    if pixels.dtype.kind not in "biuf":
        msg = f"The values of '{pixels.name}' are of type {pixels.dtype}; expected real numbers."
        raise OmeZarrError(msg)
    return pixels


def _axes(array: xr.DataArray) -> tuple[Axis, ...]:
    return coordinates.axes_of(array, coordinates.memory_of(array).axes)


def _channel(axes: Iterable[Axis]) -> str | None:
    return next((axis.name for axis in axes if axis.is_channel), None)


def _channel_names(image: xr.DataArray, dim: str) -> list[str]:
    """Give the ends of variable names that stand for channels."""
    names = [str(i) for i in range(image.sizes[dim])]
    if dim in image.coords:
        # A slash would be a path to netCDF and to Zarr.
        told = [str(v).strip().replace("/", "_") for v in image.coords[dim].values.tolist()]
        if len(set(told)) == len(told) and all(told):
            names = told
    return names


@dataclass(frozen=True)
class _Column:
    """One value for each label in the pixels."""

    values: NDArray[Any]
    present: NDArray[np.bool_] | None = None
    unit: str | None = None


@dataclass(frozen=True)
class _Frame:
    """What turns counts of pixels into positions and sizes."""

    axes: dict[str, tuple[float, float]]
    """Scale and translation."""
    units: dict[str, str | None]
    pixel: float
    """The size of a pixel along the axes of space."""
    size_unit: str | None


def _frame(labels: xr.DataArray, axes: Sequence[Axis], wanted: Sequence[str]) -> _Frame:
    space = [axis for axis in axes if axis.type == "space"]
    needed = axes if {"bbox", "centroid"} & set(wanted) else space if "area" in wanted else ()
    transform = coordinates.transform_of(labels, needed)
    pairs = zip(transform.scale, transform.translation, strict=True)
    placed = {axis.name: pair for axis, pair in zip(needed, pairs, strict=True)}
    unit = None
    if space and all(axis.unit for axis in space):
        powers = Counter(axis.unit for axis in space)
        unit = " ".join(f"{name}^{n}" if n > 1 else str(name) for name, n in powers.items())
    pixel = np.prod([abs(placed[axis.name][0]) for axis in space if axis.name in placed])
    return _Frame(placed, {axis.name: axis.unit for axis in axes}, float(pixel), unit)


def _shape_columns(name: str, part: Part, frame: _Frame) -> Iterator[tuple[str, _Column]]:
    count = part["count"]
    if name == "count":
        yield name, _Column(count)
    elif name == "area":
        yield name, _Column(count * frame.pixel, unit=frame.size_unit)
    else:
        for axis, (scale, translation) in frame.axes.items():
            unit = frame.units[axis]
            if name == "centroid":
                centre = translation + scale * (part[f"add {axis}"] / count)
                yield f"{name}_{axis}", _Column(centre, unit=unit)
                continue
            edges = [
                translation + scale * (part[f"min {axis}"] - 0.5),
                translation + scale * (part[f"max {axis}"] + 0.5),
            ]
            for side, edge in zip(("min", "max"), edges if scale > 0 else edges[::-1], strict=True):
                yield f"{name}_{axis}_{side}", _Column(edge, unit=unit)


def _joined(
    ds: xr.Dataset,
    label: str,
    index: NDArray[Any] | None,
    ids: NDArray[Any],
    columns: Mapping[str, _Column],
) -> xr.Dataset:
    """Put columns, one value for each of the ascending labels, along the index of the table."""
    dim = f"{label}_id"
    taken = [n for c in columns if (n := f"{label}_{c}") in ds.variables and ds[n].dims != (dim,)]
    if taken:
        msg = (
            f"The results would be named {', '.join(taken)}, as variables of this Dataset are that "
            f"are not along '{dim}'. Rename those."
        )
        raise OmeZarrError(msg)
    if index is None:
        index = ids
        ds = ds.assign_coords({dim: ids})
    lost = len(ids) - int(ranks_of(np.unique(index), ids)[1].sum())
    if lost:
        warn(
            f"{lost} of the {len(ids)} labels in the pixels of '{label}' are not in '{dim}', and "
            f"are left out; to measure them too, drop the table first: .drop_dims('{dim}')."
        )
    ranks, there = ranks_of(ids, index)
    new: dict[Hashable, xr.Variable] = {}
    for key, column in columns.items():
        name, attrs = f"{label}_{key}", {"units": column.unit} if column.unit else {}
        values, present = np.zeros(len(index), column.values.dtype), there
        if len(ids):
            values = column.values[ranks]
            present = there if column.present is None else there & column.present[ranks]
        values, flags = _with_gaps(values, present)
        new[name] = xr.Variable((dim,), values, attrs)
        ds = ds.drop_vars(f"{name}_present", errors="ignore")
        if flags is not None:
            new[f"{name}_present"] = xr.Variable((dim,), flags)
    return ds.assign(new)


def _with_gaps(
    values: NDArray[Any], present: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Give values in the types of a table: NaN in the gaps, or flags where that costs digits."""
    if values.dtype.kind == "f":
        return np.where(present, values.astype(np.float64), np.nan), None
    values = _smallest(np.where(present, values, 0))
    if present.all():
        return values, None
    if len(values) and (values.min() <= -_EXACT or values.max() >= _EXACT):
        return values, present
    return np.where(present, values.astype(np.float64), np.nan), None


# ── sums over blocks ─────────────────────────────────────────────────────────────────────────────


def _gather(
    job: runs.Job, labels: xr.DataArray, pixels: xr.DataArray | None
) -> dict[int | None, Part]:
    """Go through all blocks once; give the sums of the labels, and by channel those of values.

    A tree of tasks merges a few partial results at a time: so many are in memory at once as the
    tree is deep, and they come together in the same order each time.
    """
    import dask.array
    from dask.delayed import delayed

    da: Any = dask.array  # it is typed in parts only
    lazy = labels.chunks is None and (pixels is None or pixels.chunks is None)
    sources = [labels.variable] if pixels is None else [labels.variable, pixels.variable]
    arrays: Any = _blocks(sources)
    if len(arrays) > 1:
        operands = zip(arrays, (job.dims, job.image_dims), strict=True)
        _, arrays = da.unify_chunks(*(item for pair in operands for item in pair), warn=False)
    # Optimised one by one, two arrays that are made from the same pixels would read them twice.
    grids = [array.to_delayed(optimize_graph=False) for array in arrays]
    firsts = [[np.cumsum([0, *sizes]).tolist() for sizes in array.chunks] for array in arrays]
    extra = [dim for dim in job.image_dims or () if dim not in job.dims]
    run, merge = delayed(runs.measure_block, pure=False), delayed(runs.merge, pure=False)
    tasks = []
    for where in np.ndindex(grids[0].shape):
        place = dict(zip(job.dims, where, strict=True))
        origin = {dim: firsts[0][axis][place[dim]] for axis, dim in enumerate(job.dims)}
        if len(arrays) == 1:
            tasks.append(run(job, origin, grids[0][where], None, shapes=True))
            continue
        dims = job.image_dims or ()
        for besides in np.ndindex(*(grids[1].shape[dims.index(dim)] for dim in extra)):
            at = {**place, **dict(zip(extra, besides, strict=True))}
            block = grids[1][tuple(at[dim] for dim in dims)]
            begin = {dim: firsts[1][axis][at[dim]] for axis, dim in enumerate(dims)}
            tasks.append(run(job, begin, grids[0][where], block, shapes=not any(besides)))
    while len(tasks) > 1:
        tasks = [merge(tasks[i : i + _FAN]) for i in range(0, len(tasks), _FAN)]
    # What lies in this process's memory is measured by this process.
    local = {"scheduler": "threads"} if lazy else {}
    return cast("dict[int | None, Part]", tasks[0].compute(**local))


def _blocks(sources: Sequence[xr.Variable]) -> list[Any]:
    """Give dask arrays: in the chunks that they have, or in several of those of their files."""
    sizes = [_chunks(source) for source in sources]
    arrays = []
    for source, own in zip(sources, sizes, strict=True):
        if source.chunks is None:
            # One that has no chunks at all goes along with the other.
            known = {dim: n for size in sizes for dim, n in size.items()} | own
            chunks, budget = {}, _BLOCK
            shared = [dim for dim in sources[0].dims if dim in source.dims]
            for dim in reversed(shared):
                chunk = min(known.get(dim, 1), source.sizes[dim]) or 1
                budget = budget // chunk
                if len(sizes) == 1 or all(other.chunks is None for other in sources):
                    times = max(1, min(budget, -(-source.sizes[dim] // chunk)))
                    chunk, budget = chunk * times, budget // times
                chunks[dim] = chunk
            chunks |= {dim: known.get(dim, 1) for dim in source.dims if dim not in chunks}
            # Without a name dask would hash the pixels.
            source = source.chunk(chunks, name=f"pixels-{uuid.uuid4().hex}")  # noqa: PLW2901
        arrays.append(source.data)
    return arrays


def _chunks(source: xr.Variable) -> dict[Hashable, int]:
    if source.chunks is not None:
        return {dim: max(n) for dim, n in source.chunksizes.items()}
    preferred = source.encoding.get("preferred_chunks", {})
    return {
        dim: int(preferred[dim] if np.ndim(preferred[dim]) == 0 else max(preferred[dim]))
        for dim in source.dims
        if dim in preferred
    }


# ── paint ────────────────────────────────────────────────────────────────────────────────────────


def paint(ds: xr.Dataset, name: str, fill: Any = np.nan) -> xr.DataArray:  # noqa: ANN401 - any scalar
    """Give each pixel the property of its label.

    Nothing is computed before the values are asked for; then each pixel costs one look-up, whatever
    its label is.

    Parameters
    ----------
    ds : xarray.Dataset
        With the label image and its table, like ``nuclei`` and ``nuclei_area``.
    name : str
        The variable along ``<label>_id`` that is painted; ``nuclei_color`` is one too.
    fill : scalar, default NaN
        What the background has, and labels for which the table has no value.

    Returns
    -------
    xarray.DataArray
        With the label image's dimensions and coordinates, dask where that is. Its type is the
        property's where that can hold the fill; otherwise the two are promoted as by
        `numpy.result_type`: with NaN, integers and booleans become float64 (beyond 2⁵³ with a loss
        of digits: give an integer), and with -1 uint8 becomes int16. Texts go with texts only: NaN
        stands for the empty one there.

    Raises
    ------
    OmeZarrError
        Where there is no such property, where its table has a label twice, or where the fill has no
        type in common with it.

    Examples
    --------
    >>> ds = measure(samples.coins(), "coins", "mean")
    >>> painted = paint(ds, "coins_mean")
    >>> painted.dims, painted.dtype, int(painted.max()) == int(ds.coins_mean.max())
    (('y', 'x'), dtype('float64'), True)
    """
    label = _painted_label(ds, name)
    labels = label_image(ds, label)
    index = _index(ds, label)
    values, known = _plain(np.asarray(ds[name].values))
    if f"{name}_present" in ds.variables and ds[f"{name}_present"].dims == ds[name].dims:
        known = known & np.asarray(ds[f"{name}_present"].values, np.bool_)
    table = np.append(values, _filler(name, values.dtype, fill))
    look_up = LookUp.of(cast("NDArray[Any]", index), table, labels.dtype, known)
    variable = labels.variable
    if labels.chunks is None:
        # Computed once, when it is asked for as a whole, like what is opened from a file.
        cached: Any = indexing.MemoryCachedArray
        data = cached(indexing.LazilyIndexedArray(_Painted(variable, look_up)))
    else:
        import dask.array

        da: Any = dask.array
        data = da.map_blocks(
            look_up, labels.data, dtype=table.dtype, meta=np.empty((0,) * labels.ndim, table.dtype)
        )
    kept = {k: v for k, v in variable.encoding.items() if k == "preferred_chunks"}
    result = xr.Variable(labels.dims, data, ds[name].attrs, kept)
    return xr.DataArray(result, coords=labels.coords, name=name)


def _painted_label(ds: xr.Dataset, name: str) -> str:
    """Find the label image whose table a variable is in."""

    def owner(variable: xr.DataArray) -> str | None:
        dim = str(variable.dims[0]) if variable.ndim == 1 else ""
        return dim.removesuffix("_id") if dim.endswith("_id") and dim != variable.name else None

    tabled = [
        str(key)
        for key in ds.variables
        if (label := owner(ds[key])) and label in ds.data_vars and not str(key).endswith("_present")
    ]
    label = owner(ds[name]) if name in ds.variables else None
    if label is None or label not in ds.data_vars:
        msg = (
            f"'{name}' is no property of a label image of this Dataset; there are: "
            f"{', '.join(tabled) or 'none'}."
        )
        raise OmeZarrError(msg)
    return label


def _plain(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Give values, and which of them there are; texts in a fixed width, whatever they came in."""
    if values.dtype.kind == "f":
        return values, ~np.isnan(values)
    if values.dtype.kind not in "OT":
        return values, np.ones(len(values), np.bool_)
    listed = values.tolist()
    known = np.array([value is not None and value == value for value in listed], np.bool_)  # noqa: PLR0124
    if all(isinstance(value, str) for value, there in zip(listed, known, strict=True) if there):
        texts = [value if there else "" for value, there in zip(listed, known, strict=True)]
        return np.array(texts, np.str_), known
    return values.astype(object), known


def _filler(name: str, dtype: np.dtype[Any], fill: Any) -> NDArray[Any]:  # noqa: ANN401
    """Give the fill as an array of one, of the type that the property is painted in."""
    if dtype.kind == "U":
        if isinstance(fill, float) and np.isnan(fill):
            fill = ""
        if isinstance(fill, str):
            return np.array([fill])
    try:
        # None would stand for float64.
        common = np.result_type(dtype, np.array(None) if fill is None else fill)
        if common.kind in "iu" and isinstance(fill, int):
            # A Python integer has no type of its own, and may be too large for the property's.
            limits = np.iinfo(common)
            if not limits.min <= fill <= limits.max:
                common = np.result_type(dtype, np.min_scalar_type(fill))
        if common.kind == "U" or (dtype.kind != "O" and common.kind == "O"):
            raise TypeError  # noqa: TRY301 - no type in common is what NumPy says of others
        return np.array([fill], common)
    except (TypeError, ValueError, OverflowError) as error:
        what = "text" if dtype.kind == "U" else str(dtype)
        msg = f"fill={fill!r} has no type in common with '{name}', which is {what}."
        raise OmeZarrError(msg) from error


class _Painted(BackendArray):
    """The look-up of a label image that is not dask, of the part that is asked for."""

    def __init__(self, labels: xr.Variable, look_up: LookUp) -> None:
        self.labels, self.look_up = labels, look_up
        self.shape, self.dtype = labels.shape, look_up.table.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - as the base has it
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._get
        )

    def _get(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self.look_up(np.asarray(self.labels[key].values))

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401
        return await indexing.async_explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._async_get
        )

    async def _async_get(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self.look_up(np.asarray((await self.labels[key].load_async()).values))


# ── colours ──────────────────────────────────────────────────────────────────────────────────────


def color_labels(
    ds: xr.Dataset, label: str, colors: Colors | None = None, *, by: str | None = None
) -> xr.Dataset:
    """Set the colours in which labels are shown.

    Parameters
    ----------
    ds : xarray.Dataset
        With the label image as a variable.
    label : str
        Its name.
    colors : str, mapping, sequence or callable, optional
        One colour for all, like "#FF8800"; the name of a colormap of Matplotlib, or anything
        that gives colours for numbers as those do; a mapping of label values to colours, in which
        labels that are not named keep what they have; or a sequence, one colour for each of
        `label_ids`. A colour is text, ``"#RRGGBB"`` or ``"#RRGGBBAA"``, or three or four numbers:
        integers up to 255, or floats up to 1. By default each label has a colour that only its
        value decides, unlike its neighbours', the same in each image and each run.
    by : str, optional
        The property that a colormap shows: numbers from the least to the greatest, texts and
        booleans in order. Labels without a value get no colour. Without it a colormap goes through
        the labels in their order; one of a few colours starts over. The default colormap is then
        viridis.

    Returns
    -------
    xarray.Dataset
        A new Dataset with the coordinate ``<label>_color``: eight hexadecimal digits, RRGGBBAA, or
        nothing. The background, 0, gets none. An index ``<label>_id`` that is not there yet is made
        of the labels in the pixels.

    Raises
    ------
    OmeZarrError
        Where there is no such label image, label, property, colormap or colour, or Matplotlib is
        asked for but not installed.

    Examples
    --------
    >>> ds = color_labels(samples.astronaut(), "circles", {1: "#FF0000", 3: (0, 255, 0, 128)})
    >>> ds.circles_color.values.tolist()
    ['FF0000FF', '', '00FF0080']
    >>> color_labels(ds, "circles").circles_color.values.tolist()
    [...]
    """
    label_image(ds, label)
    dim, name = f"{label}_id", f"{label}_color"
    if dim not in ds.coords:
        ds = ds.assign_coords({dim: label_ids(ds, label)})
    index = cast("NDArray[Any]", _index(ds, label))
    told = index != 0
    ids = index[told]
    if by is not None and colors is None:
        colors = "viridis"
    if isinstance(colors, Mapping):
        old = np.asarray(ds[name].values, np.str_) if name in ds.coords else np.full(len(index), "")
        new = _named(label, ids, colors, old[told])
    elif colors is None:
        new = _hashed(ids)
    elif isinstance(colors, str) and colors.startswith("#"):
        new = np.full(len(ids), _digits(colors))
    elif isinstance(colors, str) or callable(colors):
        column = None
        if by is not None:
            column = property_values(ds, property_name(ds, label, by))[told]
        new = _mapped(_colormap(colors) if isinstance(colors, str) else colors, ids, column)
    else:
        if len(colors) != len(ids):
            msg = f"colors: {len(colors)} for the {len(ids)} labels of '{label}'; expected as many."
            raise OmeZarrError(msg)
        new = np.array([_digits(color) for color in colors], np.str_)
    digits = np.full(len(index), "", "U8")
    digits[told] = new
    return ds.assign_coords({name: ((dim,), digits)})


def _digits(color: object) -> str:
    """Give a colour as RRGGBBAA."""
    if isinstance(color, str):
        if re.fullmatch("#?([0-9a-fA-F]{6}|[0-9a-fA-F]{8})", color):
            return color.removeprefix("#").upper().ljust(8, "F")
    elif isinstance(color, (Sequence, np.ndarray)) and len(color) in {3, 4}:
        numbers = np.asarray(color)
        if numbers.dtype.kind == "f":
            numbers = numbers * 255
        if numbers.dtype.kind in "iuf" and bool(((numbers >= 0) & (numbers <= 255)).all()):  # noqa: PLR2004
            return bytes(np.rint(numbers).astype(np.uint8)).hex().upper().ljust(8, "F")
    msg = (
        f"colors: {color!r}; expected '#RRGGBB', '#RRGGBBAA', or three or four numbers, integers "
        "up to 255 or floats up to 1."
    )
    raise OmeZarrError(msg)


def _hexadecimal(rgba: NDArray[np.float64]) -> NDArray[np.str_]:
    """Give rows of red, green, blue and perhaps alpha, from 0 to 1, as RRGGBBAA."""
    levels = np.full((len(rgba), 4), 255, np.uint8)
    levels[:, : rgba.shape[1]] = np.rint(np.clip(rgba, 0, 1) * 255)
    return _text(levels)


def _text(colors: NDArray[np.uint8]) -> NDArray[np.str_]:
    return np.frombuffer(colors.tobytes().hex().upper().encode(), "S8").astype("U8")


def _named(
    label: str, ids: NDArray[Any], colors: Mapping[int, Color], old: NDArray[np.str_]
) -> NDArray[np.str_]:
    places = {value: i for i, value in enumerate(ids.tolist())}
    new = old.astype("U8")
    unknown = [key for key in colors if key != 0 and key not in places]
    if unknown:
        known = ", ".join(map(str, list(places)[:5])) + ("…" if len(places) > 5 else "")  # noqa: PLR2004
        msg = (
            f"colors: '{label}' has no label {', '.join(map(repr, unknown[:5]))}; it has "
            f"{len(places)}: {known or 'none'}."
        )
        raise OmeZarrError(msg)
    for key, color in colors.items():
        if key != 0:
            new[places[key]] = _digits(color)
    return new


def _hashed(ids: NDArray[Any]) -> NDArray[np.str_]:
    """Give each label the colour of its own that it has in pictures."""
    return _text(distinct_colors(ids))


def _colormap(name: str) -> Colormap:
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = (
            f"colors={name!r} names a colormap of Matplotlib, which is not installed. Install it, "
            "by pip install \"xarray-omezarr[plot]\", or give colours like '#FF8800', one for all "
            "or one for each label."
        )
        raise OmeZarrError(msg) from error
    if name not in mpl.colormaps:
        msg = (
            f"colors={name!r} is neither a colormap of Matplotlib nor a colour; expected a name "
            "like 'viridis' or 'tab20' (matplotlib.colormaps lists them), or '#RRGGBB'."
        )
        raise OmeZarrError(msg)
    return cast("Colormap", mpl.colormaps[name])


def property_name(ds: xr.Dataset, label: str, by: str) -> str:
    """Find the variable of a property: by its name, or by that without the label's before it.

    Raises
    ------
    OmeZarrError
        Where there is no such property; the message lists those there are.
    """
    dim = f"{label}_id"
    names = [name for name in (f"{label}_{by}", by) if name in ds and ds[name].dims == (dim,)]
    if not names:
        there = [str(key) for key, variable in ds.data_vars.items() if variable.dims == (dim,)]
        msg = f"by={by!r} is no property of '{label}'; there are: {', '.join(there) or 'none'}."
        raise OmeZarrError(msg)
    return names[0]


def property_values(ds: xr.Dataset, name: str) -> NDArray[Any]:
    """Give a property's values; objects, with None in its gaps, where they are no numbers."""
    values, known = _plain(np.asarray(ds[name].values))
    present = f"{name}_present"
    if present in ds:
        known = known & np.asarray(ds[present].values, np.bool_)
    if not known.all():
        numbers = values.dtype.kind in "iuf"
        values = values.astype(np.float64 if numbers else object)
        values[~known] = np.nan if numbers else None
    return values


def _mapped(colormap: Colormap, ids: NDArray[Any], column: NDArray[Any] | None) -> NDArray[np.str_]:
    """Send labels, or the property of each, through a colormap."""
    known = np.ones(len(ids), np.bool_)
    few = int(getattr(colormap, "N", 256))
    qualitative = few < 256  # noqa: PLR2004
    if column is None:
        # By value, so that a label has its colour in each crop.
        codes = ids.astype(np.uint64) - np.uint64(1) if qualitative else np.arange(len(ids))
    elif column.dtype.kind in "iuf":
        known = np.isfinite(column)
        numbers = column[known].astype(np.float64)
        low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 0.0)
        return _spread(colormap((numbers - low) / ((high - low) or 1)), known)
    else:
        known = np.array([value is not None for value in column.tolist()], np.bool_)
        codes = np.unique(column[known], return_inverse=True)[1]
    if qualitative:
        return _spread(colormap((codes % few).astype(np.int64)), known)
    return _spread(colormap(codes / max(1, int(codes.max(initial=0)))), known)


def _spread(rgba: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.str_]:
    digits = np.full(len(known), "", "U8")
    digits[known] = _hexadecimal(np.asarray(rgba, np.float64).reshape(-1, np.shape(rgba)[-1]))
    return digits
