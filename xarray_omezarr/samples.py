"""Sample images: coins, astronaut, circle, fluorescence of any size, a time-lapse, and a plate.

Every function returns a Dataset, or a tree of them, in the form in which an OME-Zarr image opens:
the pixels are ``image``, the coordinates are physical, and a label image is an integer variable on
the image's ``y`` and ``x``. All are the same to the byte on every machine and with every version of
NumPy, and none touches the network: the photographs are those that scikit-image's own wheel
contains.

The photographs carry no calibration. Their pixel sizes are those of a camera with 6.5 µm pixels
behind an objective, so that a region can be selected in micrometres.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from xarray_omezarr.coordinates import axis_coordinate, channel_coordinates
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.microscope import BITS, OFFSET, PIXEL, Camera, add_noise, hashed, lazy, split
from xarray_omezarr.model import TYPES, Axis, Channel, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["astronaut", "circle", "coins", "fluorescence", "plate", "rgb_to_5d", "timelapse"]

RGB: Final = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
STAINS: Final = {"DAPI": "0000FF", "GFP": "00FF00", "RFP": "FF0000", "Cy5": "FF00FF"}


def coins() -> xr.Dataset:
    """Greek coins from Pompeii, with the segmentation of scikit-image's tutorial as labels.

    The labels are what the tutorial "Label image regions" computes on the whole picture: Otsu's
    threshold, a closing, without what touches the border, connected components; of those the
    ones of 100 pixels and more, which the tutorial draws.

    Returns
    -------
    xarray.Dataset
        ``image`` (y: 303, x: 384; uint8) and ``coins`` (the same; int32, 0 is background), with
        pixels of 0.65 µm.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> ds = samples.coins()
    >>> dict(ds.sizes), int(ds.coins.max())
    ({'y': 303, 'x': 384}, 22)
    """
    pixels = _photograph("coins")
    ds = _dataset("coins", ("y", "x"), pixels, {"y": 0.65, "x": 0.65})
    return _with_labels(ds, "coins", _segment(pixels))


def astronaut() -> xr.Dataset:
    """Eileen Collins, as three channels, with circles as labels.

    Returns
    -------
    xarray.Dataset
        ``image`` (c: 3, y: 512, x: 512; uint8), with channels ``red``, ``green`` and ``blue``, and
        ``circles`` (y, x; int32): 1 is the face, 2 the mission patch, 3 the helmet. Pixels are
        0.325 µm.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> ds = samples.astronaut()
    >>> ds.image.dims, ds.c.values.tolist()
    (('c', 'y', 'x'), ['red', 'green', 'blue'])
    """
    pixels = np.ascontiguousarray(np.moveaxis(_photograph("astronaut"), -1, 0))
    ds = _dataset("astronaut", ("c", "y", "x"), pixels, {"y": 0.325, "x": 0.325})
    ds = _with_channels(ds, RGB, Window(0.0, 255.0, 0.0, 255.0))
    circles = np.zeros(pixels.shape[1:], np.int32)
    for number, (y, x, radius) in enumerate([(115, 227, 60), (386, 172, 38), (435, 388, 76)], 1):
        circles[_disc(circles.shape, y, x, radius)] = number
    return _with_labels(ds, "circles", circles)


def circle() -> xr.Dataset:
    """Give a bright disc on a dark ground, with the disc as label 1.

    The smallest sample that still has everything: a pixel size, an origin that is not zero, and
    a label image.

    Returns
    -------
    xarray.Dataset
        ``image`` (y: 64, x: 64; uint8) and ``circle`` (the same; int32), with pixels of 0.5 µm,
        the first one at y = 10 µm, x = 20 µm.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> ds = samples.circle()
    >>> int(ds.circle.sum()), int(ds.image.max())
    (1789, 200)
    """
    disc = _disc((64, 64), 32, 32, 24)
    pixels = np.where(disc, 200, 20).astype(np.uint8)
    ds = _dataset("circle", ("y", "x"), pixels, {"y": 0.5, "x": 0.5}, {"y": 10.0, "x": 20.0})
    return _with_labels(ds, "circle", disc.astype(np.int32))


def rgb_to_5d(pixels: ArrayLike, *, pixel_size: float = 1.0) -> xr.Dataset:
    """Turn a colour or grey picture into a five-dimensional image.

    Parameters
    ----------
    pixels : array_like
        A grey picture (y, x), or one with its colours last (y, x, c).
    pixel_size : float, default: 1.0
        Edge of a pixel in micrometres.

    Returns
    -------
    xarray.Dataset
        ``image`` with dimensions t, c, z, y, x, of which t and z have size 1. Three channels are
        named ``red``, ``green`` and ``blue``; another number of them has no names.

    Raises
    ------
    OmeZarrError
        If `pixels` has neither two nor three dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from xarray_omezarr import samples
    >>> dict(samples.rgb_to_5d(np.zeros((4, 6, 3), "u1")).sizes)
    {'t': 1, 'c': 3, 'z': 1, 'y': 4, 'x': 6}
    """
    picture = np.asarray(pixels)
    if picture.ndim not in {2, 3}:
        msg = (
            f"`pixels` has shape {picture.shape}; expected a grey picture (y, x) or one with its "
            "colours last (y, x, c)."
        )
        raise OmeZarrError(msg)
    channels = picture[np.newaxis] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)  # noqa: PLR2004
    scale = {"t": 1.0, "z": pixel_size, "y": pixel_size, "x": pixel_size}
    data = np.ascontiguousarray(channels[np.newaxis, :, np.newaxis])
    ds = _dataset("picture", ("t", "c", "z", "y", "x"), data, scale)
    return _with_channels(ds, RGB) if ds.sizes["c"] == len(RGB) else ds


def fluorescence(
    shape: Sequence[int] = (2, 2, 8, 256, 256),
    dims: Sequence[str] = ("t", "c", "z", "y", "x"),
    dtype: DTypeLike = np.uint16,
    seed: int = 0,
    *,
    chunks: Mapping[str, int] | Sequence[int] | int | str | None = None,
) -> xr.Dataset:
    """Make a fluorescence-like image of any size.

    Cells glow before a dim background, in each channel with a size and brightness of their own;
    they drift from frame to frame, and every pixel has shot noise.

    The image is a window on a sample without end: a pixel depends on `seed` and on its index, and
    on nothing else. So a larger image contains the smaller one, and the values are the same for
    every `chunks`. All arithmetic is on integers, or on floats in operations that IEEE 754
    rounds correctly; that makes the image the same to the byte on every machine.

    Parameters
    ----------
    shape : sequence of int, default: (2, 2, 8, 256, 256)
        Size along each of `dims`.
    dims : sequence of str, default: ("t", "c", "z", "y", "x")
        Some of t, c, z, y and x, in any order.
    dtype : dtype_like, default: uint16
        An integer or floating type. The camera has twelve bits, so values are within 0 and 4095;
        types with fewer bits get the upper ones.
    seed : int, default: 0
        Another seed is another sample.
    chunks : mapping, sequence, int or str, optional
        If given, the image is a dask array with these chunks, made block by block: sizes by
        dimension (whole where one is left out), or what dask takes as chunks.

    Returns
    -------
    xarray.Dataset
        ``image``, with pixels of 0.325 µm in y and x, 1 µm in z and 30 s in t. The channels are
        DAPI, GFP, RFP, Cy5, Ch5, Ch6, ...

    Raises
    ------
    OmeZarrError
        If `dims`, `shape` and `chunks` do not fit together, or for another kind of `dtype`.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> ds = samples.fluorescence((2, 64, 64), dims=("c", "y", "x"), seed=1)
    >>> ds.image.dtype, ds.c.values.tolist()
    (dtype('uint16'), ['DAPI', 'GFP'])
    >>> large = samples.fluorescence((100, 2, 50, 2048, 2048), chunks={"t": 1, "c": 1, "z": 1})
    >>> large.image.chunksizes["z"][:3], round(large.nbytes / 2**30)
    ((1, 1, 1), 78)
    """
    sizes = tuple(int(n) for n in np.atleast_1d(np.asarray(shape)))
    camera = Camera(tuple(dims), sizes, np.dtype(dtype), int(seed))
    camera.check()
    if chunks is None:
        pixels = camera.expose([(0, size) for size in camera.shape])
    else:
        pixels = lazy(camera, chunks)
    ds = _dataset("fluorescence", camera.dims, pixels, PIXEL)
    if "c" not in ds.dims:
        return ds
    labels = [*STAINS, *(f"Ch{n}" for n in range(len(STAINS) + 1, ds.sizes["c"] + 1))]
    colors = dict(zip(labels[: ds.sizes["c"]], cycle(STAINS.values()), strict=False))
    top = float(2**camera.bits - 1)
    return _with_channels(ds, colors, Window(top // 64, top // 2, 0.0, top))


#: In a film, each cell is in a square of so many pixels of its own, and takes so many frames from
#: its first light to its full one.
_ROOM: Final = 32
_RISE: Final = 6


def timelapse(frames: int = 24, shape: tuple[int, int] = (192, 192), seed: int = 0) -> xr.Dataset:
    """Film cells that wander about, while a reporter is switched on in one after the other.

    There is a cell in each square of 32 × 32 pixels. Its nucleus is equally bright in the channel
    RFP all the time. In the channel GFP it is dim until its onset, and then grows brighter from
    frame to frame, six times; one cell in four or so never does.

    Parameters
    ----------
    frames : int, default: 24
        How many there are, one in 300 s.
    shape : (int, int), default: (192, 192)
        The pixels of each, in y and x.
    seed : int, default: 0
        Another seed is another film.

    Returns
    -------
    xarray.Dataset
        ``image`` (t, c: 2, y, x; uint16) with pixels of 0.325 µm, ``cells`` (t, y, x; int32), where
        a cell has the same number in all frames, and ``cells_onset``: the time of the last frame
        in which a cell is still dim, in seconds; NaN where it stays so.

    Raises
    ------
    OmeZarrError
        Where there would be no frame, or no cell.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> film = samples.timelapse()
    >>> dict(film.sizes)
    {'t': 24, 'c': 2, 'y': 192, 'x': 192, 'cells_id': 36}
    >>> film.cells_onset[:4].values.tolist()
    [5100.0, 4200.0, nan, 1800.0]
    """
    down, across = (size // _ROOM for size in shape)
    if min(frames, down, across) < 1:
        msg = (
            f"A film of {frames} frames of {shape} pixels: expected one frame or more, and room "
            f"for a cell, {_ROOM} × {_ROOM} pixels."
        )
        raise OmeZarrError(msg)
    cells = np.arange(down * across)
    size, bright, gain, fate, start = split(hashed(seed, 0, cells), (1, 8, 9, 2, 16))
    # All have their onset when there are frames left to see it.
    onset = 2 + start % max(1, frames - _RISE - 2)
    onset[fate == 0] = frames
    labels = np.zeros((frames, *shape), np.int32)
    light = np.full((frames, 2, *shape), OFFSET, np.int32)
    place = np.stack([cells // across, cells % across]) * _ROOM + _ROOM // 2
    away = np.stack(split(hashed(seed, 3, cells), (3, 3))) - 4
    for t in range(frames):
        glow = 60 + (200 + gain) * np.clip(t - onset, 0, _RISE) // _RISE
        for cell in cells:
            y, x = (place + away)[:, cell].tolist()
            inside = _disc(shape, y, x, 7 + int(size[cell]))
            labels[t, inside] = cell + 1
            light[t, 0, inside] += 400 + bright[cell]
            light[t, 1, inside] += glow[cell]
        for channel in range(2):
            add_noise(light[t, channel], hashed(seed, 1, t, channel), (0, shape[0]), (0, shape[1]))
        # So near to the middle of its square that none touches another.
        steps = np.stack(split(hashed(seed, 2, t, cells), (2, 2)))
        away = np.clip(away + np.where(steps == 3, 0, steps - 1), -6, 6)  # noqa: PLR2004 - of 0 to 3
    scale = PIXEL | {"t": 300.0}
    ds = _dataset("timelapse", ("t", "c", "y", "x"), light.astype(np.uint16), scale)
    top = float(2**BITS - 1)
    colors = {name: STAINS[name] for name in ("RFP", "GFP")}
    ds = _with_channels(ds, colors, Window(float(OFFSET), 1000.0, 0.0, top))
    ds = _with_labels(ds, "cells", labels)
    times = np.where(onset < frames, onset * scale["t"], np.nan)
    return ds.assign_coords(cells_id=cells + 1).assign(
        cells_onset=("cells_id", times, {"units": "second"})
    )


#: Of a plate's nuclei, each is in a square of so many pixels of its own.
_SQUARE: Final = 24


def plate(
    rows: int = 2,
    columns: int = 4,
    fields: int = 2,
    shape: tuple[int, int] = (128, 128),
    seed: int = 0,
    *,
    survival: ArrayLike | None = None,
) -> xr.DataTree:
    """Make a screen: a plate of wells, with nuclei that a treatment makes fewer and brighter.

    Rows are replicates, and columns are doses: column 1 is not treated, and has a nucleus in each
    square of 24 × 24 pixels. With each further column there are fewer, by one part in `columns`,
    and the second channel is brighter in those that are left. Where they are is another matter in
    each field.

    Parameters
    ----------
    rows, columns : int, default: 2, 4
        The wells: A, B, … and 1, 2, ….
    fields : int, default: 2
        How many fields of view each well has: 0, 1, …, which lie side by side.
    shape : (int, int), default: (128, 128)
        The pixels of each, in y and x.
    seed : int, default: 0
        Another seed is another screen.
    survival : array_like, optional
        The chance that a square has a nucleus, from 0 to 1, for each column, or for each row and
        column. With it, wells that are treated alike differ as chance has it.

    Returns
    -------
    xarray.DataTree
        A Dataset at `/A/1/0` and so on: ``image`` (c: 2, y, x; uint16) with the channels DAPI and
        GFP and pixels of 0.325 µm, and ``nuclei`` (y, x; int32), numbered from 1. Each says by the
        coordinates ``well``, ``row``, ``column`` and ``field`` where it is.

    Raises
    ------
    OmeZarrError
        Where there would be no well, field or nucleus, or `survival` is no chance of each well.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> plate = samples.plate()
    >>> [int(plate[f"A/{column}/0"].nuclei.max()) for column in "1234"]
    [25, 18, 12, 6]
    >>> int(plate["B/4/1"].nuclei.max())
    6
    >>> plate = samples.plate(survival=[1, 0.5, 0.5, 0])
    >>> [int(plate[f"A/{column}/0"].nuclei.max()) for column in "1234"]
    [25, ...]
    """
    squares = (shape[0] // _SQUARE) * (shape[1] // _SQUARE)
    if min(rows, columns, fields) < 1 or squares < columns:
        msg = (
            f"A plate of {rows} × {columns} wells with {fields} fields of {shape} pixels: expected "
            f"one or more of each, and a square of {_SQUARE} × {_SQUARE} pixels for each column."
        )
        raise OmeZarrError(msg)
    chances = None if survival is None else _chances(survival, (rows, columns))
    nodes = {"/": xr.Dataset(attrs={"name": "plate"})}
    for row, dose, field in np.ndindex(rows, columns, fields):
        well = {"row": _letters(row), "column": str(dose + 1)}
        key = hashed(seed, row, dose, field)
        count = squares * (columns - dose) // columns
        if chances is not None:
            lots = hashed(key, 3, np.arange(squares)) >> np.uint64(32)
            count = int((lots < np.round(chances[row, dose] * 2**32)).sum())
        ds = _field(shape, count, dose, key, field)
        where = {**well, "well": "/".join(well.values()), "field": str(field)}
        nodes[f"/{where['well']}/{field}"] = ds.assign_coords(where)
    return xr.DataTree.from_dict(nodes, name="plate")


def _chances(survival: ArrayLike, wells: tuple[int, int]) -> NDArray[np.float64]:
    """Give a chance for each well."""
    try:
        chances = np.broadcast_to(np.asarray(survival, np.float64), wells)
    except ValueError as error:
        msg = f"`survival` does not fit {wells[0]} × {wells[1]} wells: {error}"
        raise OmeZarrError(msg) from error
    if not ((chances >= 0) & (chances <= 1)).all():
        msg = f"`survival` is {survival!r}; expected chances, from 0 to 1."
        raise OmeZarrError(msg)
    return chances


def _letters(number: int) -> str:
    """Name a row of a plate: A, B, … Z, AA, AB, …."""
    name = ""
    while number >= 0:
        number, last = divmod(number, 26)
        name = chr(ord("A") + last) + name
        number -= 1
    return name


def _field(shape: tuple[int, int], count: int, dose: int, key: int, number: int) -> xr.Dataset:
    """Make a field of view with so many nuclei, which is what makes its labels known."""
    across = shape[1] // _SQUARE
    squares = np.arange(shape[0] // _SQUARE * across)
    draws = hashed(key, squares)
    taken = np.sort(np.argsort(draws, kind="stable")[:count])
    labels = np.zeros(shape, np.int32)
    light = np.full((2, *shape), OFFSET, np.int32)
    down, right, radius, bright = split(hashed(key, 1, squares), (2, 2, 1, 6))
    for label, square in enumerate(taken, 1):
        # Within its square, so that none touches another.
        y = square // across * _SQUARE + _SQUARE // 2 - 2 + down[square]
        x = square % across * _SQUARE + _SQUARE // 2 - 2 + right[square]
        inside = _disc(shape, y, x, 7 + radius[square])
        labels[inside] = label
        light[0, inside] += 500 + bright[square]
        light[1, inside] += 100 + bright[square] + 200 * dose
    for channel in range(2):
        add_noise(light[channel], hashed(key, 2, channel), (0, shape[0]), (0, shape[1]))
    origin = {"x": number * shape[1] * PIXEL["x"]}
    ds = _dataset("field", ("c", "y", "x"), light.astype(np.uint16), PIXEL, origin)
    colors = {name: STAINS[name] for name in ("DAPI", "GFP")}
    top = float(2**BITS - 1)
    return _with_labels(_with_channels(ds, colors, Window(OFFSET, top // 2, 0.0, top)), "nuclei",
                        labels)  # fmt: skip


# ── the Dataset ──────────────────────────────────────────────────────────────────────────────────


def _dataset(
    name: str,
    dims: Sequence[str],
    pixels: Any,  # noqa: ANN401 - a NumPy or a dask array; dask is not imported for its type
    scale: Mapping[str, float],
    origin: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Put pixels on a lattice of physical coordinates."""
    coords = {}
    for dim, size in zip(dims, pixels.shape, strict=True):
        if dim in scale:
            axis = Axis(dim, TYPES[dim], "second" if dim == "t" else "micrometer")
            coords[dim] = axis_coordinate(axis, size, scale[dim], (origin or {}).get(dim, 0.0))
    return xr.Dataset({"image": (tuple(dims), pixels)}, coords, {"name": name})


