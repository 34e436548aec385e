"""The accessor `.omezarr` on Dataset, DataArray and DataTree.

Nothing is changed in place, and nothing is kept between calls: every answer is read off the object.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import zarr
    from dask.delayed import Delayed
    from numpy.typing import ArrayLike, NDArray
    from zarr.abc.store import Store

    from xarray_omezarr.frames import CoordinateSystems
    from xarray_omezarr.measure import Colors
    from xarray_omezarr.plan import Plan
    from xarray_omezarr.reducers import Boundary
    from xarray_omezarr.sheets import Columns, Types

    Target = str | os.PathLike[str] | Store | zarr.Group
    Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"]
    Sizes = int | Mapping[str, int]
    Factors = int | Sequence[Mapping[str, int]]

T = TypeVar("T", xr.Dataset, xr.DataArray)


class _Accessor(Generic[T]):
    """What Dataset and DataArray have in common: the geometry and the channels of one image."""

    def __init__(self, obj: T) -> None:
        self._obj: T = obj

    @property
    def _image(self) -> xr.DataArray:
        obj = self._obj
        if isinstance(obj, xr.DataArray):
            return obj
        return obj[coordinates.find_image(obj)]

    @property
    def scale(self) -> dict[str, float]:
        """The pixel size along each dimension but the channel's, read off the coordinates.

        A dimension without a coordinate counts pixels: its scale is 1.

        Raises
        ------
        OmeZarrError
            Where a coordinate is not evenly spaced.

        Examples
        --------
        >>> samples.coins().omezarr.scale
        {'y': 0.65, 'x': 0.65}
        """
        return {name: scale for name, (scale, _) in coordinates.geometry_of(self._image).items()}

    @property
    def translation(self) -> dict[str, float]:
        """The position of the first pixel's centre along each dimension but the channel's.

        Raises
        ------
        OmeZarrError
            Where a coordinate is not evenly spaced.

        Examples
        --------
        >>> samples.coins().isel(x=slice(100, None)).omezarr.translation
        {'y': 0.0, 'x': 65.0}
        """
        return {name: first for name, (_, first) in coordinates.geometry_of(self._image).items()}

    @property
    def units(self) -> dict[str, str | None]:
        """The unit of each dimension but the channel's, in the specification's spelling.

        Examples
        --------
        >>> samples.coins().omezarr.units
        {'y': 'micrometer', 'x': 'micrometer'}
        """
        return {
            axis.name: axis.unit
            for axis in coordinates.axes_of(self._image, coordinates.memory_of(self._image).axes)
            if not axis.is_channel
        }

    def assign_scale(
        self,
        scale: Mapping[str, float] | None = None,
        *,
        translation: Mapping[str, float] | None = None,
        units: Mapping[str, str] | str | None = None,
        **scale_kwargs: float,
    ) -> T:
        """Set pixel sizes, origins and units.

        Parameters
        ----------
        scale : mapping of str to float, optional
            The pixel size along each dimension named; also as keyword arguments.
        translation : mapping of str to float, optional
            The position of the first pixel's centre; left as it is where it is not given.
        units : str or mapping of str to str, optional
            One unit for all dimensions of space, or one for each dimension named.
        **scale_kwargs : float
            The keyword form of `scale`.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object with new coordinates.

        Raises
        ------
        OmeZarrError
            Where a dimension is not there, or a scale is zero or not finite.

        Examples
        --------
        >>> image = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))
        >>> image.omezarr.assign_scale(y=0.5, x=0.5, units="micrometer").x.values
        array([0. , 0.5, 1. , 1.5])
        """
        new = coordinates.rescaled(
            self._image, {**(scale or {}), **scale_kwargs}, translation or {}, units or {}
        )
        return self._obj.assign_coords(new)

    def assign_channels(
        self,
        names: Sequence[str] | None = None,
        *,
        colors: Sequence[str] | None = None,
        windows: Sequence[tuple[float, float]] | None = None,
        active: Sequence[bool] | None = None,
    ) -> T:
        """Name the channels, and say how they are displayed.

        Parameters
        ----------
        names : sequence of str, optional
            One for each channel, all different.
        colors : sequence of str, optional
            Six hexadecimal digits for each channel, like "00FF00".
        windows : sequence of (float, float), optional
            The values that are shown darkest and brightest.
        active : sequence of bool, optional
            Whether a channel is shown at first.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object; what is not given stays as it was.

        Raises
        ------
        OmeZarrError
            Where there are not as many as channels, or one is not as described above.

        Examples
        --------
        >>> image = xr.DataArray(np.zeros((2, 3, 4)), dims=("c", "y", "x"))
        >>> image.omezarr.assign_channels(["DAPI", "GFP"], colors=["0000FF", "00FF00"]).c.values
        array(['DAPI', 'GFP'], dtype='<U4')
        """
        return self._obj.assign_coords(
            coordinates.renamed_channels(
                self._image, names=names, colors=colors, windows=windows, active=active
            )
        )

    def snap(self) -> T:
        """Put derived coordinates back on their lattice.

        Averages of positions, as `coarsen` and `interp` make them, differ in the last bits from
        the positions that are read from a file. After this they are the same, so that arithmetic
        with another level or another image finds every pixel.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object, each position within a thousandth of a pixel of what it was.

        Examples
        --------
        >>> half = samples.coins().image.coarsen(x=2, boundary="trim").mean()
        >>> half.omezarr.snap().x.values[:3]
        array([0.325, 1.625, 2.925])
        """
        return self._obj.assign_coords(coordinates.snapped(self._image))

    # ── coordinate systems ───────────────────────────────────────────────────────────────────────

    @property
    def coordinate_systems(self) -> CoordinateSystems:
        """The coordinate systems of the image, by name; that of its coordinates comes first.

        Only files of version 0.6 have more than that one.

        Examples
        --------
        >>> samples.coins().omezarr.coordinate_systems
        Coordinate systems
          physical (of the coordinates): y (micrometer), x (micrometer)
        """
        from xarray_omezarr import frames

        return frames.systems_of(self._image)

    def transform_points(self, points: ArrayLike, source: str, target: str) -> NDArray[np.float64]:
        """Bring points from one coordinate system to another.

        Parameters
        ----------
        points : array_like
            Of the shape (..., n), with the coordinates along the last axis in the order of the
            axes of `source`.
        source, target : str
            The names of coordinate systems, as `coordinate_systems` lists them.

        Returns
        -------
        numpy.ndarray
            float64, of the shape (..., m), in the order of the axes of `target`.

        Raises
        ------
        OmeZarrError
            Where there is no such system, or no way from one to the other.

        Examples
        --------
        >>> samples.coins().omezarr.transform_points([[1.3, 0.65]], "physical", "physical")
        array([[1.3 , 0.65]])
        """
        from xarray_omezarr import frames

        return frames.transform_points(self._image, points, source, target)

    def to_coordinate_system(self, name: str) -> T:
        """Give the pixels their positions in one of the coordinate systems.

        Where each axis of the system is a scaled and shifted axis of the image, they become the
        coordinates of the dimensions: the system is the image's own from then on, and is what is
        written; what led elsewhere leads there from the new one.

        Else the dimensions stay as they are, and each pixel gets lazy coordinates
        ``<system>_<axis>``. These are computed when they are looked at, stay lazy in selections by
        `isel`, and find pixels by ``.sel(…, method="nearest")``, with all of them. They are not
        written by `to_zarr`; `to_netcdf` and `to_zarr` of xarray write all coordinates that there
        are. The name of the image's own system takes them off again.

        Parameters
        ----------
        name : str
            The name of a coordinate system, as `coordinate_systems` lists them.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object.

        Raises
        ------
        OmeZarrError
            Where there is no such system, or no way there.

        Examples
        --------
        >>> samples.coins().omezarr.to_coordinate_system("physical").x.values[:3]
        array([0.  , 0.65, 1.3 ])
        """
        from xarray_omezarr import frames

        return frames.in_system(self._obj, self._image, name)

    def resample(
        self,
        like: xr.Dataset | xr.DataArray,
        *,
        system: str | None = None,
        order: int = 1,
        fill_value: float | None = None,
    ) -> T:
        """Bring the image onto the grid of another, lazily.

        Each pixel of the result is interpolated at its place in this image. Axes that the other
        image lacks, and channels, stay as they are. Blocks of the result read the part of this
        image that they need; in which blocks it comes makes no difference to the pixels.

        Parameters
        ----------
        like : xarray.Dataset or xarray.DataArray
            The image whose pixels the result has.
        system : str, optional
            The coordinate system that both images have, through which they are related; by
            default their coordinates are taken to be in one system.
        order : {1, 0}
            1 is linear interpolation, 0 takes the nearest pixel. Label images are always brought
            over by the nearest pixel.
        fill_value : scalar, optional
            What lies outside, beyond the centres of the outermost pixels; by default NaN, and 0
            for integers. Outside of label images it is 0.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object, with the coordinates of the other image, of the same type of pixels.

        Raises
        ------
        OmeZarrError
            Where the images are not related by an affine transformation.

        Examples
        --------
        >>> ds = samples.coins()
        >>> ds.omezarr.resample(ds.isel(y=slice(100, 120), x=slice(None, None, 2))).image.shape
        (20, 192)
        """
        from xarray_omezarr import resample

        grid = like if isinstance(like, xr.DataArray) else like[coordinates.find_image(like)]
        return resample.resample(
            self._obj, self._image, grid, system=system, order=order, fill_value=fill_value
        )


@xr.register_dataarray_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDataArrayAccessor(_Accessor[xr.DataArray]):
    """Measure and write an image that is a DataArray."""

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        levels: Factors | None = None,
        method: str = "mean",
        boundary: Boundary = "pad",
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        append_dim: str | None = None,
        region: Region | None = None,
        layout: bool | Literal["visible"] = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the image with its pyramid; see `Dataset.omezarr.to_zarr`.

        `image` may be given, but only as the name that this array has.

        Examples
        --------
        >>> samples.coins().image.omezarr.to_zarr(path)
        >>> xr.open_dataarray(path, engine="omezarr").sizes["x"]
        384
        """
        from xarray_omezarr.progress import shown
        from xarray_omezarr.regions import Where, check_part, write_region
        from xarray_omezarr.stream import Running
        from xarray_omezarr.write import Options, write_image

        if image not in (None, self._obj.name):
            msg = f"image={image!r}: this is a DataArray, of the name {self._obj.name!r}."
            raise OmeZarrError(msg)
        options = Options(mode, version, levels, method, boundary, chunks, shards, compressors)
        running = Running(compute, shown(progress), fsync, resume, layout)
        if region is not None or append_dim is not None:
            check_part(options, running)
            return write_region(
                self._obj,
                None,
                (),
                store,
                group=group,
                where=Where(region, append_dim),
                running=running,
                storage_options=storage_options,
            )
        return write_image(
            self._obj,
            None,
            (),
            store,
            group=group,
            options=options,
            name=None,
            running=running,
            storage_options=storage_options,
        )

    def pyramid(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
    ) -> xr.DataTree:
        """Give the levels as a lazy tree, without writing them.

        They are, pixel for pixel, the ones that `to_zarr` writes.

        Parameters
        ----------
        levels, method, boundary
            As for `to_zarr`.

        Returns
        -------
        xarray.DataTree
            `/0`, the image as it is, `/1` and so on, as dask arrays. By "laplacian", `/0` is no
            image, but what it differs by from the smoothed one.

        Raises
        ------
        OmeZarrError
            Where there can be no such levels.

        Examples
        --------
        >>> tree = samples.coins().image.omezarr.pyramid(levels=3)
        >>> [tree[level].sizes["x"] for level in tree.children]
        [384, 192, 96]
        """
        from xarray_omezarr.levels import pyramid
        from xarray_omezarr.write import Options

        options = Options(levels=levels, method=method, boundary=boundary)
        return pyramid(self._obj, None, (), options)

    def plan(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        version: str | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
    ) -> Plan:
        """Tell how the image would be written: levels, chunks, blocks, memory. Nothing is read.

        Parameters
        ----------
        levels, method, boundary, version, chunks, shards
            As for `to_zarr`.

        Returns
        -------
        xarray_omezarr.plan.Plan
            A value that prints as a table; `block_bytes` is what each worker holds at the most.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written like that.

        Examples
        --------
        >>> print(samples.coins().image.omezarr.plan(levels=2, chunks=256))
        level    y    x   chunks  shards  objects      bytes
            0  303  384  256×256       -        4  113.6 KiB
            1  152  192  152×192       -        1   28.5 KiB
        1 blocks of 303×384 from the image fill level 0, 1
        1 tasks, 32.25 MiB in flight per worker
        """
        from xarray_omezarr.write import Options, prepare

        options = Options(
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
        )
        (work,) = prepare(self._obj, None, (), options)
        return work.plan


