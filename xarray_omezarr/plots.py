"""Images and labels drawn with Matplotlib: where they are, as large as they are."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from xarray_omezarr import (
    coordinates,
    looks,
    measure,
    projections,
    rendering,
    scalebars,
    views,
)
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.text import Text
    from numpy.typing import NDArray
    from xarray.plot.facetgrid import FacetGrid

    from xarray_omezarr.composite import Overlay
    from xarray_omezarr.looks import Looks
    from xarray_omezarr.rendering import Labels
    from xarray_omezarr.scalebars import ScaleBar
    from xarray_omezarr.views import View

    Drawn = AxesImage | FacetGrid[xr.DataArray]

#: The height of a facet, in inches, as xarray has it.
_FACET = 3.0
#: A facet is at most so much longer than wide, or the other way round.
_OBLONG = 3.0
#: The width of a colour bar beside facets, and the height of a line above them, in inches.
_BESIDES, _HEADLINE = 1.0, 0.3
#: What titles and numbers take between pictures, and the names of the axes around all of them.
_GAP, _AROUND = 0.35, 0.7
#: What a colour bar leaves of the width of a picture.
_LEFT = 0.8
#: What says how values become colours.
_VALUES = ("cmap", "vmin", "vmax", "norm", "extend", "levels")
#: Categories that the qualitative colormaps of Matplotlib tell apart.
_FEW, _SEVERAL = 10, 20
#: A name in a colour of less luminance than this cannot be read on black: 4.5:1 (WCAG 2, 1.4.3).
_READABLE = 0.175
#: The height of a scale bar, of the picture.
_BAR = 0.012


@dataclass(frozen=True)
class Panels:
    """How many pictures there are, and where."""

    row: str | None = None
    col: str | None = None
    col_wrap: int | None = None
    ax: Axes | None = None
    figsize: tuple[float, float] | None = None

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions along which there are several."""
        return tuple(dim for dim in (self.row, self.col) if dim is not None)

    def check(self, array: xr.DataArray, project: object = None) -> tuple[str, str]:
        """Check that there can be these pictures of an image, and give what is drawn of it."""
        plane = views.check(array, {"row": self.row, "col": self.col}, project)
        if self.ax is not None and not hasattr(self.ax, "get_window_extent"):
            # As `plt.subplots(1, 2)` gives them.
            several = isinstance(self.ax, np.ndarray)
            found = "an array of several" if several else repr(self.ax)[:80]
            msg = f"ax={found}: expected one of Matplotlib's Axes{', like ax[0]' * several}."
            raise OmeZarrError(msg)
        if self.ax is not None and (self.dims or self.figsize is not None):
            msg = (
                "ax= takes one picture, into axes that are there: without row=, col= and figsize=."
            )
            raise OmeZarrError(msg)
        if self.col_wrap is not None and (self.col is None or self.row is not None):
            msg = f"col_wrap={self.col_wrap!r:.40} says how many pictures of col= are in a row."
            raise OmeZarrError(msg)
        if self.col_wrap is not None and not _is_count(self.col_wrap):
            msg = f"col_wrap={self.col_wrap!r:.40}: expected a number of pictures, 1 or more."
            raise OmeZarrError(msg)
        if self.figsize is not None and not _is_pair(self.figsize):
            msg = f"figsize={self.figsize!r:.40}: expected the width and the height, in inches."
            raise OmeZarrError(msg)
        return plane

    def count(self, array: xr.DataArray) -> int:
        """Tell how many pictures there are of an image."""
        return int(np.prod([array.sizes[dim] for dim in self.dims], initial=1))

    def placed(self) -> Panels:
        """Give the same with axes to draw into, those that pyplot has where none were given."""
        import matplotlib.pyplot as plt

        if self.dims or self.ax is not None:
            return self
        figure = plt.gcf() if self.figsize is None else plt.figure(figsize=self.figsize)
        return Panels(ax=figure.gca())

    def grid(self, array: xr.DataArray) -> tuple[int, int]:
        """Tell how many rows and columns of pictures there are."""
        rows = 1 if self.row is None else array.sizes[self.row]
        cols = 1 if self.col is None else array.sizes[self.col]
        if self.col_wrap is not None:
            rows, cols = -(-cols // self.col_wrap), self.col_wrap
        return rows, cols

    def screen(self, array: xr.DataArray) -> tuple[float, float]:
        """Tell how large a picture becomes, in pixels of the screen, as far as known before."""
        import matplotlib as mpl

        if self.ax is not None:
            extent = self.ax.get_window_extent()
            return extent.width, extent.height
        resolution = float(mpl.rcParams["figure.dpi"])
        if self.figsize is None:
            return _FACET * _OBLONG * resolution, _FACET * resolution
        rows, cols = self.grid(array)
        width, height = self.figsize
        return width * resolution / cols, height * resolution / rows

    def figure_size(
        self, picture: xr.DataArray, across: float, besides: float
    ) -> tuple[float, float]:
        """Tell how large a figure of several pictures is, in inches.

        Parameters
        ----------
        picture
            The pictures.
        across
            How wide one is, of its height.
        besides
            The width of what stands beside them.
        """
        if self.figsize is not None:
            return self.figsize
        rows, cols = self.grid(picture)
        width = _FACET * min(max(across, 1 / _OBLONG), _OBLONG)
        return cols * (width + _GAP) + besides, rows * (_FACET + _GAP) + _AROUND


def _is_count(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def _is_pair(value: object) -> bool:
    pair = value if isinstance(value, (tuple, list, np.ndarray)) else ()
    return len(pair) == 2 and all(_is_number(side) and side > 0 for side in pair)  # noqa: PLR2004


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


# ── images ───────────────────────────────────────────────────────────────────────────────────────


def plot(
    levels: Sequence[xr.Dataset],
    panels: Panels,
    *,
    level: int | None,
    labels: str | Sequence[str] | None,
    overlay: Overlay,
    project: Mapping[str, str] | None,
    scale_bar: bool,
    channel_names: bool,
    look: Mapping[str, Any],
) -> Drawn:
    """Draw an image, of some of its levels; see `Dataset.omezarr.plot`."""
    require_matplotlib()
    levels = [coordinates.without_quantities(one) for one in levels]
    ds = levels[0]
    name = str(coordinates.find_image(ds))
    image = ds[name]
    plane = panels.check(image, project)
    label = rendering.label_name(labels)
    if label is not None:
        measure.label_image(ds, label)
    along = dict(project or {})
    # Before there is a figure.
    projections.project(image.isel({dim: slice(1) for dim in image.dims}), along)
    over = None if label is None else rendering.labels_of(ds, label, overlay)
    shown = looks.looks_of(image, **look)
    if look.get("windows") is None and "sum" in along.values():
        # What is told of single planes does not hold for their sum.
        shown = shown.without_windows()
    # Windows are those of the image as a whole, whatever part of it is drawn.
    shown = rendering.settled(shown, image, along)
    panels = panels.placed()
    keep = {*panels.dims, *along, *([] if shown.dim is None else [shown.dim])}
    screen = panels.screen(image)
    view = views.view_of(
        views.level_of(levels, name, plane=plane, keep=keep, screen=screen),
        name,
        plane=plane,
        keep=keep,
        labels=[] if label is None else [label],
        level=level,
        screen=screen,
        count=panels.count(image),
    )
    if over is not None:
        pixels = view.ds[label]
        brought = {dim: "max" for dim in along if dim in pixels.dims}
        over = replace(over, pixels=projections.project(pixels, brought))
    pixels = projections.project(view.ds[name], along)
    if shown.dim is not None and shown.dim in panels.dims:
        picture = _by_channel(pixels, shown, over)
    else:
        picture = rendering.render(pixels, shown, over)
    told = [*view.chosen, *(f"{how} over {dim}" for dim, how in along.items())]
    result = _draw(picture, view, panels, told, scale_bar=scale_bar)
    if channel_names and shown.dim not in panels.dims:
        _add_names(_axes(result)[0], shown)
    return result


def _by_channel(pixels: xr.DataArray, shown: Looks, over: Labels | None) -> xr.DataArray:
    """Give one picture for each channel."""
    names = [channel.name for channel in shown.channels]
    pictures = [
        rendering.render(pixels, replace(shown, channels=(channel,)), over).drop_vars(
            [str(name) for name in pixels.coords if shown.dim in pixels[name].dims], errors="ignore"
        )
        for channel in shown.channels
    ]
    along = xr.Variable((str(shown.dim),), names)
    return xr.concat(pictures, xr.DataArray(along, name=shown.dim), coords="minimal",
                     compat="override")  # fmt: skip


def _add_names(ax: Axes, shown: Looks) -> None:
    """Write the names of channels into a corner, in their colours."""
    from matplotlib.patches import Patch

    named = [channel for channel in shown.channels if channel.name]
    if not named or shown.dim is None:
        return
    legend = ax.legend(
        handles=[Patch(color=f"#{channel.color}") for channel in named],
        labels=[channel.name for channel in named],
        labelcolor=[_readable(channel.look.color) for channel in named],
        loc="upper left",
        facecolor="black",
        edgecolor="none",
        framealpha=0.6,
        fancybox=False,
        fontsize="small",
        handlelength=0.8,
        handleheight=0.8,
        borderaxespad=0.3,
    )
    _as_written(*legend.get_texts())


def _readable(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Give a colour for letters on black: the same one, with white where it is too dark."""
    parts = np.array(color) / 255
    for share in np.linspace(0, 1, 21):
        mixed = parts + (1 - parts) * share
        linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - sRGB
        if linear @ (0.2126, 0.7152, 0.0722) >= _READABLE:
            break
    red, green, blue = mixed.tolist()
    return red, green, blue


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def plot_labels(
    ds: xr.Dataset,
    label: str,
    panels: Panels,
    *,
    by: str | None,
    level: int | None,
    cmap: Any,  # noqa: ANN401 - whatever Matplotlib takes
    limits: tuple[float | None, float | None],
    alpha: float | None,
    scale_bar: bool,
) -> Drawn:
    """Draw a label image; see `Dataset.omezarr.plot_labels`."""
    require_matplotlib()
    ds = coordinates.without_quantities(ds)
    labels = measure.label_image(ds, label)
    plane = panels.check(labels)
    prop = None if by is None else measure.property_name(ds, label, by)
    if prop is None and (cmap is not None or limits != (None, None)):
        msg = "cmap=, vmin= and vmax= say how a property is coloured: name it by by=."
        raise OmeZarrError(msg)
    for what, limit in zip(("vmin", "vmax"), limits, strict=True):
        if limit is not None and not _is_number(limit):
            msg = f"{what}={limit!r:.40}: expected a number, of the values of '{prop}'."
            raise OmeZarrError(msg)
    panels = panels.placed()
    view = views.view_of(
        ds,
        label,
        plane=plane,
        keep=panels.dims,
        level=level,
        screen=panels.screen(labels),
        count=panels.count(labels),
    )
    more = {} if alpha is None else {"alpha": alpha}
    if prop is None:
        colors = rendering.labels_of(ds, label).palette.colors(np.asarray(view.ds[label].values))
        picture = xr.DataArray(colors, view.ds[label].coords, (*view.ds[label].dims, "rgba"))
        return _draw(picture, view, panels, view.chosen, scale_bar=scale_bar, more=more)
    values = measure.property_values(ds, prop)
    numbers, names = _numbers(values)
    table = xr.Dataset(coords={f"{label}_id": ds[f"{label}_id"]})
    painted = measure.paint(
        view.ds.assign_coords(table.coords).assign({prop: ((f"{label}_id",), numbers)}), prop
    )
    bar_look: dict[str, Any] = {"label": _title(ds[prop])}
    if panels.ax is not None and view.is_isometric:
        # As high as the picture, which is drawn to scale.
        width, height = panels.screen(labels)
        part = _LEFT * width / height * view.y.length / view.x.length
        bar_look["shrink"] = min(1.0, part)
    colored: dict[str, Any] = {"cbar_kwargs": bar_look}
    if names is None:
        known = numbers[np.isfinite(numbers)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        colored |= {
            "cmap": cmap or "viridis",
            "vmin": low if limits[0] is None else limits[0],
            "vmax": high if limits[1] is None else limits[1],
        }
    else:
        colored |= {"cmap": _palette(cmap, len(names)), "vmin": -0.5, "vmax": len(names) - 0.5}
    result = _draw(
        painted, view, panels, view.chosen, scale_bar=scale_bar, more={**colored, **more}
    )
    bar = getattr(result, "colorbar", None) or getattr(result, "cbar", None)
    if bar is None:
        return result
    _as_written(bar.ax.yaxis.label)
    if names is not None:
        bar.set_ticks(range(len(names)), labels=names)
        bar.ax.minorticks_off()
        _as_written(*bar.ax.get_yticklabels())
    return result


def _numbers(values: NDArray[Any]) -> tuple[NDArray[np.float64], list[str] | None]:
    """Give a property as numbers; of categories their numbers, and their names in order."""
    if values.dtype.kind in "iuf":
        return values.astype(np.float64), None
    known = np.array([value is not None for value in values.tolist()], np.bool_)
    categories, codes = np.unique(values[known], return_inverse=True)
    numbers = np.full(len(values), np.nan)
    numbers[known] = codes
    return numbers, [str(category) for category in categories.tolist()]


def _palette(cmap: Any, count: int) -> Any:  # noqa: ANN401 - Matplotlib's
    """Give as many colours as there are categories."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    if cmap is None:
        cmap = "tab10" if count <= _FEW else "tab20" if count <= _SEVERAL else "viridis"
    full = mpl.colormaps.get_cmap(cmap)
    qualitative = getattr(full, "colors", None)
    if qualitative is not None and len(qualitative) <= _SEVERAL:
        return ListedColormap([qualitative[i % len(qualitative)] for i in range(max(count, 1))])
    return full.resampled(max(count, 1))


def _title(variable: xr.DataArray) -> str:
    """Name a property, with its unit: "coins_area [µm²]"."""
    name = str(variable.attrs.get("long_name") or variable.name)
    unit = str(variable.attrs.get("units") or "")
    return name if not unit else f"{name} [{_unit_text(unit)}]"


def _unit_text(unit: str) -> str:
    powers = {"2": "²", "3": "³"}
    written = []
    for part in unit.split():
        base, _, power = part.partition("^")
        written.append(scalebars.symbol(base) + powers.get(power, f"^{power}" if power else ""))
    return " ".join(written)


# ── drawing ──────────────────────────────────────────────────────────────────────────────────────


def require_matplotlib() -> None:
    """Check that there is Matplotlib.

    Raises
    ------
    OmeZarrError
        Where it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        msg = (
            'Drawing needs Matplotlib, which is not installed: pip install "xarray-omezarr[plot]". '
            "Without it, xarray_omezarr.preview(path, target) writes a picture."
        )
        raise OmeZarrError(msg)


def _draw(
    picture: xr.DataArray,
    view: View,
    panels: Panels,
    told: Iterable[str],
    *,
    scale_bar: bool,
    more: Mapping[str, Any] | None = None,
) -> Drawn:
    """Draw pixels by xarray, and put them where they are."""
    sides = {side.dim: side for side in (view.y, view.x)}
    for dim, side in sides.items():
        unit = "pixel" if side.unit is None else scalebars.symbol(side.unit)
        picture = picture.assign_coords({dim: picture[dim].assign_attrs(units=unit)})
    arguments: dict[str, Any] = {
        "x": view.x.dim,
        "y": view.y.dim,
        "yincrease": False,
        "interpolation": "antialiased",
        **(more or {}),
    }
    if picture.dims[-1] in {"rgb", "rgba"}:
        arguments |= {"rgb": picture.dims[-1], "add_colorbar": False}
    picture = picture.compute()
    if panels.dims:
        result = _draw_facets(picture, view, panels, arguments)
    else:
        result = picture.plot.imshow(ax=panels.ax, **arguments)
    axes = _axes(result)
    for ax in axes:
        # By pixel edges; xarray does not know how large a single pixel is.
        ax.images[-1].set_extent((view.x.start, view.x.end, view.y.end, view.y.start))
        ax.set_aspect("equal" if view.is_isometric else "auto")
        _as_written(ax.xaxis.label, ax.yaxis.label)
    if not panels.dims:
        _as_written(axes[0].set_title(", ".join(told)))
    else:
        _name_facets(cast("Any", result), picture, told)
    bar = scalebars.scale_bar(view.x.length, view.x.unit)
    if scale_bar and bar is not None:
        # Labels alone are drawn on white.
        _add_bar(axes[0], bar, view.y.length, dark=picture.dims[-1] == "rgb")
    return result


def _draw_facets(
    picture: xr.DataArray, view: View, panels: Panels, arguments: Mapping[str, Any]
) -> FacetGrid[xr.DataArray]:
    import matplotlib as mpl
    from xarray.plot import FacetGrid

    for dim in panels.dims:
        if dim in picture.indexes and not picture.indexes[dim].is_unique:
            msg = (
                f"'{dim}': some of its values are there more than once, and pictures are told "
                f"apart by them. Give it others (.assign_coords), or none: .drop_vars('{dim}')."
            )
            raise OmeZarrError(msg)
    across = view.x.length / view.y.length if view.is_isometric else 1.0
    besides = _BESIDES if "cbar_kwargs" in arguments else 0.0

    def imshow(facet: xr.DataArray, **given: Any) -> Any:  # noqa: ANN401
        if "rgb" in arguments:
            # A grid takes colours for values, and would stretch them from the least to the most.
            given = {key: value for key, value in given.items() if key not in _VALUES}
        return facet.plot.imshow(**given)

    # Titles are laid out as soon as they are there.
    with mpl.rc_context({"text.parse_math": False}):
        grid: FacetGrid[xr.DataArray] = FacetGrid(
            picture,
            row=panels.row,
            col=panels.col,
            col_wrap=panels.col_wrap,
            figsize=panels.figure_size(picture, across, besides),
        )
        return grid.map_dataarray(imshow, **arguments)


def _as_written(*texts: Text) -> None:
    """Leave names from files as they are: between dollar signs Matplotlib would read formulas."""
    for text in texts:
        text.set_parse_math(False)


def _axes(drawn: Drawn) -> list[Axes]:
    """Give the axes of what was drawn, without those that stayed empty."""
    grid: Any = drawn
    if not hasattr(drawn, "axs"):
        return [grid.axes]
    pairs = zip(grid.axs.flat, grid.name_dicts.flat, strict=True)
    return [ax for ax, names in pairs if names is not None]


def _name_facets(grid: Any, picture: xr.DataArray, told: Iterable[str]) -> None:  # noqa: ANN401
    """Say at which position each picture is, with its unit."""

    def named(dim: str, value: Any) -> str:  # noqa: ANN401
        if dim not in picture.coords:
            return f"{dim} = {value}"
        return views.position(picture[dim].sel({dim: value}))

    for ax, names in zip(grid.axs.flat, grid.name_dicts.flat, strict=True):
        if names is not None and len(names) == 1:
            _as_written(ax.set_title(named(*next(iter(names.items()))), size="medium"))
    for dim, labels, values in (
        (grid._row_var, grid.row_labels, grid.row_names),  # noqa: SLF001 - it has no public name
        (grid._col_var, grid.col_labels, grid.col_names),  # noqa: SLF001
    ):
        for label, value in zip(labels, values, strict=False):
            if label is not None:
                label.set_text(named(dim, value))
                _as_written(label)
    if text := ", ".join(told):
        _as_written(grid.fig.suptitle(text, size="medium"))
        grid.fig.subplots_adjust(
            top=grid.fig.subplotpars.top - _HEADLINE / grid.fig.get_figheight()
        )


def _add_bar(ax: Axes, bar: ScaleBar, height: float, *, dark: bool) -> None:
    """Draw a scale bar into a corner, on a ground that it can be seen on."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    ink, ground = ("white", "black") if dark else ("black", "white")
    box = AnchoredSizeBar(
        ax.transData,
        bar.length,
        bar.text,
        loc="lower right",
        pad=0.3,
        borderpad=0.4,
        sep=3,
        color=ink,
        label_top=True,
        size_vertical=height * _BAR,
        fill_bar=True,
        fontproperties=FontProperties(size="small"),
    )
    _as_written(*cast("list[Text]", box.findobj(Text)))
    box.patch.set(facecolor=ground, alpha=0.6, edgecolor="none")
    ax.add_artist(box)
