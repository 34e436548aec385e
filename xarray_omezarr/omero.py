"""`omero` ⇄ channels: how each is called and shown.

The key is transitional from 0.4 on, so nothing in it may make an image unreadable.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.composite import FAMILIES
from xarray_omezarr.model import Channel, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from xarray_omezarr.model import Image


#: What OMERO takes as the coefficient of a curve.
_COEFFICIENTS = (0.1, 4.0)


@dataclass(frozen=True)
class Curve:
    """How a channel goes from dark to bright, within its window."""

    family: str = "linear"
    coefficient: float = 1.0
    inverted: bool = False


def is_finite(number: float) -> bool:
    """Say whether a JSON number is one of float64: Python's may be integers beyond any float."""
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def parse_channels(
    omero: object, *, place: str, warn: Callable[[str], None]
) -> tuple[Channel, ...] | None:
    """Read the channels of an image; None where the file says nothing of them."""
    if omero is None:
        return None
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        warn(f"{place}: 'omero.channels' is {channels!r:.40}, not a list; left out")
        return None
    parsed = []
    odd: dict[int, object] = {}
    colorless: dict[int, object] = {}
    for i, channel in enumerate(channels):
        if not isinstance(channel, dict):
            odd[i] = channel
            parsed.append(Channel())
            continue
        label, color, active = (channel.get(key) for key in ("label", "color", "active"))
        hexadecimal = color.lstrip("#") if isinstance(color, str) else ""
        if color is not None and not re.fullmatch("[0-9a-fA-F]{6}", hexadecimal):
            colorless[i], hexadecimal = color, ""
        window = channel.get("window")
        numbers = {
            key: float(value)
            for key, value in (window.items() if isinstance(window, dict) else ())
            if key in ("start", "end", "min", "max")
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and is_finite(value)
        }
        parsed.append(
            Channel(
                label=label if isinstance(label, str) and label else None,
                color=hexadecimal or None,
                window=Window(**numbers),
                active=active if isinstance(active, bool) else None,
            )
        )
    for found, what in ((odd, "not an object"), (colorless, "not six hexadecimal digits")):
        if found:
            i, value = next(iter(found.items()))
            key = f"'omero.channels[{i}]'" if found is odd else f"the colour of channel {i}"
            warn(f"{place}: {key} is {value!r:.40}, {what}{_and_others(found)}; left out")
    return tuple(parsed)


def fitting(
    image: Image, shape: Sequence[int], *, place: str, warn: Callable[[str], None]
) -> tuple[Channel, ...]:
    """Give the channels that an array of an image has, each with a label of its own.

    Parameters
    ----------
    image
        What the metadata say.
    shape
        That of the array.
    place
        What messages call the image.
    warn
        Called with one sentence for each assumption.
    """
    axis = image.channel_axis
    count = 1 if axis is None else shape[axis]
    channels = image.channels
    if channels is None or (axis is None and (len(channels) != 1 or "c" in image.dims)):
        return ()
    if len(channels) != count:
        warn(
            f"{place}: 'omero' names {len(channels)} channels, but axis '{image.dims[axis or 0]}' "
            f"has {count}; their names and settings are left out"
        )
        return ()
    labels = distinct_labels([channel.label for channel in channels])
    if labels == [channel.label for channel in channels]:
        return channels
    warn(f"{place}: channels of the same label were made distinct: {labels!r:.200}")
    return tuple(
        replace(channel, label=label) for channel, label in zip(channels, labels, strict=True)
    )


def _and_others(found: Mapping[int, object]) -> str:
    return f", and {len(found) - 1} others are like it" if len(found) > 1 else ""


def curves(channels: Sequence[Channel], omero: object) -> list[Curve]:
    """Find the curve of each channel in the `omero` object that they were read from.

    What is not there, or is nothing that OMERO knows, is linear and not inverted.
    """
    found = []
    told = omero.get("channels") if isinstance(omero, dict) else None
    for channel in _former_channels(channels, told):
        family, k = channel.get("family"), channel.get("coefficient")
        low, high = _COEFFICIENTS
        if not isinstance(k, (int, float)) or isinstance(k, bool) or not low <= k <= high:
            k = 1.0
        known = family if family in FAMILIES else "linear"
        found.append(Curve(known, float(k), channel.get("inverted") is True))
    return found


