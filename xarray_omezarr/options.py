"""What can be set for all calls, as `xarray.set_options` does it for xarray.

An option is looked up where an image is opened or a write is planned, in the process that does it.
What is opened carries the outcome along: no worker has to be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable


class _Options(TypedDict, total=False):
    chunk_bytes: int
    codec_pipeline: Literal["auto", "zarr"]
    progress: bool


_VALUES: _Options = {"chunk_bytes": 2**20, "codec_pipeline": "auto", "progress": False}


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


#: What an option may be: a test, and its wording.
_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "chunk_bytes": (_is_size, "a positive number of bytes"),
    "codec_pipeline": (lambda value: value in ("auto", "zarr"), "'auto' or 'zarr'"),
    "progress": (lambda value: isinstance(value, bool), "True or False"),
}


def get(name: str) -> Any:  # noqa: ANN401 - each option has a type of its own
    """Give the value of an option."""
    return cast("dict[str, Any]", _VALUES)[name]


class set_options:  # noqa: N801 - called like a function, as xarray's
    """Set options, for good or within a ``with`` block.

    They hold for all threads of this process.

    Parameters
    ----------
    chunk_bytes : int, default 1048576
        The size that chunks are given, nearly, where none is asked for: in bytes, before they are
        compressed.
    codec_pipeline : {"auto", "zarr"}, default "auto"
        What encodes and decodes the chunks of images that are opened or written. "auto" is zarrs
        (installed by the extra ``fast``) where that is there and able to, else the faster one of
        Zarr's own; "zarr" leaves it to Zarr and its configuration. Pixels and metadata are the
        same. A pipeline that Zarr's configuration names stays in any case.
    progress : bool, default False
        Whether writing shows a progress bar, unless ``progress=`` of the call says otherwise.

    Raises
    ------
    OmeZarrError
        Where there is no such option, or it cannot have such a value; then nothing is set.

    See Also
    --------
    xarray.set_options

    Examples
    --------
    Within a block:

    >>> import xarray_omezarr
    >>> samples.coins()[["image"]].omezarr.to_zarr(path)
    >>> with xarray_omezarr.set_options(codec_pipeline="zarr"):
    ...     ds = xr.open_dataset(path, engine="omezarr")

    Or for good:

    >>> _ = xarray_omezarr.set_options(progress=False)
    """

    def __init__(self, **options: Unpack[_Options]) -> None:
        for name, value in options.items():
            if name not in _ALLOWED:
                msg = f"There is no option {name!r}; there are {', '.join(sorted(_ALLOWED))}."
                raise OmeZarrError(msg)
            allowed, expected = _ALLOWED[name]
            if not allowed(value):
                msg = f"{name}={value!r} is no value of this option; expected {expected}."
                raise OmeZarrError(msg)
        self._before = _Options(**{name: get(name) for name in options})  # type: ignore[typeddict-item]
        _VALUES.update(options)

    def __enter__(self) -> set_options:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, *args: object) -> None:
        _VALUES.update(self._before)
