"""What an image file says of its pixels, as plain values: their sizes, units, and channels.

OME-XML, ImageJ's description and the tags of a TIFF say it each in a way of its own. What none of
them says is not made up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.model import Channel, Window
from xarray_omezarr.units import SPACE_UNITS, TIME_UNITS, UNIT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Warn = Callable[[str], None]

#: Units of OME-XML that OME-Zarr has not, in micrometres.
_MICROMETRES = {"thou": 25.4, "li": 25400 / 12, "pt": 25400 / 72}
#: Other spellings of OME-XML and of ImageJ.
_SPELT = {"ft": "foot", "yd": "yard", "mi": "mile", "pc": "parsec", "microns": "micrometer"}
#: What is no unit: pixels of no known size, and a place on a stage that nobody has calibrated.
_NO_UNITS = ("", "pixel", "pixels", "reference frame", "none")
#: A tag of resolution is that of a print or of a screen, unless pixels are smaller than this.
_PRINTED = 20.0
#: ResolutionUnit of TIFF 6.0, in micrometres.
_RESOLUTION_UNITS = {2: 25400.0, 3: 10000.0}
#: Points of time are even where none is off by more than this part of the step between them.
_EVEN = 0.01
#: Added to the others as light, it would be all that is seen.
_ALPHA = Channel("Alpha", active=False)
#: What the samples of a pixel are called.
_SAMPLES = {
    2: (Channel("Grey"), _ALPHA),
    3: (Channel("Red", "FF0000"), Channel("Green", "00FF00"), Channel("Blue", "0000FF")),
}
_SAMPLES[4] = (*_SAMPLES[3], _ALPHA)


@dataclass(frozen=True)
class Caption:
    """What a file says of one of its images."""

    name: str | None = None
    spacing: Mapping[str, tuple[float, str | None]] = field(default_factory=dict)
    """The step along axes that it says it of, and the unit of that."""
    channels: tuple[Channel, ...] | None = None


def named_samples(channels: Sequence[Channel] | None, samples: int) -> tuple[Channel, ...] | None:
    """Give the channels of an image each pixel of which has several samples, as RGB has.

    Examples
    --------
    >>> [channel.label for channel in named_samples(None, 3)]
    ['Red', 'Green', 'Blue']
    """
    own = _SAMPLES.get(samples)
    if samples == 1 or own is None:
        return None if samples > 1 or channels is None else tuple(channels)
    if channels is None or len(channels) == 1:
        return own
    return tuple(
        replace(sample, label=f"{channel.label or f'Channel {number}'} {sample.label}")
        for number, channel in enumerate(channels)
        for sample in own
    )


# ── OME-XML ──────────────────────────────────────────────────────────────────────────────────────


def from_ome(xml: str, place: str, warn: Warn) -> list[Caption]:
    """Read the images of OME-XML, in their order.

    Raises
    ------
    OmeZarrError
        Where it is no XML.
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314 - expat itself bounds what entities become
    except ET.ParseError as error:
        msg = f"{place}: the OME-XML in it cannot be read: {error}. Copy the file again."
        raise OmeZarrError(msg) from error
    return [_image(image, place, warn) for image in _below(root, "Image")]