def _with_channels(
    ds: xr.Dataset, colors: Mapping[str, str], window: Window | None = None
) -> xr.Dataset:
    """Name the channels, and say how to show them."""
    channels = [Channel(label, color, window or Window()) for label, color in colors.items()]
    return ds.assign_coords(channel_coordinates(channels, "c"))


def _with_labels(ds: xr.Dataset, name: str, labels: NDArray[np.int32]) -> xr.Dataset:
    """Add a label image, marked as one for the writer."""
    dims = [dim for dim in ds.image.dims if dim != "c"]
    return ds.assign({name: xr.Variable(dims, labels, None, {"omezarr": {"kind": "label"}})})


def _disc(shape: tuple[int, ...], y: int, x: int, radius: int) -> NDArray[np.bool_]:
    """Mark the pixels nearer to (y, x) than `radius`."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 < radius**2)


def _photograph(name: str) -> NDArray[np.uint8]:
    """Load a picture that scikit-image's wheel contains; any other would be downloaded."""
    from skimage import data

    return np.asarray(getattr(data, name)())


def _segment(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Label the bright regions of a picture, numbered in the order of their first pixels."""
    import skimage

    ski: Any = skimage  # it is typed in parts only
    bright = ski.morphology.closing(
        pixels > ski.filters.threshold_otsu(pixels), np.ones((3, 3), np.bool_)
    )
    regions = np.asarray(ski.measure.label(ski.segmentation.clear_border(bright)))
    kept = np.bincount(regions.ravel()) >= 100  # noqa: PLR2004 - the tutorial's own figure
    kept[0] = False
    numbers: NDArray[np.int32] = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(numbers[regions])
