"""An image file → Dataset: named axes, coordinates from pixel sizes, channels by their names."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import captions, coordinates, omero
from xarray_omezarr.captions import Caption
from xarray_omezarr.errors import (
    OmeZarrError,
    OmeZarrFileNotFoundError,
    OmeZarrPermissionError,
    warn,
)
from xarray_omezarr.guess import local_path
from xarray_omezarr.model import TYPES, Axis

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Warn = Callable[[str], None]

#: How TIFF and BigTIFF begin, in either byte order.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
#: How other pictures begin that scikit-image reads as they are: JPEG, GIF, BMP, WebP.
_PICTURES = (_PNG, b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
_LETTERS = frozenset(TYPES)


def open_image(
    path: str | os.PathLike[str],
    axes: str | Sequence[str] | None = None,
    *,
    series: int | None = None,
) -> xr.Dataset:
    """Open an image file as a Dataset: TIFF, OME-TIFF, PNG, JPEG and the like.

    A TIFF is opened lazily, however large it is: pixels are read from its tiles or strips when
    they are computed or written, each once. The others are read at once.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    axes : str or sequence of str, optional
        Its axes in their order, like "zyx". Needed where the file does not say what they are, as
        a plain TIFF of several pages; else it is checked that the file says the same.
    series : int, optional
        The image to open, of a file that has several.

    Returns
    -------
    xarray.Dataset
        The variable `image` on the axes t, c, z, y and x that the file has, with coordinates from
        pixel sizes and units, and the names, colours and display windows of channels, as far as
        OME-XML, ImageJ or the tags of resolution tell. Those tags are believed where they have a
        unit and a pixel is smaller than 20 µm. Samples, as of RGB, are channels.

    Raises
    ------
    OmeZarrError
        Where that is no image that can be read, has several of them, or has other axes.

    Examples
    --------
    >>> import tifffile
    >>> about = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.0}
    >>> tifffile.imwrite("cells.ome.tif", np.zeros((5, 64, 64), np.uint16), metadata=about)
    >>> ds = open_image("cells.ome.tif")
    >>> dict(ds.image.sizes), ds.omezarr.scale["x"], ds.omezarr.units["x"]
    ({'z': 5, 'y': 64, 'x': 64}, 0.2, 'micrometer')
    >>> ds.omezarr.to_zarr("cells.ome.zarr")
    """
    file = local_path(path)
    if file is None:
        msg = (
            f"{path} is not on this machine, and image files are read from local disks alone. "
            "Download it first; OME-Zarr and Zarr arrays are read from where they are."
        )
        raise OmeZarrError(msg)
    names = None if axes is None else axis_names(axes)
    if series is not None and (isinstance(series, bool) or not isinstance(series, int)):
        msg = f"series={series!r:.80}: expected the number of an image, from 0 on."
        raise OmeZarrError(msg)
    head = beginning(file)
    if head.startswith(_TIFF):
        from xarray_omezarr.tiffs import open_tiff

        pixels, caption = open_tiff(str(file), series, names, warn)
        dims = pixels.layout.dims
        data: Any = _cached(pixels)
        chunks = dict(zip(dims, pixels.layout.chunks, strict=True))
        order = pixels.layout.stored
    elif head.startswith(_PICTURES):
        if series not in (None, 0, -1):
            msg = f"{file} has one image; leave series={series} out."
            raise OmeZarrError(msg)
        data, caption = _picture(file)
        dims = ("y", "x") if data.ndim == 2 else ("c", "y", "x")  # noqa: PLR2004 - a plane
        chunks, order = dict(zip(dims, data.shape, strict=True)), (*dims[-2:], *dims[:-2])
    else:
        msg = (
            f"{file} is neither TIFF, PNG, JPEG, GIF, BMP nor WebP: it begins with {head[:8]!r}. "
            "Save it as OME-TIFF."
        )
        raise OmeZarrError(msg)
    if names is not None:
        check_axes(names, (dims, order), str(file))
    return _dataset(file, xr.Variable(dims, data), caption, chunks)


def axis_names(axes: object) -> tuple[str, ...]:
    """Read the names of axes, from "zyx" or from a list.

    Raises
    ------
    OmeZarrError
        Where these are no axes of an image.

    Examples
    --------
    >>> axis_names("tczyx"), axis_names("y,x")
    (('t', 'c', 'z', 'y', 'x'), ('y', 'x'))
    """
    if isinstance(axes, str):
        axes = axes.replace(",", "").replace(" ", "")
    names = [str(name).lower() for name in axes] if isinstance(axes, (str, list, tuple)) else []
    if not names or set(names) - _LETTERS or len(set(names)) < len(names):
        msg = f"axes={axes!r:.80}: expected some of t, c, z, y and x, each once, like 'zyx'."
        raise OmeZarrError(msg)
    return tuple(names)


def check_axes(names: Sequence[str], known: Sequence[Sequence[str]], place: str) -> None:
    """Check that the axes of an image are the ones that somebody says.

    Parameters
    ----------
    names
        Those that are said.
    known
        Those that the image has, in each order that it can be said to have.
    place
        What messages call it.

    Raises
    ------
    OmeZarrError
        Where they are others.
    """
    if tuple(names) not in {tuple(order) for order in known}:
        msg = (
            f"{place} has the axes '{''.join(known[0])}', and not '{''.join(names)}'. Leave them "
            "out; or open it in Python, and rename its dimensions (.rename)."
        )
        raise OmeZarrError(msg)


def beginning(file: Path) -> bytes:
    """Read how a file begins.

    Raises
    ------
    OmeZarrError
        Where there is no file.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except FileNotFoundError as error:
        msg = f"There is nothing at {file}."
        raise OmeZarrFileNotFoundError(msg) from error
    except PermissionError as error:
        msg = f"{file} may not be read: {error.strerror}."
        raise OmeZarrPermissionError(msg) from error
    except IsADirectoryError as error:
        msg = (
            f"{file} is a folder; expected an image file. What is OME-Zarr is opened by "
            "xr.open_dataset(…, engine='omezarr')."
        )
        raise OmeZarrError(msg) from error
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}."
        raise OmeZarrError(msg) from error