def _below(element: ET.Element, name: str) -> list[ET.Element]:
    """Give the children of a name, in whatever namespace: each year's schema has its own."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _image(image: ET.Element, place: str, warn: Warn) -> Caption:
    pixels = next(iter(_below(image, "Pixels")), None)
    if pixels is None:
        return Caption(image.get("Name") or None)
    spacing = {}
    for key, dim in (("PhysicalSizeX", "x"), ("PhysicalSizeY", "y"), ("PhysicalSizeZ", "z")):
        # "The units of the physical size ... default µm" (OME schema, 2016-06).
        found = _measured(pixels.get(key), pixels.get(f"{key}Unit", "µm"), f"{place}: {key}", warn)
        if found:
            spacing[dim] = found
    time = _measured(
        pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"),
        f"{place}: TimeIncrement", warn,
    ) or _even(_below(pixels, "Plane"), place, warn)  # fmt: skip
    if time:
        spacing["t"] = time
    return Caption(image.get("Name") or None, spacing, _ome_channels(_below(pixels, "Channel")))


def _measured(value: object, unit: str, what: str, warn: Warn) -> tuple[float, str | None] | None:
    """Give a size and its unit as OME-Zarr has it; None for what is no size."""
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        warn(f"{what} is {value!r:.40}, no size; left out")
        return None
    unit = unit.strip()
    if unit in _MICROMETRES:
        return number * _MICROMETRES[unit], "micrometer"
    if unit.lower() in _NO_UNITS:
        return number, None
    name = UNIT_NAMES.get(unit) or _SPELT.get(unit) or UNIT_NAMES.get(unit.lower(), unit.lower())
    if name not in SPACE_UNITS | TIME_UNITS:
        warn(f"{what} is in {unit!r:.40}, which OME-Zarr has not; left out")
        return None
    return number, name


def _even(planes: Iterable[ET.Element], place: str, warn: Warn) -> tuple[float, str | None] | None:
    """Give the time between frames by when each was taken, where that is the same for all."""
    found: dict[int, tuple[float, str]] = {}
    for plane in planes:
        key = [plane.get(f"The{axis}", "0") for axis in "TCZ"]
        if key[1:] == ["0", "0"] and key[0].isdecimal() and "DeltaT" in plane.attrib:
            try:
                taken = float(plane.attrib["DeltaT"])
            except ValueError:
                return None
            found[int(key[0])] = taken, plane.get("DeltaTUnit", "s")
    times = np.array([found[frame][0] for frame in sorted(found)])
    if len(times) < 2 or sorted(found) != list(range(len(times))):  # noqa: PLR2004 - no step
        return None
    step = float(times[-1] - times[0]) / (len(times) - 1)
    if not math.isfinite(step) or step <= 0:
        return None
    if np.abs(np.diff(times) - step).max() > _EVEN * step:
        warn(f"{place}: its frames were not taken at even times (DeltaT); they are numbered")
        return None
    return _measured(step, next(iter(found.values()))[1], f"{place}: DeltaT", warn)


def _ome_channels(channels: Sequence[ET.Element]) -> tuple[Channel, ...] | None:
    if not any("Name" in channel.attrib or "Color" in channel.attrib for channel in channels):
        return None
    named = any("Name" in channel.attrib for channel in channels)
    return tuple(
        Channel(
            label=(channel.get("Name") or f"Channel {number}") if named else None,
            color=_color(channel.get("Color")),
        )
        for number, channel in enumerate(channels)
    )


def _color(value: str | None) -> str | None:
    """Read a colour: a signed number of 32 bits, red, green, blue and alpha."""
    try:
        return None if value is None else f"{(int(value) & 0xFFFFFFFF) >> 8:06X}"
    except ValueError:
        return None


# ── ImageJ ───────────────────────────────────────────────────────────────────────────────────────


def from_imagej(
    about: Mapping[str, Any], pixel: Mapping[str, float], place: str, warn: Warn
) -> Caption:
    """Read what ImageJ says of a stack.

    Parameters
    ----------
    about
        Its description and its metadata.
    pixel
        The pixel size along x and y, in the unit that the description names.
    place, warn
        What messages call the file, and where they go.
    """
    unit = str(about.get("unit", "")).replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    sizes: dict[str, object] = dict(pixel)
    if "spacing" in about:
        # It is negative where the slices go down.
        spacing = about["spacing"]
        sizes["z"] = abs(spacing) if isinstance(spacing, (int, float)) else spacing
    found = {
        dim: _measured(size, unit, f"{place}: the pixel size along {dim}", warn)
        for dim, size in sizes.items()
        if unit.strip().lower() not in _NO_UNITS or size != 1
    }
    if about.get("finterval"):
        between = f"{place}: finterval"
        found["t"] = _measured(about["finterval"], str(about.get("tunit", "s")), between, warn)
    spacing_told = {dim: told for dim, told in found.items() if told is not None}
    return Caption(None, spacing_told, _imagej_channels(about))


def _imagej_channels(about: Mapping[str, Any]) -> tuple[Channel, ...] | None:
    count = about.get("channels", 1)
    if not isinstance(count, int) or not 1 <= count <= 1024:  # noqa: PLR2004 - no microscope's
        return None
    labels = about.get("Labels") or ()
    # They are those of slices: of channels, where each has one slice alone.
    named = len(labels) == count and len(set(labels)) == count and all(labels)
    tables = about.get("LUTs") or ()
    ranges = np.ravel(about.get("Ranges") or ())
    channels = []
    for number in range(count):
        table = np.asarray(tables[number]) if number < len(tables) else None
        color = None
        if table is not None and table.shape == (3, 256):
            color = "".join(f"{int(value):02X}" for value in table[:, -1])
        start, end = (
            map(float, ranges[2 * number : 2 * number + 2])
            if len(ranges) >= 2 * number + 2
            else (None, None)
        )
        label = str(labels[number]) if named else None
        channels.append(Channel(label, color, Window(start, end)))
    return None if all(channel == Channel() for channel in channels) else tuple(channels)


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────


def from_resolution(resolution: Sequence[float], unit: int, place: str, warn: Warn) -> Caption:
    """Read the tags of resolution of a plain TIFF.

    They are believed where they have a unit and pixels are smaller than 20 µm: what a microscope
    or a slide scanner writes. Larger ones are those of prints and screens, such as 72 or 300 dots
    per inch, which programs write into any file.

    Parameters
    ----------
    resolution
        Pixels per unit, along x and y.
    unit
        The tag ResolutionUnit.
    place, warn
        What messages call the file, and where they go.

    Examples
    --------
    >>> from_resolution((20000.0, 20000.0), 3, "a.tif", print).spacing["x"]
    (0.5, 'micrometer')
    >>> from_resolution((300.0, 300.0), 2, "a.tif", print).spacing
    a.tif: its resolution of 300 pixels per inch is taken for that of a print, and left out; say
    what the pixel size is by pixel_size=
    {}
    """
    if unit not in _RESOLUTION_UNITS or not all(
        math.isfinite(value) and value > 0 for value in resolution
    ):
        return Caption()
    sizes = [_RESOLUTION_UNITS[unit] / value for value in resolution]
    if max(sizes) >= _PRINTED:
        name = {2: "inch", 3: "centimetre"}[unit]
        if resolution[0] > 1:
            warn(
                f"{place}: its resolution of {resolution[0]:g} pixels per {name} is taken for that "
                "of a print, and left out; say what the pixel size is by pixel_size="
            )
        return Caption()
    return Caption(None, {dim: (size, "micrometer") for dim, size in zip("xy", sizes, strict=True)})
