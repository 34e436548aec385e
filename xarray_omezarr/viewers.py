"""Images and labels as layers of napari: plain values, and the window that shows them.

Nothing here needs napari but `show`. A layer is what napari's readers give: data, the arguments
that it is made with, and its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import (
    coordinates,
    crops,
    layouts,
    looks,
    resample,
    slots,
    tables,
    views,
)
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.units import SPACE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from xarray_omezarr.composite import Look
    from xarray_omezarr.looks import Shown
    from xarray_omezarr.properties import Properties

    LayerData = tuple[Any, dict[str, Any], str]

#: Unit of axes that count, or whose unit is none of the specification, all of which napari knows.
_PIXEL = "pixel"
#: What an image on the screen needs.
_PLANE = 2
#: Colours between which napari interpolates a curve.
_STEPS = 256
#: Images that a message names.
_MOST_TOLD = 5


def dataset_layers(ds: xr.Dataset) -> list[LayerData]:
    """Give the image and the label images of a Dataset as layers.

    Where the pixels are still the lazy ones that were opened, the coarser levels of the image are
    opened too, and nothing is read; else there is one level.

    Parameters
    ----------
    ds : xarray.Dataset
        One level of an image, or of the fields of a plate.

    Returns
    -------
    list of (data, dict, str)
        A layer "image" for each channel, and a layer "labels" for each label image: arrays from
        the finest to the coarsest, and the arguments of `napari.layers.Image` and `Labels`.

    Raises
    ------
    OmeZarrError
        Where there is no image, or it has no plane.

    Examples
    --------
    >>> image, coins = dataset_layers(samples.coins())
    >>> image[1]["name"], image[1]["scale"], image[1]["units"]
    ('coins', (0.65, 0.65), ('micrometer', 'micrometer'))
    >>> coins[2], coins[1]["axis_labels"]
    ('labels', ('y', 'x'))
    """
    ds = coordinates.without_quantities(ds)
    name = coordinates.find_image(ds)
    labels = {
        key: (_levels(ds[key]), tables.properties_of(ds, key))
        for key in coordinates.labels_to_show(ds)
        if key != name
    }
    return _layers(ds.attrs.get("name"), _levels(ds[name]), labels)


def tree_layers(tree: xr.DataTree) -> list[LayerData]:
    """Give the image of a tree as layers, with the levels that the tree has.

    Parameters
    ----------
    tree : xarray.DataTree
        An image, as `xarray.open_datatree` opens it, or a tree with one image in it.

    Returns
    -------
    list of (data, dict, str)
        As `dataset_layers` gives them.

    Raises
    ------
    OmeZarrError
        Where there is no image in the tree, or there are several.

    Examples
    --------
    >>> tree = samples.coins().omezarr.pyramid(levels=3)
    >>> [(kind, len(data)) for data, _, kind in tree_layers(tree)]
    [('image', 3), ('labels', 3)]
    """
    if coordinates.IMAGE in tree.data_vars:
        return dataset_layers(tree.to_dataset())
    node = _only_image(tree)
    levels = layouts.tree_levels(node, None)
    labels = {
        key: ([level[key] for level in found], tables.properties_of(found[0], key))
        for key, found in layouts.tree_labels(node).items()
    }
    return _layers(
        levels[0].attrs.get("name"), [level[coordinates.IMAGE] for level in levels], labels
    )


def show(layers: Sequence[LayerData], viewer: Any = None) -> Any:  # noqa: ANN401 - napari's Viewer
    """Show layers in a window of napari.

    Parameters
    ----------
    layers
        As `dataset_layers` and `tree_layers` give them.
    viewer : napari.Viewer, optional
        To which they are added; by default a new one, with a scale bar.

    Returns
    -------
    napari.Viewer
        The window.

    Raises
    ------
    OmeZarrError
        Where napari is not installed.
    """
    if viewer is None:
        try:
            import napari
        except ImportError as error:
            msg = (
                'to_napari needs napari, which is not installed: pip install "napari[all]". '
                "Without it, plot() draws the image."
            )
            raise OmeZarrError(msg) from error
        viewer = napari.Viewer()
        viewer.scale_bar.visible = True
    for data, arguments, kind in layers:
        getattr(viewer, f"add_{kind}")(data, **arguments)
    return viewer


# ── images ───────────────────────────────────────────────────────────────────────────────────────


def _layers(
    title: object,
    levels: Sequence[xr.DataArray],
    labels: Mapping[str, tuple[Sequence[xr.DataArray], Properties | None]],
) -> list[LayerData]:
    image = levels[0]
    channel = views.channel_of(image)
    dims = tuple(str(dim) for dim in image.dims if dim != channel)
    if len(dims) < _PLANE:
        msg = (
            f"The image '{image.name}' has the dimensions {', '.join(map(str, image.dims))}; "
            "expected two or more that are no channels, for napari to show a plane of them."
        )
        raise OmeZarrError(msg)
    made: list[LayerData] = []
    count = 1 if channel is None else image.sizes[channel]
    active = {shown.index for shown in looks.looks_of(image).channels}
    for shown in looks.looks_of(image, channels=range(count)).channels:
        arrays = [_of_channel(level, shown.index, channel) for level in levels]
        arguments = {
            "name": shown.name or str(title or image.name),
            "blending": "additive",
            "visible": shown.index in active,
            # A narrow image is no picture of three colours.
            "rgb": False,
            **_colors(shown),
        }
        made.append(_layer(arrays, arguments, "image"))
    for label, (found, known) in labels.items():
        made.extend(_label_layers(label, found, known, image, dims))
    return made


def _levels(array: xr.DataArray) -> list[xr.DataArray]:
    """Give an array and, if it is an untouched one of a file, its coarser levels."""
    crop = crops.crop_of(array)
    if crop is None or not crop.is_plain:
        return [array]
    levels = [array]
    for number, found in crop.origin.describe(range(crop.origin.number, crop.origin.count)).items():
        if isinstance(found, OmeZarrError):
            warn(f"{found} The level is left out.")
        elif number != crop.origin.number:
            levels.append(crop.at(number, found))
    return levels


def _of_channel(array: xr.DataArray, index: int | None, channel: str | None) -> xr.DataArray:
    return array if channel is None else array.isel({channel: index})


def _layer(arrays: Sequence[xr.DataArray], arguments: dict[str, Any], kind: str) -> LayerData:
    """Complete a layer by where its pixels are."""
    first = arrays[0]
    one = slots.one_field(first)
    places = coordinates.geometry_of(one)
    # Napari's pictures are made for axes that ascend.
    backwards = [dim for dim, (scale, _) in places.items() if scale < 0]
    if backwards:
        turned = {dim: slice(None, None, -1) for dim in backwards}
        return _layer([array.isel(turned) for array in arrays], arguments, kind)
    units = {
        axis.name: axis.unit if axis.unit in SPACE_UNITS | TIME_UNITS else _PIXEL
        for axis in coordinates.axes_of(one, coordinates.memory_of(one).axes)
    }
    dims = [str(dim) for dim in first.dims]
    placed = {
        "axis_labels": tuple(dims),
        "units": tuple(units.get(dim) or _PIXEL for dim in dims),
        "scale": tuple(places.get(dim, (1.0, 0.0))[0] for dim in dims),
        "translate": tuple(places.get(dim, (1.0, 0.0))[1] for dim in dims),
        "multiscale": len(arrays) > 1,
    }
    return (list(arrays) if len(arrays) > 1 else first), {**arguments, **placed}, kind


def _colors(shown: Shown) -> dict[str, Any]:
    """Give the limits of a channel, and the colours between them, whatever its curve is.

    Limits that nobody knows are left out: napari looks for them in the coarsest level.
    """
    look = shown.look
    low, high = sorted(shown.window)
    steps = np.linspace(low, high, 2 if look.family == "linear" else _STEPS)
    if low == high:
        # All above is bright, and all else dark: limits of no width are none to napari.
        steps, high = np.array([low, np.inf]), low + 1
    levels = look.levels(steps) / 255
    colors = (levels[:, None] * np.array(look.color) / 255).tolist()
    limits = {"contrast_limits": (low, high)} if shown.has_window else {}
    return {"colormap": {"name": _color_name(look), "colors": colors}, **limits}


def _color_name(look: Look) -> str:
    """Name a colormap, as napari lists them: no two of a name may differ."""
    name = "#" + bytes(look.color).hex().upper()
    if look.family != "linear":
        name += f" {look.family} {look.coefficient:g}"
    return name + (" inverted" if look.inverted != (look.start > look.end) else "")


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _label_layers(
    label: str,
    levels: Sequence[xr.DataArray],
    known: Properties | None,
    image: xr.DataArray,
    dims: tuple[str, ...],
) -> list[LayerData]:
    """Give the layers of a label image: one, or one for each channel that it has."""
    arguments: dict[str, Any] = {"name": label}
    if known is not None:
        arguments["features"] = _features(known)
        if known.colors is not None:
            arguments["colormap"] = _label_colors(known.ids, known.colors)
    channel = views.channel_of(levels[0])
    if channel is None:
        return [_layer([_beside(level, image, dims) for level in levels], arguments, "labels")]
    count = levels[0].sizes[channel]
    return [
        _layer(
            [_beside(level.isel({channel: number}), image, dims) for level in levels],
            arguments if count == 1 else {**arguments, "name": f"{label} [{number}]"},
            "labels",
        )
        for number in range(count)
    ]


def _beside(labels: xr.DataArray, image: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
    """Give labels the axes in between that only the image has; napari counts axes from the end."""
    # An axis of length 1, along which the image is longer, says that the labels hold for all.
    single = [d for d in labels.dims if labels.sizes[d] == 1 and image.sizes.get(d, 1) > 1]
    labels = labels.isel(dict.fromkeys(single, 0))
    own = tuple(str(dim) for dim in labels.dims)
    if own == dims[len(dims) - len(own) :]:
        return labels
    first = min((dims.index(dim) for dim in own if dim in dims), default=0)
    lacking = {dim: image.sizes[dim] for dim in dims[first:] if dim not in own}
    wide = labels.copy(data=resample.as_dask(labels.variable).data).expand_dims(lacking)
    wide = wide.assign_coords({dim: image[dim] for dim in lacking if dim in image.coords})
    return wide.transpose(..., *dims[first:])


def _features(known: Properties) -> pd.DataFrame:
    """Give a table as napari looks things up in it: by the column `index`."""
    import pandas as pd

    columns: dict[str, Any] = {"index": known.ids}
    for name, column in known.columns.items():
        values = column.values
        if column.present is not None and not column.present.all():
            numbers = values.dtype.kind in "iuf"
            values = values.astype(np.float64 if numbers else object)
            values[~column.present] = np.nan if numbers else None
        columns["index (property)" if name == "index" else name] = values
    return pd.DataFrame(columns)


def _label_colors(ids: NDArray[Any], colors: NDArray[Any]) -> dict[int | None, tuple[float, ...]]:
    """Give colours by label; what has none is not drawn, as in pictures of this package."""
    nothing = (0.0, 0.0, 0.0, 0.0)
    told: dict[int | None, tuple[float, ...]] = {None: nothing, 0: nothing}
    for label, color in zip(ids.tolist(), colors.tolist(), strict=True):
        if label and color:
            told[label] = tuple(component / 255 for component in bytes.fromhex(color))
    return told


def _only_image(tree: xr.DataTree) -> xr.DataTree:
    """Find the image of a tree: a node with levels below it."""
    found = [
        node
        for node in tree.subtree
        if any(coordinates.IMAGE in child.data_vars for child in node.children.values())
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        msg = "The tree has no image: expected a node with levels '0', '1', … below it."
        raise OmeZarrError(msg)
    paths = [node.relative_to(tree) for node in found[:_MOST_TOLD]]
    more = ", …" if len(found) > _MOST_TOLD else ""
    msg = (
        f"There are {len(found)} images in the tree: {', '.join(paths)}{more}. Show one of them, "
        f"tree['{paths[0]}'].omezarr.to_napari(), or open a plate as one Dataset (stack='well')."
    )
    raise OmeZarrError(msg)