def _dataset(
    file: Path, variable: xr.Variable, caption: Caption, chunks: dict[str, int]
) -> xr.Dataset:
    """Make the Dataset of pixels and of what is said of them."""
    dims = tuple(map(str, variable.dims))
    coords: dict[str, xr.Variable] = {}
    for dim in dims:
        if dim == "c":
            continue
        scale, unit = caption.spacing.get(dim, (1.0, None))
        axis = Axis(dim, TYPES[dim], unit)
        coords[dim] = coordinates.axis_coordinate(axis, variable.sizes[dim], scale, 0.0)
    along = "c" if "c" in dims else None
    count = variable.sizes.get("c", 1)
    channels = caption.channels
    if channels is not None and len(channels) == count:
        labels = omero.distinct_labels([channel.label for channel in channels])
        told = [replace(one, label=label) for one, label in zip(channels, labels, strict=True)]
        coords |= coordinates.channel_coordinates(told, along)
    elif channels:
        warn(f"{file}: {len(channels)} channels are described, but there are {count}; left out")
    variable.encoding = {"preferred_chunks": chunks}
    made = xr.Dataset(
        {coordinates.IMAGE: variable}, coords, {"name": caption.name} if caption.name else {}
    )
    made.encoding["source"] = str(file.absolute())
    return made


def _cached(pixels: Any) -> Any:  # noqa: ANN401 - xarray's own wrappers, not typed
    """Read pixels when they are asked for, and keep them, as `xarray.open_dataset` does."""
    from xarray.core import indexing

    wrappers: Any = indexing
    lazily = wrappers.LazilyIndexedArray(pixels)
    return wrappers.MemoryCachedArray(wrappers.CopyOnWriteArray(lazily))


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def _picture(file: Path) -> tuple[np.ndarray[Any, Any], Caption]:
    """Read a picture, and give its planes with the names of its channels."""
    if _is_deep(file):
        pixels = _deep(file)
    else:
        from PIL.Image import DecompressionBombWarning
        from skimage import io

        try:
            with warnings.catch_warnings():
                # Pillow warns of pictures so large that they may be there to fill a memory.
                warnings.simplefilter("error", DecompressionBombWarning)
                pixels = np.asarray(io.imread(file))
        except Exception as error:
            msg = (
                f"{file} cannot be read as a picture: {type(error).__name__}: {error}. It is "
                "damaged, or was cut short; or save it as a tiled TIFF."
            )
            raise OmeZarrError(msg) from error
    if pixels.ndim == 4 and len(pixels) == 1:  # noqa: PLR2004 - a GIF of one picture
        pixels = pixels[0]
    if pixels.ndim not in (2, 3):
        msg = f"{file} has several pictures, of shape {pixels.shape}. Save them as OME-TIFF."
        raise OmeZarrError(msg)
    if pixels.ndim == 2:  # noqa: PLR2004 - a plane
        return pixels, Caption()
    samples = pixels.shape[-1]
    return np.moveaxis(pixels, -1, 0), Caption(channels=captions.named_samples(None, samples))


def _is_deep(file: Path) -> bool:
    """Say whether a file is a PNG whose colours have 16 bits, of which Pillow keeps 8."""
    with file.open("rb") as opened:
        head = opened.read(26)
    # "Bit depth: 1 byte; Colour type: 1 byte", after width and height (PNG, 11.2.2 IHDR).
    return (
        len(head) == 26  # noqa: PLR2004 - the signature, and IHDR as far as that
        and head.startswith(_PNG)
        and struct.unpack("BB", head[24:26]) in ((16, 2), (16, 4), (16, 6))
    )


def _deep(file: Path) -> np.ndarray[Any, Any]:
    try:
        import imagecodecs
    except ImportError as error:
        msg = (
            f"{file} is a PNG whose colours have 16 bits, which the 'imagecodecs' package reads. "
            "Install it: pip install imagecodecs; or save it as TIFF."
        )
        raise OmeZarrError(msg) from error
    try:
        return np.asarray(imagecodecs.png_decode(file.read_bytes()))
    except Exception as error:
        msg = f"{file} cannot be read as a picture: {type(error).__name__}: {error}."
        raise OmeZarrError(msg) from error
