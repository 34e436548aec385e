"""How the channels of an image are shown: their colours, windows and curves, as far as known.

What coordinates say of a channel (`c_color`, `c_window_start`, `c_active`, …) counts; its curve and
whether it is inverted are found in the document that it was opened from. What nobody has said is
chosen here: colours by the number of channels, windows by percentiles of pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xarray_omezarr import coordinates, omero, slots, spec
from xarray_omezarr.composite import Look, check_pixels, distinct_colors
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.model import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr
    from numpy.typing import NDArray

    Window = tuple[float, float]
    Channels = str | int | Sequence[str | int]
    Colors = str | Sequence[str] | Mapping[str | int, str]
    Windows = str | Window | Sequence[Window] | Mapping[str | int, Window]

#: Automatic windows begin and end at these percentiles.
PERCENTILES = (0.1, 99.9)

#: Colours that have names.
NAMED = {
    "white": "FFFFFF", "gray": "FFFFFF", "grey": "FFFFFF", "red": "FF0000", "green": "00FF00",
    "blue": "0000FF", "cyan": "00FFFF", "magenta": "FF00FF", "yellow": "FFFF00",
}  # fmt: skip
_RGB = ("FF0000", "00FF00", "0000FF")
#: The colours of one, two and three channels, and those of more, which others follow on.
_FEW = {1: ("FFFFFF",), 2: ("FF00FF", "00FF00"), 3: _RGB}
_MORE = ("00FFFF", "FFFF00", "FF00FF", *_RGB, "FFFFFF")


@dataclass(frozen=True)
class Shown:
    """A channel that is shown."""

    name: str
    """Its label; in want of that its number, or nothing where it is the only one."""
    index: int | None
    """Its position along the channel axis; None where there is no such axis."""
    look: Look
    has_window: bool
    """Whether its window is known. If not, that of its look means nothing until `settled`."""

    @property
    def color(self) -> str:
        """Six hexadecimal digits."""
        return bytes(self.look.color).hex().upper()

    @property
    def window(self) -> Window:
        """The values that are shown darkest and brightest."""
        return self.look.start, self.look.end


@dataclass(frozen=True)
class Looks:
    """How an image is shown."""

    dim: str | None
    """The channel axis, if there is one."""
    channels: tuple[Shown, ...]
    """Those that are shown, in the order in which they are put together, which does not matter."""
    origin: str
    """Where the windows come from, in a few words."""

    @property
    def are_settled(self) -> bool:
        """Whether all windows are known."""
        return all(channel.has_window for channel in self.channels)

    def settled(self, pixels: Iterable[NDArray[Any]], of: str) -> Looks:
        """Choose the windows that are not known by percentiles.

        Parameters
        ----------
        pixels
            Pixels of each channel that is shown, of any shape; asked for one after another, and
            looked at where its window is not known.
        of
            What they are, like "level 3".
        """
        channels = []
        for channel, values in zip(self.channels, pixels, strict=True):
            if channel.has_window:
                channels.append(channel)
                continue
            start, end = auto_window(values)
            look = replace(channel.look, start=start, end=end)
            channels.append(replace(channel, look=look, has_window=True))
        low, high = PERCENTILES
        auto = f"percentiles {low} and {high} of {of}"
        some = any(channel.has_window for channel in self.channels)
        return replace(
            self, channels=tuple(channels), origin=f"{self.origin}; {auto}" if some else auto
        )

    def without_windows(self) -> Looks:
        """Give the same with all windows unknown."""
        channels = tuple(replace(channel, has_window=False) for channel in self.channels)
        return replace(self, channels=channels)

    def __str__(self) -> str:
        """Say which channels are shown in which windows, and where these come from."""
        told = (
            f"{channel.name} {channel.look.start:.6g} to {channel.look.end:.6g}".strip()
            for channel in self.channels
        )
        return f"{', '.join(told)} ({self.origin})"


def auto_window(values: NDArray[Any]) -> Window:
    """Choose a window by percentiles; by the extremes where these are one value.

    Values that are not finite do not count. Without any, it is that of floating point, 0 to 1.

    Examples
    --------
    >>> auto_window(np.arange(1001))
    (1.0, 999.0)
    """
    flat = np.asarray(values).reshape(-1)
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    if not flat.size or flat.dtype.kind == "b":
        return 0.0, 1.0
    # Values that there are: the window of integers has whole numbers.
    start, end = np.percentile(flat, PERCENTILES, method="nearest")
    if not start < end:
        start, end = flat.min(), flat.max()
    return float(start), float(end)


def looks_of(
    array: xr.DataArray,
    *,
    channels: Channels | None = None,
    colors: Colors | None = None,
    windows: Windows | None = None,
) -> Looks:
    """Tell how an image is shown, without looking at its pixels.

    Parameters
    ----------
    array
        The image.
    channels
        Those that are shown, by label or by number; by default those that are active, or all where
        none is.
    colors
        One colour for all, one for each that is shown, or by channel: six hexadecimal digits or
        the name of a primary or secondary colour.
    windows
        One pair for all, one for each that is shown, or by channel; "auto" for percentiles even
        where the windows are known.

    Returns
    -------
    Looks
        Some windows may not be known: `Looks.settled` finds them.

    Raises
    ------
    OmeZarrError
        Where there is no such channel, an argument is not as described, or pixels have no
        brightness.
    """
    field = slots.one_field(array)
    axes = coordinates.axes_of(field, coordinates.memory_of(field).axes)
    dim = next((axis.name for axis in axes if axis.is_channel), None)
    count = 1 if dim is None else array.sizes[dim]
    check_pixels(array.dtype)
    if not count:
        msg = f"There is no channel along '{dim}'; expected one at least."
        raise OmeZarrError(msg)
    known = coordinates.channels_of(field, dim) or (Channel(),) * count
    names = [_name(channel, i, dim) for i, channel in enumerate(known)]
    shown = _chosen(channels, names, known)
    curves = omero.curves(known, _omero(array))
    shades = _colors(known, count)
    full = _full_range(array, dim, known)
    found = []
    for i in shown:
        window = (known[i].window.start, known[i].window.end) if full is None else full
        pair = _checked_pair(window)
        look = Look(
            shades[i], *(pair or (0.0, 1.0)), curves[i].family, curves[i].coefficient,
            curves[i].inverted,
        )  # fmt: skip
        found.append(Shown(names[i], None if dim is None else i, look, pair is not None))
    looks = Looks(
        dim, tuple(found), "as the image says" if full is None else f"all of {array.dtype}"
    )
    if colors is not None:
        looks = _with_colors(looks, _by_channel("colors", colors, looks, _color))
    if isinstance(windows, str):
        if windows != "auto":
            msg = f"windows={windows!r}: expected 'auto', or pairs of numbers, (start, end)."
            raise OmeZarrError(msg)
        looks = looks.without_windows()
    elif windows is not None:
        looks = _with_windows(looks, _by_channel("windows", windows, looks, _window))
    return looks


def _omero(array: xr.DataArray) -> object:
    document = coordinates.memory_of(array).document
    return spec.ome_attributes(document, spec.format_of(document)).get("omero")


def _name(channel: Channel, index: int, dim: str | None) -> str:
    return channel.label or ("" if dim is None else str(index))


def _chosen(channels: Channels | None, names: Sequence[str], known: Sequence[Channel]) -> list[int]:
    if channels is None:
        active = [i for i, channel in enumerate(known) if channel.active is not False]
        return active or list(range(len(known)))
    # What is no sequence is one channel, and if it is none, the message says so.
    single = isinstance(channels, str) or np.ndim(channels) == 0
    wanted = [channels] if single else list(cast("Sequence[str | int]", channels))
    found = [_position(channel, names, "channels") for channel in wanted]
    if not found or len(set(found)) != len(found):
        msg = f"channels={channels!r:.80}: expected one or more, each once, of {_listed(names)}."
        raise OmeZarrError(msg)
    return found


def _position(channel: object, names: Sequence[str], what: str) -> int:
    """Find a channel by its label or its number."""
    if isinstance(channel, str) and channel in names:
        return names.index(channel)
    number = isinstance(channel, (int, np.integer)) and not isinstance(channel, bool)
    if number and -len(names) <= cast("int", channel) < len(names):
        return int(cast("int", channel)) % len(names)
    msg = f"{what}: there is no channel {channel!r:.80}; there are {_listed(names)}."
    raise OmeZarrError(msg)


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(repr(name) for name in names[:8]) + (", …" if len(names) > 8 else "")  # noqa: PLR2004
    return f"{told}, or 0 to {len(names) - 1}"


def _colors(known: Sequence[Channel], count: int) -> list[tuple[int, int, int]]:
    default = _FEW.get(count, _MORE)
    beyond = distinct_colors(np.arange(count))
    chosen = []
    for i, channel in enumerate(known):
        text = channel.color or (default[i] if i < len(default) else bytes(beyond[i, :3]).hex())
        if not re.fullmatch("#?[0-9a-fA-F]{6}", str(text)):
            msg = (
                f"The colour of channel {i} is {text!r:.40}; expected six hexadecimal digits "
                "(.omezarr.assign_channels(colors=…))."
            )
            raise OmeZarrError(msg)
        chosen.append(_components(str(text)))
    return chosen


def _components(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _full_range(
    array: xr.DataArray, dim: str | None, known: Sequence[Channel]
) -> tuple[float, float] | None:
    """Give the window of what needs none: masks, and photographs in red, green and blue."""
    if any(channel.window.start is not None for channel in known):
        return None
    if array.dtype.kind == "b":
        return 0.0, 1.0
    seen = [channel.color for channel in known if channel.active is not False]
    primary = seen in ([None] * 3, list(_RGB))
    if dim is not None and array.dtype == np.uint8 and primary:
        return 0.0, 255.0
    return None


def _checked_pair(pair: tuple[float | None, float | None]) -> Window | None:
    """Give a window that can be computed with; None for what a file should not say."""
    start, end = pair
    if start is None or end is None or not math.isfinite(end - start):
        return None
    return float(start), float(end)


# ── arguments ────────────────────────────────────────────────────────────────────────────────────


def _by_channel(what: str, given: Any, looks: Looks, check: Any) -> dict[int, Any]:  # noqa: ANN401
    """Read an argument that says something of one channel, of each, or of all."""
    names = [channel.name for channel in looks.channels]
    if isinstance(given, Mapping):
        positions = [channel.index or 0 for channel in looks.channels]
        found = {}
        for key, value in given.items():
            if isinstance(key, str):
                place = _position(key, names, what)
            elif key in positions:
                place = positions.index(key)
            else:
                msg = (
                    f"{what}: channel {key!r:.80} is not shown; shown are "
                    f"{', '.join(map(repr, names))}."
                )
                raise OmeZarrError(msg)
            found[place] = check(value)
        return found
    one = check(given, one=True)
    if one is not None:
        return dict.fromkeys(range(len(names)), one)
    if not isinstance(given, (Sequence, np.ndarray)) or len(given) != len(names):
        msg = (
            f"{what}={given!r:.80}: expected one for all, a mapping by channel, or a list of "
            f"{len(names)}, one for each that is shown: {', '.join(map(repr, names))}."
        )
        raise OmeZarrError(msg)
    return {i: check(value) for i, value in enumerate(given)}


def _color(value: object, *, one: bool = False) -> tuple[int, int, int] | None:
    if isinstance(value, str):
        text = NAMED.get(value.lower(), value)
        if re.fullmatch("#?[0-9a-fA-F]{6}", text):
            return _components(text)
    elif one:
        return None
    msg = (
        f"colors: {value!r:.80}; expected six hexadecimal digits, like '#00FF00', or one of "
        f"{', '.join(NAMED)}."
    )
    raise OmeZarrError(msg)


def _window(value: object, *, one: bool = False) -> Window | None:
    if isinstance(value, (Sequence, np.ndarray)) and len(value) == 2:  # noqa: PLR2004
        start, end = value
        if all(isinstance(n, (int, float, np.number)) for n in (start, end)):
            pair = _checked_pair((float(start), float(end)))
            if pair is not None:
                return pair
            one = False
    if one:
        return None
    msg = f"windows: {value!r:.80}; expected two finite numbers, where it starts and ends."
    raise OmeZarrError(msg)


def _with_colors(looks: Looks, colors: Mapping[int, tuple[int, int, int]]) -> Looks:
    channels = list(looks.channels)
    for i, color in colors.items():
        channels[i] = replace(channels[i], look=replace(channels[i].look, color=color))
    return replace(looks, channels=tuple(channels))


def _with_windows(looks: Looks, windows: Mapping[int, Window]) -> Looks:
    channels = list(looks.channels)
    for i, (start, end) in windows.items():
        look = replace(channels[i].look, start=start, end=end)
        channels[i] = replace(channels[i], look=look, has_window=True)
    given = "as given"
    if len(windows) < len(channels):
        given = f"{given}; {looks.origin}"
    return replace(looks, channels=tuple(channels), origin=given)