@xr.register_dataset_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDatasetAccessor(_Accessor[xr.Dataset]):
    """Measure and write an image that is a variable of a Dataset."""

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        labels: Sequence[str] | None = None,
        levels: Factors | None = None,
        method: str = "mean",
        boundary: Boundary = "pad",
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        existing_labels: Literal["keep", "drop"] | None = None,
        overwrite_labels: bool = False,
        append_dim: str | None = None,
        region: Region | None = None,
        layout: bool | Literal["visible"] = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the image with its pyramid as OME-Zarr.

        Scale and translation are read off the coordinates, units off their attributes, channel
        names and display settings off the coordinates along the channel. What the file that the
        image was opened from holds besides is written back. The label images of the Dataset
        are written with it.

        Parameters
        ----------
        store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
            A path, a URL that fsspec knows, or a store of Zarr. A local path that ends in `.ozx` or
            `.zip` is written as a zip archive (RFC-9), which is not changed after that.
        group : str, optional
            The path of the image's group within the store.
        mode : {"w-", "w", "a"}, default "w-"
            "w-" refuses to write where there is anything but an unfinished write; "w" replaces
            an image by an image and nothing else. The old image stays whole until the new one is.
            "a" adds the label images to an image that is there, without touching its pixels.
        version : {"0.4", "0.5", "0.6"}, optional
            The version of OME-Zarr; by default that of the file the image was opened from, if that
            is one of them, else 0.5.
        image : str, optional
            The variable that holds the pixels; by default `image`, or the only one there is.
        labels : sequence of str, optional
            The variables that are label images; by default those that were opened as such. They
            are written below the image, on its levels, with their tables.
        levels : int or list of mapping, optional
            The number of levels in all; or the factors of each further level relative to the
            first, like ``[{"y": 2, "x": 2}, {"z": 2, "y": 4, "x": 4}]``. By default, spatial axes
            are halved until none is longer than 256, anisotropic stacks becoming isotropic first.
        method : str, default "mean"
            How levels are reduced: "mean", "median", "min", "max", "mode", "nearest", "gaussian",
            "linear" or "laplacian"; see `xarray_omezarr.reducers.downsample`. Label images are
            reduced by "mode", or like their image by "nearest".
        boundary : {"pad", "trim"}
            Whether partial cells at the end of an axis are kept or dropped.
        chunks, shards : int or mapping of str to int, optional
            Their sizes, -1 for the whole axis. By default those the image was opened with, else
            chunks near 1 MiB, and shards only where there would be more than 65,536 chunks.
        compressors : optional
            Codecs, as Zarr takes them. By default those the image was opened with, where the
            Zarr format is the same; else Blosc with LZ4.
        existing_labels : {"keep", "drop"}, optional
            With mode "w", what becomes of label images that the Dataset has not: they are kept
            where the pixels are the same ones, or removed. Without it, they are an error.
        overwrite_labels : bool, default False
            Whether a label image of the same name is replaced.
        append_dim : str, optional
            The axis, not one of space, along which the image that is there becomes longer, on
            every level, with its label images and the names of its channels. Coordinates have to
            continue those of the image.
        region : mapping of str to slice, or "auto", optional
            Which part of the image that is there is written, in pixels of the finest level; along
            axes that are not named, all of it. "auto", for an axis or for all, finds the part by
            the coordinates. Every level is brought up to date; the image can be read meanwhile,
            with old pixels or new ones. One region is written at a time.
        layout : bool or "visible", default False
            Whether to write no pixels, but lay out the arrays of an image that is to be written by
            `region`. It becomes one that can be opened once all of it is there; with "visible" it
            is one at once, with zeros where nothing is yet.
        compute : bool, default True
            Whether to write now. With False, only empty arrays are, and the target stays
            unfinished until what comes back is computed.
        progress : bool, optional
            Whether to show one bar for all levels, with bytes per second and the time left; by
            default what `set_options` says. There is none where standard error is neither a
            terminal nor a notebook's.
        fsync : bool, default False
            Whether to wait until all is on the disk before it becomes the image, on local disks:
            it is then whole or not there even after a loss of power.
        resume : bool, default False
            Whether to continue a write that was interrupted, with the same arguments and the same
            pixels. Blocks that are written already are skipped. Where there is nothing to
            continue, the image is written as usual, and the mode applies.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.

        Returns
        -------
        dask.delayed.Delayed or None
            With ``compute=False`` a task that writes the pixels and then makes them the image.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written as asked, and nothing is changed; or where some of
            its blocks could not be written, and the others are kept for `resume`.
        OmeZarrFileExistsError
            Where there is something that the mode does not allow to replace.

        Examples
        --------
        >>> ds = samples.coins()[["image"]]
        >>> ds.omezarr.to_zarr(path)
        >>> xr.open_dataset(path, engine="omezarr", level=-1).sizes["x"]
        192
        """
        from xarray_omezarr.progress import shown
        from xarray_omezarr.regions import Where, check_part, write_region
        from xarray_omezarr.stream import Running
        from xarray_omezarr.write import Options, write_image, write_labels

        chosen = self._labels(labels)
        options = Options(
            mode=mode,
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
            compressors=compressors,
            existing_labels=existing_labels,
            overwrite_labels=overwrite_labels,
        )
        running = Running(compute, shown(progress), fsync, resume, layout)
        if region is not None or append_dim is not None:
            check_part(options, running)
            return write_region(
                self._obj[coordinates.find_image(self._obj, image, chosen)],
                self._obj,
                chosen,
                store,
                group=group,
                where=Where(region, append_dim),
                running=running,
                storage_options=storage_options,
            )
        if mode == "a":
            return write_labels(
                self._obj,
                chosen,
                store,
                group=group,
                options=options,
                running=running,
                storage_options=storage_options,
            )
        name = coordinates.find_image(self._obj, image, chosen)
        if name in chosen:
            msg = f"labels={chosen}: '{name}' is the image. Say which variable that is by image=."
            raise OmeZarrError(msg)
        coordinates.warn_of_others(self._obj, [name, *chosen])
        title = self._obj.attrs.get("name")
        return write_image(
            self._obj[name],
            self._obj,
            chosen,
            store,
            group=group,
            options=options,
            name=title if isinstance(title, str) else None,
            running=running,
            storage_options=storage_options,
        )

    def pyramid(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        image: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> xr.DataTree:
        """Give the levels as a lazy tree, without writing them.

        They are, pixel for pixel, the ones that `to_zarr` writes.

        Parameters
        ----------
        levels, method, boundary
            As for `to_zarr`.
        image, labels
            As for `to_zarr`.

        Returns
        -------
        xarray.DataTree
            `/0`, the image as it is, `/1` and so on, as dask arrays. Label images are below
            `/labels`, with their tables. By "laplacian", `/0` is no image, but what it differs by
            from the smoothed one.

        Raises
        ------
        OmeZarrError
            Where there can be no such levels.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=3)
        >>> [tree[level].sizes["x"] for level in ("0", "1", "labels/coins/2")]
        [384, 192, 96]
        """
        from xarray_omezarr.levels import pyramid
        from xarray_omezarr.write import Options

        options = Options(levels=levels, method=method, boundary=boundary)
        chosen = self._labels(labels)
        name = coordinates.find_image(self._obj, image, chosen)
        return pyramid(self._obj[name], self._obj, chosen, options)

    def plan(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        version: str | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        image: str | None = None,
    ) -> Plan:
        """Tell how the image would be written: levels, chunks, blocks, memory. Nothing is read.

        The plan is that of the image alone; each of its label images has one of its own.

        Parameters
        ----------
        levels, method, boundary, version, chunks, shards, image
            As for `to_zarr`.

        Returns
        -------
        xarray_omezarr.plan.Plan
            A value that prints as a table; `block_bytes` is what each worker holds at the most.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written like that.

        Examples
        --------
        >>> print(samples.coins().omezarr.plan(levels=2, chunks=256))
        level    y    x   chunks  shards  objects      bytes
            0  303  384  256×256       -        4  113.6 KiB
            1  152  192  152×192       -        1   28.5 KiB
        1 blocks of 303×384 from the image fill level 0, 1
        1 tasks, 32.25 MiB in flight per worker
        """
        from xarray_omezarr.write import Options, prepare

        options = Options(
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
        )
        (work,) = prepare(
            self._obj[coordinates.find_image(self._obj, image, self._labels(None))],
            None,
            (),
            options,
        )
        return work.plan

    def _labels(self, labels: Sequence[str] | None) -> list[str]:
        """Give the variables that are label images: those asked for, else all there are."""
        if labels is None:
            return coordinates.label_images(self._obj)
        return coordinates.check_labels(self._obj, labels)

    # ── labels and their tables ──────────────────────────────────────────────────────────────────

    def table(self, label: str) -> xr.Dataset:
        """Give the properties of a label image as a Dataset of their own, along `id`.

        There, `where`, `groupby`, `sortby` and `to_dataframe` do what they do to any table; on the
        whole Dataset they would be broadcast against the pixels.

        Parameters
        ----------
        label : str
            The name of the label image.

        Returns
        -------
        xarray.Dataset
            One variable for each property, without the prefix that it has here; colours as the
            coordinate `color`.

        Raises
        ------
        OmeZarrError
            Where there is no such label image; the message lists those there are.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area"])
        >>> table = ds.omezarr.table("coins")
        >>> table.where(table.area > 1000, drop=True).sizes["id"]
        3
        """
        from xarray_omezarr import tables

        return tables.table(self._obj, label)

    def set_table(self, label: str, table: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Put an edited table back in the place of the one that there was.

        Parameters
        ----------
        label : str
            The name of the label image.
        table : xarray.Dataset or pandas.DataFrame
            Along `id`, the label values.

        Returns
        -------
        xarray.Dataset
            A new object.

        Raises
        ------
        OmeZarrError
            Where the table is not along `id`, or its values are no labels.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area"])
        >>> table = ds.omezarr.table("coins")
        >>> ds = ds.omezarr.set_table("coins", table.assign(large=table.area > 1000))
        >>> int(ds.coins_large.sum())
        3
        """
        from xarray_omezarr import tables

        return tables.set_table(self._obj, label, table)

    def join_csv(
        self,
        table: object,
        *,
        label: str,
        on: str | tuple[str, str],
        columns: Columns | None = None,
        dtypes: Types | None = None,
        how: Literal["left", "inner", "right", "outer"] = "left",
        overwrite: bool = False,
        errors: Literal["raise", "coerce"] = "raise",
        duplicates: Literal["raise", "first", "last"] = "raise",
        ids: ArrayLike | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Join the columns of a table to the labels of a label image, as variables.

        The report of the join stands in a warning where something did not match;
        `xarray_omezarr.joins.join_csv` gives it in any case.

        Parameters
        ----------
        table : str, os.PathLike, file or pandas.DataFrame
            A path, a URL that fsspec knows, an open file or a table; compressed or not.
        label : str
            The name of the label image.
        on : str or (str, str)
            The column that holds the label values; or that and the property it is matched with.
        columns : sequence or mapping of str, optional
            Which columns, or their new names as well; by default all.
        dtypes : mapping of str, optional
            Types, where pandas' guess is not wanted: NumPy's, or "d", "l", "s" and "b".
        how : {"left", "inner", "right", "outer"}
            Which labels there are afterwards, as in `pandas.merge`.
        overwrite : bool, default False
            Whether a property of the same name is replaced.
        errors : {"raise", "coerce"}
            Whether a value that does not parse is an error, or missing.
        duplicates : {"raise", "first", "last"}
            Which of several rows of a label counts.
        ids : array_like of int, optional
            The label values, where neither properties nor colours say them; by default they are
            read from the pixels, block by block.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.

        Returns
        -------
        xarray.Dataset
            A new object with one variable `<label>_<column>` for each column.

        Raises
        ------
        OmeZarrError
            Where a column, the label image or a value is not as asked.

        Examples
        --------
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"cell": range(1, 23), "kind": ["drachma", "obol"] * 11})
        >>> ds = samples.coins().omezarr.join_csv(cells, label="coins", on="cell")
        >>> ds.coins_kind.sel(coins_id=2).item()
        'obol'
        """
        from xarray_omezarr import joins

        joined, report = joins.join_csv(
            self._obj,
            table,
            label=label,
            on=on,
            columns=columns,
            dtypes=dtypes,
            how=how,
            overwrite=overwrite,
            errors=errors,
            duplicates=duplicates,
            ids=ids,
            storage_options=storage_options,
        )
        if not report.complete:
            warnings.warn(str(report), OmeZarrWarning, stacklevel=2)
        return joined

    def paint(self, name: str, fill: Any = np.nan) -> xr.DataArray:  # noqa: ANN401 - any scalar
        """Give each pixel the property of its label, lazily.

        Parameters
        ----------
        name : str
            The variable of the property, like `nuclei_area`.
        fill : scalar, default NaN
            What background and labels without a value get.

        Returns
        -------
        xarray.DataArray
            On the pixels of the label image, of the type that holds both property and `fill`.

        Raises
        ------
        OmeZarrError
            Where there is no such property.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["mean"])
        >>> ds.omezarr.paint("coins_mean").dims
        ('y', 'x')
        """
        from xarray_omezarr import measure

        return measure.paint(self._obj, name, fill)

    def measure(
        self, label: str, properties: str | Sequence[str], image: str | None = None
    ) -> xr.Dataset:
        """Measure each label, and join what comes out as variables.

        Parameters
        ----------
        label : str
            The name of the label image.
        properties : str or sequence of str
            Of "area", "bbox", "centroid", "count", "max", "mean", "min", "std" and "sum"; see
            `xarray_omezarr.measure.measure` for what they are.
        image : str, optional
            The variable whose values are measured; by default the image.

        Returns
        -------
        xarray.Dataset
            A new object, with sizes and positions in the units of the coordinates.

        Raises
        ------
        OmeZarrError
            Where there is no such label image, property or image.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area", "centroid"])
        >>> sorted(ds.omezarr.table("coins").data_vars)
        ['area', 'centroid_x', 'centroid_y']
        """
        from xarray_omezarr import measure

        return measure.measure(self._obj, label, properties, image)

    def color_labels(
        self, label: str, colors: Colors | None = None, *, by: str | None = None
    ) -> xr.Dataset:
        """Set the colours in which labels are shown.

        Parameters
        ----------
        label : str
            The name of the label image.
        colors : str, mapping, sequence or callable, optional
            A colour, the name of a colormap of Matplotlib, or a colour for each label; see
            `xarray_omezarr.measure.color_labels`. By default each label has a colour of its own,
            the same in each run.
        by : str, optional
            The property that a colormap shows.

        Returns
        -------
        xarray.Dataset
            A new object with the coordinate `<label>_color`: eight hexadecimal digits.

        Raises
        ------
        OmeZarrError
            Where there is no such label image, property or colour.

        Examples
        --------
        >>> ds = samples.astronaut().omezarr.color_labels("circles", {1: "#FF0000"})
        >>> ds.circles_color.sel(circles_id=1).item()
        'FF0000FF'
        """
        from xarray_omezarr import measure

        return measure.color_labels(self._obj, label, colors, by=by)


@xr.register_datatree_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDataTreeAccessor:
    """Write a tree whose nodes are the levels of an image."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        levels: Factors | None = None,
        method: str | None = None,
        boundary: Boundary | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        existing_labels: Literal["keep", "drop"] | None = None,
        overwrite_labels: bool = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the levels of an image as they are, each with its own coordinates.

        The parameters are those of `Dataset.omezarr.to_zarr`; of these, `levels`, `method` and
        `boundary` say how levels are made, and are refused. Levels that a selection has left empty
        are dropped with a warning.

        Raises
        ------
        OmeZarrError
            Where the levels are not one image: of the same dimensions, coarser and coarser, each
            with its edges within one coarse pixel of the first one's.

        Examples
        --------
        >>> samples.coins()[["image"]].omezarr.to_zarr(path)
        >>> tree = xr.open_datatree(path, engine="omezarr")
        >>> tree.sel(x=slice(5, 20)).omezarr.to_zarr(path + "-crop")
        """
        from xarray_omezarr.progress import shown
        from xarray_omezarr.stream import Running
        from xarray_omezarr.write import Options, tree_labels, tree_levels, write_levels

        made = {"levels": levels, "method": method, "boundary": boundary}
        given = [f"{key}={value!r}" for key, value in made.items() if value is not None]
        if given:
            msg = (
                f"{', '.join(given)}: the levels of a tree are written as they are. To make new "
                "ones, write the finest: tree['0'].to_dataset().omezarr.to_zarr(…)."
            )
            raise OmeZarrError(msg)
        nodes = tree_levels(self._tree, image)
        title = nodes[0].attrs.get("name")
        return write_levels(
            [level[image or coordinates.IMAGE] for level in nodes],
            tree_labels(self._tree),
            store,
            group=group,
            options=Options(
                mode=mode,
                version=version,
                chunks=chunks,
                shards=shards,
                compressors=compressors,
                existing_labels=existing_labels,
                overwrite_labels=overwrite_labels,
            ),
            name=title if isinstance(title, str) else None,
            running=Running(compute, shown(progress), fsync, resume),
            storage_options=storage_options,
        )
