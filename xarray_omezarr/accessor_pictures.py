"""How the accessors of Dataset, DataArray and DataTree show what they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import xarray as xr


class PicturesAccessor:
    """What is shown where an accessor is looked at: a card in notebooks, else a text."""

    _obj: xr.Dataset | xr.DataArray | xr.DataTree

    def __repr__(self) -> str:
        from xarray_omezarr import display

        return display.to_text(self._obj)

    def _repr_html_(self) -> str:
        from xarray_omezarr import display

        return display.to_html(self._obj)

    def preview(self, target: str | os.PathLike[str] | None = None, *, size: int = 512) -> bytes:
        """Make a picture as PNG: the one that notebooks show, with its scale bar.

        Parameters
        ----------
        target : str or os.PathLike, optional
            The file that is written. What is there is replaced.
        size : int, default 512
            The pixels along the longer side.

        Returns
        -------
        bytes
            The content of the file.

        Raises
        ------
        OmeZarrError
            Where there is no picture: of a graph of dask, which is not computed for it, or of
            pixels that would take too long to read.

        See Also
        --------
        xarray_omezarr.preview : The same of an image that is not open.

        Examples
        --------
        >>> content = samples.coins().omezarr.preview("coins.png")
        """
        from xarray_omezarr import previews

        return previews.picture_of(self._obj, target, size)
