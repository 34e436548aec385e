"""Images and labels drawn by Matplotlib or shown by napari, by the accessor of Dataset and tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from matplotlib.axes import Axes

    from xarray_omezarr.composite import Overlay
    from xarray_omezarr.looks import Channels, Colors, Windows
    from xarray_omezarr.plots import Drawn


class PlotsAccessor:
    """Draw the image of a Dataset and its labels, or hand them to napari."""

    _obj: xr.Dataset

    def plot(
        self,
        *,
        level: int | None = None,
        channels: Channels | None = None,
        windows: Windows | None = None,
        colors: Colors | None = None,
        labels: str | Sequence[str] | None = None,
        overlay: Overlay = "outlines",
        project: Mapping[str, str] | None = None,
        row: str | None = None,
        col: str | None = None,
        col_wrap: int | None = None,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        scale_bar: bool = True,
        channel_names: bool = True,
    ) -> Drawn:
        """Draw the image in its colours with Matplotlib, where its pixels are.

        One plane is drawn, of the last two axes of space. Along other axes it is the middle of one
        of space and the first position of what is none, like a time or a well, which the title
        says; `sel` and `isel` choose others, `project` brings an axis down, and `row` and `col`
        give a picture for each position. Axes are in the units of the coordinates, pixels end at
        their edges, and what is longer is drawn longer. y goes down.

        As far as nothing has been done to the image since it was opened but to select from it, no
        more is read than is seen: the coarsest level that has a pixel for each one of the screen.

        Parameters
        ----------
        level : int, optional
            The level that is drawn, whatever the size of the screen.
        channels, windows, colors
            Which channels are drawn and how, as for `to_rgb`.
        labels : str, optional
            A label image that is drawn over it, in its colours. A list has one name, or none: then
            no labels are drawn.
        overlay : {"outlines", "filled"}
            How it is drawn.
        project : mapping of str to str, optional
            By dimension, how it is brought down: "max", "mean", "min" or "sum".
        row, col : str, optional
            Dimensions of which each position has a picture of its own, in a row or in a column:
            like t, z, c, well.
        col_wrap : int, optional
            So many pictures of `col` are in a row; more go on below.
        ax : matplotlib.axes.Axes, optional
            What a single picture is drawn into; by default the current axes of pyplot.
        figsize : (float, float), optional
            The size of a new figure, in inches.
        scale_bar, channel_names : bool, default True
            Whether there is a scale bar, and whether the channels are named in their colours.

        Returns
        -------
        matplotlib.image.AxesImage or xarray.plot.FacetGrid
            As xarray's own plots do; the picture's axes are its `axes`.

        Raises
        ------
        OmeZarrError
            Where there is no such channel, label image or dimension, no plane to draw, or
            Matplotlib is not installed.

        Examples
        --------
        >>> drawn = samples.coins().omezarr.plot(labels="coins")
        >>> drawn.axes.get_xlabel(), drawn.get_extent()
        ('x [µm]', [-0.325, 249.275, 196.625, -0.325])

        >>> cells = samples.fluorescence((3, 2, 64, 64), "tcyx")
        >>> cells.omezarr.plot(col="t").axs.shape
        (1, 3)
        """
        from xarray_omezarr import plots

        return plots.plot(
            [self._obj],
            plots.Panels(row, col, col_wrap, ax, figsize),
            level=level,
            labels=labels,
            overlay=overlay,
            project=project,
            scale_bar=scale_bar,
            channel_names=channel_names,
            look={"channels": channels, "windows": windows, "colors": colors},
        )

    def plot_labels(
        self,
        label: str,
        by: str | None = None,
        *,
        level: int | None = None,
        cmap: Any = None,  # noqa: ANN401 - a name or a colormap of Matplotlib
        vmin: float | None = None,
        vmax: float | None = None,
        alpha: float | None = None,
        row: str | None = None,
        col: str | None = None,
        col_wrap: int | None = None,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        scale_bar: bool = True,
    ) -> Drawn:
        """Draw a label image with Matplotlib: in its colours, or coloured by a property.

        The background, and labels without a value, are left as they are: drawn into the axes of
        `plot`, labels lie over the image. What is drawn is chosen as `plot` does.

        Parameters
        ----------
        label : str
            The name of the label image.
        by : str, optional
            The property: numbers are coloured from the least to the greatest that the table has,
            whatever part of the image is drawn, and texts and booleans by category. A bar says
            which colour is which, with the property's unit.
        level : int, optional
            The level that is drawn, whatever the size of the screen.
        cmap : str or matplotlib.colors.Colormap, optional
            By default viridis for numbers, and tab10 or tab20 for so many categories.
        vmin, vmax : float, optional
            Where the colours begin and end.
        alpha : float, optional
            How opaque labels are, up to 1.
        row, col, col_wrap, ax, figsize
            How many pictures there are, and where, as for `plot`.
        scale_bar : bool, default True
            Whether there is a scale bar.

        Returns
        -------
        matplotlib.image.AxesImage or xarray.plot.FacetGrid
            As xarray's own plots do.

        Raises
        ------
        OmeZarrError
            Where there is no such label image, property or dimension, or Matplotlib is not
            installed.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", "area")
        >>> drawn = ds.omezarr.plot_labels("coins", by="coins_area")
        >>> drawn.colorbar.ax.get_ylabel()
        'coins_area [µm²]'
        """
        from xarray_omezarr import plots

        return plots.plot_labels(
            self._obj,
            label,
            plots.Panels(row, col, col_wrap, ax, figsize),
            by=by,
            level=level,
            cmap=cmap,
            limits=(vmin, vmax),
            alpha=alpha,
            scale_bar=scale_bar,
        )

    def to_napari(self, viewer: Any = None) -> Any:  # noqa: ANN401 - napari's Viewer
        """Show the image and its label images in napari.

        There is a layer for each channel, in its colour and window, and one for each label image,
        with its colours and properties. Of an image on which nothing was done since it was opened,
        napari gets all coarser levels as well, and reads what it shows. `viewers.dataset_layers`
        gives the layers without napari.

        Parameters
        ----------
        viewer : napari.Viewer, optional
            A window to which the layers are added; by default a new one, with a scale bar.

        Returns
        -------
        napari.Viewer
            The window. A script goes on to ``napari.run()``.

        Raises
        ------
        OmeZarrError
            Where there is no image, or napari is not installed.

        Examples
        --------
        >>> viewer = ds.omezarr.to_napari()  # doctest: +SKIP
        """
        from xarray_omezarr import viewers

        return viewers.show(viewers.dataset_layers(self._obj), viewer)


class TreePlotsAccessor:
    """Draw the image of a tree, or hand it to napari."""

    _obj: xr.DataTree

    def plot(
        self,
        *,
        level: int | None = None,
        channels: Channels | None = None,
        windows: Windows | None = None,
        colors: Colors | None = None,
        labels: str | Sequence[str] | None = None,
        overlay: Overlay = "outlines",
        project: Mapping[str, str] | None = None,
        row: str | None = None,
        col: str | None = None,
        col_wrap: int | None = None,
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        scale_bar: bool = True,
        channel_names: bool = True,
    ) -> Drawn:
        """Draw the image of a tree, in its colours, with Matplotlib; see `Dataset.omezarr.plot`.

        It is the coarsest level of the tree that has a pixel for each one of the screen, and on
        whose pixels the labels lie that are asked for.

        Parameters
        ----------
        level : int, optional
            The level that is drawn, by its number in the tree; negative ones count from the
            coarsest.
        channels, windows, colors, labels, overlay, project
            What is drawn of it, and how, as for `Dataset.omezarr.plot`.
        row, col, col_wrap, ax, figsize, scale_bar, channel_names
            How many pictures there are, where, and what they tell, as there.

        Returns
        -------
        matplotlib.image.AxesImage or xarray.plot.FacetGrid
            As xarray's own plots do.

        Raises
        ------
        OmeZarrError
            Where there is no image in the tree, or there are several; and as for
            `Dataset.omezarr.plot`.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=3)
        >>> drawn = tree.omezarr.plot(labels="coins", level=-1)
        >>> drawn.get_array().shape
        (76, 96, 4)
        """
        from xarray_omezarr import plots, rendering, resolutions

        return plots.plot(
            resolutions.drawn(self._obj, level, rendering.label_name(labels)),
            plots.Panels(row, col, col_wrap, ax, figsize),
            level=None,
            labels=labels,
            overlay=overlay,
            project=project,
            scale_bar=scale_bar,
            channel_names=channel_names,
            look={"channels": channels, "windows": windows, "colors": colors},
        )

    def to_napari(self, viewer: Any = None) -> Any:  # noqa: ANN401 - napari's Viewer
        """Show the image of a tree and its label images in napari, with all their levels.

        Parameters
        ----------
        viewer : napari.Viewer, optional
            A window to which the layers are added; by default a new one, with a scale bar.

        Returns
        -------
        napari.Viewer
            The window. `viewers.tree_layers` gives its layers without napari.

        Raises
        ------
        OmeZarrError
            Where there is no image in the tree, or there are several; or napari is not installed.

        Examples
        --------
        >>> viewer = tree.omezarr.to_napari()  # doctest: +SKIP
        >>> viewer = plate["A/1/0"].omezarr.to_napari()  # doctest: +SKIP
        """
        from xarray_omezarr import viewers

        return viewers.show(viewers.tree_layers(self._obj), viewer)
