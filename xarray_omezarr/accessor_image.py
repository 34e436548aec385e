"""The geometry and the channels of an image, by the accessor of Dataset and of DataArray.

Nothing is changed in place, and nothing is kept between calls: every answer is read off the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.accessor_pictures import PicturesAccessor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from xarray_omezarr.frames import CoordinateSystems
    from xarray_omezarr.graph import CoordinateSystem
    from xarray_omezarr.transforms import Transform

T = TypeVar("T", xr.Dataset, xr.DataArray)


class ImageAccessor(PicturesAccessor, Generic[T]):
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
    def _field(self) -> xr.DataArray:
        """The image; of the fields of a plate the first, whose pixels and channels all have."""
        from xarray_omezarr import slots

        return slots.one_field(self._image)

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
        return {name: scale for name, (scale, _) in coordinates.geometry_of(self._field).items()}

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
        return {name: first for name, (_, first) in coordinates.geometry_of(self._field).items()}

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
            for axis in coordinates.axes_of(self._field, coordinates.memory_of(self._field).axes)
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
            self._field, {**(scale or {}), **scale_kwargs}, translation or {}, units or {}
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
                self._field, names=names, colors=colors, windows=windows, active=active
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
        return self._obj.assign_coords(coordinates.snapped(self._field))

    # ── coordinate systems ───────────────────────────────────────────────────────────────────────

    @property
    def coordinate_systems(self) -> CoordinateSystems:
        """The coordinate systems of the image, by name; that of its coordinates comes first.

        Only files of version 0.6 have more than that one; `assign_coordinate_system` adds some.

        Examples
        --------
        >>> samples.coins().omezarr.coordinate_systems
        Coordinate systems
          physical (of the coordinates): y (micrometer), x (micrometer)
        """
        from xarray_omezarr import frames

        return frames.systems_of(self._image)

    def assign_coordinate_system(
        self, system: str | CoordinateSystem, transform: Transform | ArrayLike
    ) -> T:
        """Give the image one more coordinate system, by the way there from its coordinates.

        It is written with the image from version 0.6 on, which is the one that is written from
        now on where none is asked for. Images of a tree that have a system of the same name are
        written as a scene, and one with a system of the scene can be added to it.

        Parameters
        ----------
        system : str or CoordinateSystem
            Its name, with the axes of the image as its own; or the system, with its name and
            axes. One of the same name is replaced.
        transform : Transform or array_like
            Brings the coordinates of a point in the image to those in the system: one of
            `xarray_omezarr.transforms`, or the matrix [A b] of an affine one (also with the last
            row of homogeneous coordinates). Over all axes of the image in their order, or over
            those of space alone: then the others are the same in both.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object.

        Raises
        ------
        OmeZarrError
            Where they do not fit, or cannot be stored.

        Examples
        --------
        >>> turned = [[0, 1, 5.0], [-1, 0, 250.0]]
        >>> ds = samples.coins().omezarr.assign_coordinate_system("stage", turned)
        >>> ds.omezarr.transform_points([[0.65, 1.3]], "physical", "stage")
        array([[  6.3 , 249.35]])
        """
        from xarray_omezarr import frames

        return frames.assigned(self._obj, self._image, system, transform)

    def transform_points(self, points: ArrayLike, source: str, target: str) -> NDArray[np.float64]:
        """Bring points from one coordinate system to another.

        Parameters
        ----------
        points : array_like
            Of the shape (..., n), with the coordinates along the last axis in the order of the
            axes of `source`, with or without that of the channels.
        source, target : str
            The names of coordinate systems, as `coordinate_systems` lists them.

        Returns
        -------
        numpy.ndarray
            float64, of the shape (..., m), in the order of the axes of `target`; without that of
            the channels where the points were.

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
