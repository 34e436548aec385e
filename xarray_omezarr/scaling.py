"""Image file, Zarr array or level of an image → OME-Zarr with its pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import bare, coordinates, files, looks, rendering, slots
from xarray_omezarr.accessor import OmeZarrDatasetAccessor
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError
from xarray_omezarr.files import axis_names, check_axes
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.model import TYPES
from xarray_omezarr.pyramid import LARGE

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.plan import Plan

    Source = str | os.PathLike[str] | Store | zarr.Group | zarr.Array[Any]
    Target = str | os.PathLike[str] | Store | zarr.Group
    Sizes = int | Mapping[str, int]

#: How the names of image files end.
_FILES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_SPACE = tuple(name for name, type_ in TYPES.items() if type_ == "space")


def scale(
    source: Source,
    target: Target,
    axes: str | Sequence[str] | None = None,
    *,
    method: str = "mean",
    factor: int | Mapping[str, int] | None = None,
    levels: int | None = None,
    chunks: Sizes | None = None,
    shards: Sizes | None = None,
    pixel_size: float | Mapping[str, float] | None = None,
    unit: str | Mapping[str, str] | None = None,
    version: str | None = None,
    series: int | None = None,
    copy_metadata: bool = False,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plan:
    """Write an image file, a Zarr array or a level of an image as OME-Zarr, with its pyramid.

    Pixels stream from tiles or chunks to chunks: an image may be larger than the memory. Nothing is
    left at the target where the arguments do not fit the source.

    Parameters
    ----------
    source : str, os.PathLike, zarr.abc.store.Store, zarr.Group or zarr.Array
        An image file (see `open_image`), a Zarr array, an OME-Zarr image, of which the finest level
        is taken with its labels, or the array of one of its levels, like ``"image.ome.zarr/1"``.
    target : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where to, as for `Dataset.omezarr.to_zarr`; what is there is never replaced.
    axes : str or sequence of str, optional
        The axes of the source in their order, like "zyx". Needed where the source does not say,
        as a Zarr array of format 2; else it is checked that it says the same.
    method : str, default "mean"
        How levels are reduced; see `Dataset.omezarr.to_zarr`. ome-zarr-py's names are known.
    factor : int or mapping of str to int, optional
        By what each level is reduced from the one before: along y and x, or along each axis named.
        By default spatial axes are halved, anisotropic stacks becoming isotropic first.
    levels : int, optional
        The number of levels in all; by default as many as it takes until no axis that is reduced
        is longer than 256.
    chunks, shards : int or mapping of str to int, optional
        As for `Dataset.omezarr.to_zarr`; by default those of a Zarr array or of an image.
    pixel_size : float or mapping of str to float, optional
        The pixel size along all axes of space, or along each axis named, instead of the source's.
    unit : str or mapping of str to str, optional
        Its unit, for all axes of space or for each axis named.
    version : {"0.4", "0.5", "0.6"}, optional
        The version of OME-Zarr; by default that of the source, else 0.5.
    series : int, optional
        Which image of a file that has several.
    copy_metadata : bool, default False
        Whether the attributes of a Zarr array become those of the image's group. What an OME-Zarr
        image says besides is kept in any case.
    workers : int, optional
        How many threads work at a time; by default one for each core.
    resume : bool, default False
        Whether to continue a write that was interrupted, with the same arguments.
    progress : bool, optional
        Whether to show a bar; see `Dataset.omezarr.to_zarr`.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    xarray_omezarr.plan.Plan
        The levels as they were written, and how; it prints as a table.

    Raises
    ------
    OmeZarrError
        Where the source cannot be read, or is not what the arguments say; or where some of its
        blocks cannot be written, and the others are kept for `resume`.
    OmeZarrFileExistsError
        Where there is something at the target.

    Examples
    --------
    >>> import tifffile, xarray_omezarr
    >>> tifffile.imwrite("stack.tif", np.zeros((5, 512, 512), np.uint8), metadata=None)
    >>> plan = xarray_omezarr.scale("stack.tif", path, "zyx", pixel_size=0.5, unit="micrometer")
    >>> [level.shape for level in plan.levels]
    [(5, 512, 512), (5, 256, 256)]
    >>> xr.open_dataset(path, engine="omezarr").omezarr.units["z"]
    'micrometer'
    """
    names = None if axes is None else axis_names(axes)
    _check_apart(source, target)
    if workers is not None:
        _check_count("workers", workers, "how many threads work at a time, 1 or more")
    urls = [one for one in (source, target) if local_path(one) is None]
    if storage_options and not urls:
        msg = "storage_options are for URLs; source and target are local paths. Leave them out."
        raise OmeZarrError(msg)
    of_source = storage_options if source in urls else None
    ds = _opened(source, names, series, of_source, copy_metadata=copy_metadata)
    try:
        if pixel_size is not None or unit is not None:
            ds = _measured(ds, pixel_size, unit)
        how: dict[str, Any] = {
            "version": version,
            "levels": levels if factor is None else factors(ds.image, factor, levels),
            "method": method,
            "chunks": chunks,
            "shards": shards,
        }
        accessor = OmeZarrDatasetAccessor(ds)
        plan = accessor.plan(**how)
        accessor = OmeZarrDatasetAccessor(_shown(ds))
        with nullcontext() if workers is None else _threads(workers):
            accessor.to_zarr(
                target,
                **how,
                resume=resume,
                progress=progress,
                storage_options=storage_options if target in urls else None,
            )
    finally:
        ds.close()
    return plan


def _threads(workers: int) -> Any:  # noqa: ANN401 - not typed
    import dask

    untyped: Any = dask
    return untyped.config.set(num_workers=workers)


def _check_apart(source: object, target: object) -> None:
    """Check that nothing is written into the source, nor the source into what is written."""
    paths = [local_path(one) for one in (source, target)]
    if paths[0] is None or paths[1] is None:
        return
    whole = [path.resolve() for path in paths if path is not None]
    if whole[0] == whole[1] or whole[0] in whole[1].parents or whole[1] in whole[0].parents:
        msg = (
            f"{target} and {source} lie within each other. Nothing is written into what is read: "
            "write to another path."
        )
        raise OmeZarrError(msg)


# ── the source ───────────────────────────────────────────────────────────────────────────────────


def _opened(
    source: Any,  # noqa: ANN401 - whatever the engine takes
    names: Sequence[str] | None,
    series: int | None,
    storage_options: Mapping[str, Any] | None,
    *,
    copy_metadata: bool,
) -> xr.Dataset:
    """Open what is to be written, and check its axes."""
    local = local_path(source)
    if local is not None and not local.exists():
        msg = f"There is nothing at {local}."
        raise OmeZarrFileNotFoundError(msg)
    if local is None and str(source).partition("?")[0].lower().endswith(_FILES):
        # What is far away is not asked what it is: the error says what to do.
        return files.open_image(source, names, series=series)
    if local is not None and local.is_file() and not is_archive(local):
        if copy_metadata:
            msg = (
                f"copy_metadata is for Zarr arrays; {local} is an image file, whose pixel sizes "
                "and channels are taken in any case. Leave it out."
            )
            raise OmeZarrError(msg)
        return files.open_image(local, names, series=series)
    if series is not None:
        msg = f"series={series!r} is for image files; of {source} name the group of the image."
        raise OmeZarrError(msg)
    found = None if is_archive(source) else bare.find_array(source, storage_options)
    level = None if found is None else found.level
    if found is not None and level is None:
        names = names or found.names
        if names is None:
            shape = " × ".join(map(str, found.array.shape))
            msg = (
                f"{found.name} is a Zarr array of {shape} pixels that does not say what its axes "
                "are. Name them in their order, such as axes='zyx' (AXES)."
            )
            raise OmeZarrError(msg)
        ds = bare.open_array(found, names, attributes=copy_metadata)
        return _in_order(ds)
    image: Any = source if found is None else found.place
    ds = xr.open_dataset(
        image,
        engine="omezarr",
        level=level or 0,
        backend_kwargs={"storage_options": storage_options} if found is None else {},
    )
    if slots.is_stack(ds):
        ds.close()
        msg = f"{source} is a plate, no image. Name one of its fields, like {source}/A/1/0."
        raise OmeZarrError(msg)
    if names is not None:
        check_axes(names, [tuple(map(str, ds.image.dims))], str(source))
    return ds


def _shown(ds: xr.Dataset) -> xr.Dataset:
    """Say how channels are shown that have names and no windows, which a file has to say.

    All of the range of 16 bits, of which a camera uses a part, is a black picture in any viewer.
    """
    channels = coordinates.channels_of(ds.image, "c" if "c" in ds.dims else None)
    if not channels:
        return ds
    look = looks.looks_of(ds.image, channels=range(len(channels)))
    if look.are_settled:
        return ds
    found = rendering.settled(look, ds.image).channels
    return OmeZarrDatasetAccessor(ds).assign_channels(
        colors=[one.color for one in found], windows=[one.window for one in found]
    )


def _in_order(ds: xr.Dataset) -> xr.Dataset:
    """Read an array whose axes will be stored in another order by its own chunks, each once."""
    dims = [str(dim) for dim in ds.image.dims]
    if dims == [dim for dim in TYPES if dim in dims]:
        return ds
    return ds.chunk(ds.image.encoding["preferred_chunks"])


def _measured(
    ds: xr.Dataset,
    pixel_size: float | Mapping[str, float] | None,
    unit: str | Mapping[str, str] | None,
) -> xr.Dataset:
    """Give an image the pixel sizes and units that somebody says."""
    sizes = pixel_size
    if sizes is not None and not isinstance(sizes, Mapping):
        sizes = {dim: sizes for dim in _SPACE if dim in ds.image.dims}
    for dim, size in (sizes or {}).items():
        _check_size(dim, size)
    _check_unit(unit)
    return OmeZarrDatasetAccessor(ds).assign_scale(sizes, units=unit)


def _check_size(dim: str, size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, float, np.number)) or not size > 0:
        msg = f"pixel_size: {size!r:.80} along '{dim}'; expected a number above 0."
        raise OmeZarrError(msg)


def _check_unit(unit: object) -> None:
    if not isinstance(unit, (str, Mapping, type(None))):
        msg = f"unit={unit!r:.80}: expected a name, or one for each axis: {{'t': 'second'}}."
        raise OmeZarrError(msg)


def _check_count(what: str, value: object, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        msg = f"{what}: {value!r:.80}; expected {expected}."
        raise OmeZarrError(msg)


# ── the levels ───────────────────────────────────────────────────────────────────────────────────


def factors(
    image: xr.DataArray, factor: int | Mapping[str, int], levels: int | None
) -> list[dict[str, int]]:
    """Give the factors of the levels below the first, relative to it.

    An axis that has fewer pixels than a factor would join stays as it is from there on.

    Parameters
    ----------
    image
        The first level.
    factor
        By what each level is reduced from the one before: along y and x, or along each axis named.
    levels
        The number of levels in all; by default there are levels until no axis is longer than 256.

    Raises
    ------
    OmeZarrError
        Where a factor is no whole number, or there is no room for so many levels.

    Examples
    --------
    >>> factors(samples.coins().image, 3, 3)
    [{'y': 3, 'x': 3}, {'y': 9, 'x': 9}]
    """
    dims = [str(dim) for dim in image.dims]
    each = factor if isinstance(factor, Mapping) else {d: factor for d in "yx" if d in dims}
    for dim, value in each.items():
        if dim not in dims:
            msg = f"factor: '{dim}' is none of the axes {tuple(dims)}."
            raise OmeZarrError(msg)
        _check_count(f"factor along '{dim}'", value, "a whole number, 1 or more")
    if levels is not None:
        _check_count("levels", levels, "the number of levels in all, 1 or more")
    made: list[dict[str, int]] = []
    now = dict.fromkeys(each, 1)
    while levels is None or len(made) < levels - 1:
        if levels is None and all(
            -(-image.sizes[dim] // now[dim]) <= LARGE for dim in each if each[dim] > 1
        ):
            break
        then = {
            dim: now[dim] * int(value) if now[dim] * value <= image.sizes[dim] else now[dim]
            for dim, value in each.items()
        }
        if then == now:
            if levels is None:
                break
            msg = (
                f"levels={levels}: reduced by {dict(each)} each, an image of "
                f"{dict(image.sizes)} has room for {len(made) + 1}. Ask for no more than that."
            )
            raise OmeZarrError(msg)
        made.append(then)
        now = then
    return made
