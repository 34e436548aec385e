"""What of an image is wanted, by the accessors: a region, in any units, and a level of a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from xarray_omezarr.picking import Wanted
    from xarray_omezarr.selection import Include

T = TypeVar("T", xr.Dataset, xr.DataArray)


class SelectionAccessor(Generic[T]):
    """Select a part of an image that is a Dataset or a DataArray."""

    _obj: T

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        *,
        include: Include = "center",
        **indexers_kwargs: Any,  # noqa: ANN401 - as xarray's `sel`
    ) -> T:
        """Select a part of the image, in any unit of length or time.

        It is as lazy as the image is, and what no dimension of it is selected along stays as it is.

        Parameters
        ----------
        indexers : mapping, optional
            What is selected along each dimension. Along space and time: a value, several of them,
            or a slice from the lower bound to the upper one, whatever the direction of the axis. A
            value is a number, in the unit of the coordinate, or has a unit of its own:
            ``"0.3 mm"``, ``"90 s"``, a `timedelta`, or a quantity of pint. Along channels, wells
            and all else: labels, as `Dataset.sel` takes them.

            A value selects the pixel that contains it, which extends half its size to each side of
            its centre; on the border between two pixels, the upper one. DataArrays select
            pointwise, in their own units.
        include : {"center", "overlap"}
            Which pixels a slice selects: those whose centres are within the bounds or on them, or
            all that it overlaps, those that the bounds cut as well.
        **indexers_kwargs
            The keyword form of `indexers`.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            A new object, in the stored order.

        Raises
        ------
        OmeZarrError
            Where no pixel is selected, as outside of the image; or there is no such dimension,
            label or unit.

        See Also
        --------
        xarray.Dataset.sel

        Examples
        --------
        >>> ds = samples.coins()
        >>> crop = ds.omezarr.sel(x=slice("20 um", "0.1 mm"), y=slice(None, 50))
        >>> crop.x.values[[0, -1]]
        array([20.15, 99.45])
        >>> ds.omezarr.sel(x=slice("20 um", "0.1 mm"), include="overlap").x.values[[0, -1]]
        array([ 20.15, 100.1 ])
        >>> ds.omezarr.sel(x="0.1 mm").x.item()
        100.1
        """
        from xarray_omezarr.selection import select, together

        return select(self._obj, together(indexers, indexers_kwargs), include)


class LevelsAccessor:
    """Choose a level of a tree, or a region of all of its levels."""

    _obj: xr.DataTree

    @property
    def levels(self) -> pd.DataFrame:
        """The levels as a table: shape, pixel sizes, bytes in memory, and chunks as stored.

        The index is the number of the level; of several images, the path of the image as well.
        Pixel sizes are in the units of the axes, ``scale_y`` along `y` and so on. Bytes are those
        of the image, without its labels. Nothing is read.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=2)
        >>> tree.omezarr.levels[["shape", "scale_x", "nbytes"]]
                    shape  scale_x  nbytes
        level
        0      (303, 384)     0.65  116352
        1      (152, 192)     1.30   29184
        """
        from xarray_omezarr import resolutions

        return resolutions.table(self._obj)

    def sel_level(
        self,
        level: int | None = None,
        *,
        resolution: Wanted | None = None,
        max_bytes: float | str | None = None,
    ) -> xr.Dataset:
        """Give one level of the image, with the label images that lie on its pixels.

        Parameters
        ----------
        level : int, optional
            Its number; negative ones count from the coarsest.
        resolution : float, str or mapping of str to these, optional
            The size that pixels may have at the most, along all axes of space or along those named:
            ``0.5`` in the units of the axes, ``"1 um"`` or ``{"z": 2.0, "x": "500 nm"}``. It is
            the coarsest level that is at least as fine.
        max_bytes : int or str, optional
            The number of bytes that the pixels of the image may take, like ``"500 MB"``. It is the
            finest level that fits.

        Returns
        -------
        xarray.Dataset
            As lazy as it is in the tree.

        Raises
        ------
        OmeZarrError
            Where none of these or several are given, no level is as wanted, or the tree holds
            several images.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=3)
        >>> tree.omezarr.sel_level(resolution="2 um").omezarr.scale
        {'y': 1.3, 'x': 1.3}
        >>> tree.omezarr.sel_level(max_bytes="20 kB").image.shape
        (76, 96)
        """
        from xarray_omezarr import resolutions

        return resolutions.level(self._obj, level, resolution, max_bytes)

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        *,
        include: Include = "center",
        **indexers_kwargs: Any,  # noqa: ANN401 - as xarray's `sel`
    ) -> xr.DataTree:
        """Select the same physical region at each level of each image, in any unit.

        Levels that have no pixel there are left out, and so are images whose finest level has none.

        Parameters
        ----------
        indexers, include, **indexers_kwargs
            As for `Dataset.omezarr.sel`; they apply to the nodes that have the dimension.

        Returns
        -------
        xarray.DataTree

        Raises
        ------
        OmeZarrError
            Where no image has a pixel there, or there is no such dimension, label or unit.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=3)
        >>> crop = tree.omezarr.sel(x=slice("20 um", "0.1 mm"))
        >>> [crop[level].sizes["x"] for level in ("0", "1", "labels/coins/2")]
        [123, 61, 31]
        """
        from xarray_omezarr import resolutions, selection

        return resolutions.region(self._obj, selection.together(indexers, indexers_kwargs), include)
