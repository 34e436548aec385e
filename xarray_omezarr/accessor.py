"""The accessor `.omezarr` on Dataset, DataArray and DataTree.

Nothing is changed in place, and nothing is kept between calls: every answer is read off the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import zarr
    from dask.delayed import Delayed
    from zarr.abc.store import Store

    from xarray_omezarr.reducers import Boundary

    Target = str | os.PathLike[str] | Store | zarr.Group
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
        compute: bool = True,
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
        from xarray_omezarr.write import Options, write_image

        if image not in (None, self._obj.name):
            msg = f"image={image!r}: this is a DataArray, of the name {self._obj.name!r}."
            raise OmeZarrError(msg)
        return write_image(
            self._obj,
            {},
            store,
            group=group,
            options=Options(mode, version, levels, method, boundary, chunks, shards, compressors),
            name=None,
            compute=compute,
            storage_options=storage_options,
        )


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
        levels: Factors | None = None,
        method: str = "mean",
        boundary: Boundary = "pad",
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        compute: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the image with its pyramid as OME-Zarr.

        Scale and translation are read off the coordinates, units off their attributes, channel
        names and display settings off the coordinates along the channel. What the file that the
        image was opened from holds besides is written back. Label images, like those of the
        samples, are written below the image, on its levels.

        Parameters
        ----------
        store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
            A path, a URL that fsspec knows, or a store of Zarr.
        group : str, optional
            The path of the image's group within the store.
        mode : {"w-", "w"}, default "w-"
            "w-" refuses to write where there is anything but an unfinished write; "w" replaces
            an image by an image and nothing else. The old image stays whole until the new one is.
        version : {"0.4", "0.5"}, optional
            The version of OME-Zarr; by default that of the file the image was opened from, else
            0.5.
        image : str, optional
            The variable that holds the pixels; by default `image`, or the only one there is.
        levels : int or list of mapping, optional
            The number of levels in all; or the factors of each further level relative to the
            first, like ``[{"y": 2, "x": 2}, {"z": 2, "y": 4, "x": 4}]``. By default, spatial axes
            are halved until none is longer than 256, anisotropic stacks becoming isotropic first.
        method : {"mean", "nearest", "mode"}
            How levels are reduced; see `xarray_omezarr.reducers.downsample`.
        boundary : {"pad", "trim"}
            Whether partial cells at the end of an axis are kept or dropped.
        chunks, shards : int or mapping of str to int, optional
            Their sizes, -1 for the whole axis. By default those the image was opened with, else
            chunks near 1 MiB and no shards.
        compressors : optional
            Codecs, as Zarr takes them. By default those the image was opened with, where the
            Zarr format is the same; else Blosc with LZ4.
        compute : bool, default True
            Whether to write now. With False, the target stays unfinished until what comes back
            is computed.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.

        Returns
        -------
        dask.delayed.Delayed or None
            With ``compute=False`` a task that writes the pixels and then makes them the image.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written as asked; nothing is changed then.
        OmeZarrFileExistsError
            Where there is something that the mode does not allow to replace.

        Examples
        --------
        >>> ds = samples.coins()[["image"]]
        >>> ds.omezarr.to_zarr(path)
        >>> xr.open_dataset(path, engine="omezarr", level=-1).sizes["x"]
        192
        """
        from xarray_omezarr.write import Options, write_image

        name = coordinates.find_image(self._obj, image)
        labels = coordinates.label_images(self._obj)
        coordinates.warn_of_others(self._obj, [name, *labels])
        title = self._obj.attrs.get("name")
        return write_image(
            self._obj[name],
            labels,
            store,
            group=group,
            options=Options(mode, version, levels, method, boundary, chunks, shards, compressors),
            name=title if isinstance(title, str) else None,
            compute=compute,
            storage_options=storage_options,
        )


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
        compute: bool = True,
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
        from xarray_omezarr.write import Options, tree_levels, write_levels

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
            store,
            group=group,
            options=Options(
                mode=mode, version=version, chunks=chunks, shards=shards, compressors=compressors
            ),
            name=title if isinstance(title, str) else None,
            compute=compute,
            storage_options=storage_options,
        )
