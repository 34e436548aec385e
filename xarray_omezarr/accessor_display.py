"""Pictures of an image, by the accessor of Dataset and of DataArray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xarray_omezarr import coordinates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from xarray_omezarr.composite import Overlay
    from xarray_omezarr.looks import Channels, Colors, Windows


class DisplayAccessor:
    """Look at the image of a Dataset, and at its labels."""

    _obj: xr.Dataset

    def to_rgb(
        self,
        level: int | None = None,
        *,
        channels: Channels | None = None,
        windows: Windows | None = None,
        colors: Colors | None = None,
        labels: str | Sequence[str] | None = None,
        overlay: Overlay = "filled",
        project: Mapping[str, str] | None = None,
        alpha: bool = False,
    ) -> xr.DataArray:
        """Put the channels together to a picture, lazily, as OMERO does.

        Each channel is shown in its colour: within its window from dark to bright, along its curve
        (`family` and `coefficient`, the gamma) and inverted where the file says so; then the light
        of all channels is added up. The guide, and `xarray_omezarr.composite`, say how, to the last
        bit.

        Parameters
        ----------
        level : int, optional
            Another level of the file than the one that is open: 0 is the finest, -1 the coarsest.
            The image has to be the lazy one that was opened, and all of it.
        channels : str, int or sequence, optional
            Which channels, by label or by number; by default those that are active.
        windows : "auto", pair, sequence or mapping, optional
            The values that are shown darkest and brightest: one pair for all channels, one for each
            that is shown, or by channel. By default those of the file. Where there are none, and
            with "auto", they are the percentiles 0.1 and 99.9 of some planes of a coarse level,
            which are read for it; the attribute ``windows`` of the result says so. Photographs
            (uint8 in red, green and blue) and masks are shown as they are.
        colors : str, sequence or mapping, optional
            One for all channels, one for each that is shown, or by channel: six hexadecimal digits,
            or a name like "cyan". By default those of the file, or such as differ.
        labels : str, optional
            The label image that is laid over the picture: in its own colours, if it has any, and
            without the labels that have none; else in colours that only the labels decide. A list
            has one name, or none: then no labels are shown.
        overlay : {"filled", "outlines"}
            Whether labels are half transparent, or outlines of one pixel, inside of each label.
        project : mapping of str to str, optional
            Axes that are brought down to one plane, before anything else: "max", "mean", "min" or
            "sum" of all of them, as in ``{"z": "max"}``. Of labels, the greatest is shown.
        alpha : bool, default False
            Whether there is a fourth component, which is 0 where all channels are NaN.

        Returns
        -------
        xarray.DataArray
            uint8, with all dimensions but the channel's, and `rgb` or `rgba` at the end; with the
            coordinates of the image. It is dask where image or labels are; else it is computed when
            it is asked for, of the part that is asked for, a few chunks at a time.

        Raises
        ------
        OmeZarrError
            Where there is no such channel, label image, level or axis, or an argument is not as
            described.

        Examples
        --------
        >>> ds = samples.astronaut()
        >>> rgb = ds.omezarr.to_rgb(labels="circles", overlay="outlines")
        >>> rgb.dims, rgb.dtype
        (('y', 'x', 'rgb'), dtype('uint8'))
        >>> rgb.attrs["windows"]
        '...'
        """
        from xarray_omezarr import rendering

        image = self._obj[coordinates.find_image(self._obj)]
        name = rendering.label_name(labels)
        return rendering.to_rgb(
            image,
            None if name is None else rendering.labels_of(self._obj, name, overlay),
            level=level,
            channels=channels,
            windows=windows,
            colors=colors,
            project=project,
            alpha=alpha,
        )


class DisplayArrayAccessor:
    """Look at an image that is a DataArray."""

    _obj: xr.DataArray

    def to_rgb(
        self,
        level: int | None = None,
        *,
        channels: Channels | None = None,
        windows: Windows | None = None,
        colors: Colors | None = None,
        project: Mapping[str, str] | None = None,
        alpha: bool = False,
    ) -> xr.DataArray:
        """Put the channels together to a picture; see `Dataset.omezarr.to_rgb`.

        Label images belong to a Dataset.

        Examples
        --------
        >>> image = samples.astronaut().image
        >>> bool((image.omezarr.to_rgb().values == image.transpose("y", "x", "c").values).all())
        True
        """
        from xarray_omezarr import rendering

        return rendering.to_rgb(
            self._obj,
            None,
            level=level,
            channels=channels,
            windows=windows,
            colors=colors,
            project=project,
            alpha=alpha,
        )
