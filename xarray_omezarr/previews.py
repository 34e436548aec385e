"""A picture of an image as a PNG file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray_omezarr import display, pictures, thumbnails
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The longer side of a picture, in pixels, and the most that it may have.
_SIDE, _MOST = 512, 4096


def preview(
    path: Any,  # noqa: ANN401 - whatever the engine opens
    target: str | os.PathLike[str] | None = None,
    *,
    size: int = _SIDE,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> bytes:
    """Make a picture of an image: its channels in their colours, and a scale bar.

    A coarse level is read, as for the picture in a notebook: a fixed number of bytes, however large
    the image is.

    Parameters
    ----------
    path : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where the image is, as for `xarray.open_dataset`.
    target : str or os.PathLike, optional
        The PNG file that is written. What is there is replaced.
    size : int, default 512
        The pixels along the longer side.
    group : str, optional
        The path of the image's group in the store.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    bytes
        The content of the file.

    Raises
    ------
    OmeZarrError
        Where there is no image, or no coarse level of it that is small enough: the message says so.

    See Also
    --------
    xarray.Dataset.omezarr.preview : The same of an image that is open, or in memory.

    Examples
    --------
    >>> import xarray_omezarr
    >>> samples.coins().omezarr.to_zarr(path)
    >>> content = xarray_omezarr.preview(path, "coins.png")
    """
    import xarray as xr

    _checked(size)
    _writable(target)
    with xr.open_dataset(
        path, engine="omezarr", group=group, labels=False, storage_options=storage_options
    ) as dataset:
        return picture_of(dataset, target, size)


def picture_of(
    obj: display.Shown, target: str | os.PathLike[str] | None = None, size: int = _SIDE
) -> bytes:
    """Make a picture of an image that is open, or in memory; of several, of the first one.

    Raises
    ------
    OmeZarrError
        Where there is no picture: the message says why.
    """
    _checked(size)
    _writable(target)
    image = display.image_of(obj)
    if image is None:
        facts = display.facts_of(obj)
        msg = f"There is no picture of {facts.name or 'this'}: it is not clear what the image is."
        raise OmeZarrError(msg)
    try:
        found = thumbnails.thumbnail(image, thumbnails.Looking.at(image), size)
    except thumbnails.SkippedError as error:
        place = thumbnails.place_of(image)
        source = repr(image.name) if place is None else place.name
        msg = f"There is no picture of {source}: {error}."
        raise OmeZarrError(msg) from error
    height = size if found.ratio < 1 else max(1, round(size / found.ratio))
    width = size if found.ratio >= 1 else max(1, round(size * found.ratio))
    smooth = height * width < found.pixels.shape[0] * found.pixels.shape[1]
    pixels = pictures.resized(found.pixels, height, width, smooth=smooth)
    if found.bar is not None:
        share = found.bar.length / found.extent[1]
        pixels = pictures.with_bar(pixels, share * width, found.bar.text)
    content = pictures.png(pixels)
    if target is not None:
        try:
            Path(target).write_bytes(content)
        except OSError as error:
            msg = f"The picture cannot be written to {_shown(target)}: {error.strerror or error}."
            raise OmeZarrError(msg) from error
    return content


def _checked(size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or not 16 <= size <= _MOST:  # noqa: PLR2004
        msg = f"size={size!r:.40}; expected the pixels along the longer side, 16 to {_MOST}."
        raise OmeZarrError(msg)


def _writable(target: object) -> None:
    """Check where the picture shall go, before anything is read for it."""
    if target is None:
        return
    if not isinstance(target, (str, os.PathLike)):
        msg = f"target={target!r:.80}: expected the path of a PNG file; size= is by name."
        raise OmeZarrError(msg)
    path = Path(target)
    if path.suffix.lower() not in {"", ".png"}:
        msg = f"target: {_shown(path)} would be a PNG file; expected a name that ends in .png."
        raise OmeZarrError(msg)
    if path.is_dir():
        inside = _shown(path / "preview.png")
        msg = f"target: {_shown(path)} is a folder; expected a PNG file, like {inside}."
        raise OmeZarrError(msg)
    if not path.parent.is_dir():
        msg = f"target: there is no folder {_shown(path.parent)}; make it first."
        raise OmeZarrError(msg)


def _shown(path: str | os.PathLike[str]) -> str:
    return f"'{os.fspath(path)}'"