def complete_channels(channels: Sequence[Channel], dtype: np.dtype[Any]) -> tuple[Channel, ...]:
    """Fill in what `omero` has to say of each channel and nobody has said.

    "Each channel MUST contain color and window" (0.4 and 0.5). The range of a window is that of
    the dtype, from 0 to 1 for floating point, and what is shown is all of it.
    """
    lowest: float
    highest: float
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        lowest, highest = int(info.min), int(info.max)
    else:
        lowest, highest = 0.0, 1.0
    completed = []
    for channel in channels:
        window = channel.window
        low = lowest if window.min is None else window.min
        high = highest if window.max is None else window.max
        completed.append(
            replace(
                channel,
                color=channel.color or "FFFFFF",
                window=Window(
                    start=low if window.start is None else window.start,
                    end=high if window.end is None else window.end,
                    min=low,
                    max=high,
                ),
            )
        )
    return tuple(completed)


def omero_json(image: Image, old: object, resized: Collection[str]) -> dict[str, Any] | None:
    """Merge the channels of an image into the `omero` object that it came with."""
    known = old if isinstance(old, dict) else {}
    if image.channels is None:
        return copy.deepcopy(known) or None
    if not image.channels:
        return None
    omero = {k: copy.deepcopy(v) for k, v in known.items() if k not in ("channels", "version")}
    if "version" in known and image.version == "0.4":
        omero["version"] = image.version
    if isinstance(omero.get("rdefs"), dict):
        for dim in resized:
            omero["rdefs"].pop(f"default{dim.upper()}", None)
    former = _former_channels(image.channels, known.get("channels"))
    omero["channels"] = [
        _channel_json(channel, extra) for channel, extra in zip(image.channels, former, strict=True)
    ]
    return omero


def _former_channels(channels: Sequence[Channel], old: object) -> list[dict[str, Any]]:
    """Find, for each channel, the object that it was read from; an empty one where it is new."""
    objects = [dict(c) if isinstance(c, dict) else {} for c in old] if isinstance(old, list) else []
    labels = distinct_labels([c.get("label") for c in objects])
    by_label = {label: c for label, c in zip(labels, objects, strict=True) if label is not None}
    complete = len(objects) == len(channels)
    kept = {channel.label for channel in channels}
    former = []
    for i, channel in enumerate(channels):
        if channel.label in by_label:
            former.append(by_label[channel.label])
        elif complete and (labels[i] is None or labels[i] not in kept):
            # A renamed channel is still the same one where none was dropped or moved.
            former.append({k: v for k, v in objects[i].items() if k != "label"})
        else:
            former.append({})
    return former


def _channel_json(channel: Channel, old: Mapping[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(dict(old))
    # A label made distinct on reading goes back as it was: it was found by that name.
    for key in ("label", "color", "active"):
        value = getattr(channel, key)
        if value is not None and not (key == "label" and new.get(key)):
            new[key] = value
    window = dict(new["window"]) if isinstance(new.get("window"), dict) else {}
    for key in ("min", "max", "start", "end"):
        value = getattr(channel.window, key)
        if value is not None and window.get(key) != value:
            whole = isinstance(value, int) or (value.is_integer() and repr(value) != "-0.0")
            window[key] = int(value) if whole else value
    if window:
        new["window"] = window
    return new


def distinct_labels(labels: Sequence[object]) -> list[str | None]:
    """Make equal channel labels distinct by a number: GFP, GFP becomes GFP, GFP (2).

    An index coordinate with equal labels cannot be aligned. What is no label stays None.

    Examples
    --------
    >>> distinct_labels(["GFP", "DAPI", "GFP"])
    ['GFP', 'DAPI', 'GFP (2)']
    """
    taken = {label for label in labels if isinstance(label, str) and label}
    seen: set[str] = set()
    last: dict[str, int] = {}
    result: list[str | None] = []
    for label in labels:
        if not isinstance(label, str) or not label:
            result.append(None)
            continue
        number = last.get(label, 1)
        new = label
        while new in seen or (number > 1 and new in taken):
            number += 1
            new = f"{label} ({number})"
        last[label] = number
        seen.add(new)
        result.append(new)
    return result
