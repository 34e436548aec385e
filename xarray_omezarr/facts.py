"""What is known of an image, or of what holds several: as values."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import spec, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xarray_omezarr.model import Axis, Channel, Image


@dataclass(frozen=True)
class AxisFacts:
    """An axis of an image."""

    name: str
    size: int
    scale: float | None
    """The pixel size; None for channels, and where pixels are not evenly spaced."""
    unit: str | None
    ends: tuple[float, float] | None = None
    """In space the outer edges of the first and the last pixel; else their positions."""
    length: float | None = None
    """How long it is, from end to end."""
    chunk: int | None = None
    translation: float | None = None
    """Where the first pixel lies."""


@dataclass(frozen=True)
class LevelFacts:
    """A level of an image."""

    number: int
    shape: tuple[int, ...]
    """Empty where the array is missing or broken."""
    nbytes: int
    """Of its pixels, when they are in memory."""
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    expected: bool = False
    """Whether the shape is what the pixel sizes let expect, and nobody has looked."""
    here: bool = False
    """Whether it is the one at hand."""
    problem: str | None = None
    """What is wrong with it."""
    path: str | None = None
    """Of its array, below the group of the image."""
    scale: Mapping[str, float] | None = None
    """Its pixel sizes; channels have none."""
    codecs: tuple[str, ...] = ()
    """What its chunks are compressed by: "blosc(zstd, 5)"."""
    stored: int | None = None
    """The bytes that are stored of it, where that was asked for and could be listed."""


@dataclass(frozen=True)
class LabelFacts:
    """A label image."""

    name: str
    dtype: str
    count: int | None
    """How many labels there are, by its table or by its pixels in memory; None where neither is."""
    properties: tuple[str, ...] = ()
    stored: int | None = None
    """The bytes that are stored of it, where that was asked for and could be listed."""


@dataclass(frozen=True)
class WellFacts:
    """A well of a plate."""

    path: str
    row: str
    column: str
    fields: tuple[str, ...]
    """Their paths below the plate."""


@dataclass(frozen=True)
class PlateFacts:
    """The wells of a plate, and their fields."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: frozenset[tuple[str, str]]
    """Those that are there, as row and column."""
    fields: int
    """Of all wells together."""
    acquisitions: int = 0
    listed: tuple[WellFacts, ...] = ()
    """The wells that are there, one by one, where they were read."""


@dataclass(frozen=True)
class EntryFacts:
    """One of several images."""

    path: str
    name: str | None
    sizes: Mapping[str, int]
    """Empty where it is missing or broken."""
    dtype: str
    levels: int


@dataclass(frozen=True)
class ValueFacts:
    """The values of a channel, or of an image without channels."""

    channel: int | None
    """Counted from 0; None where the image has no axis of channels."""
    name: str | None
    minimum: float | None
    """None where there is no value."""
    maximum: float | None
    mean: float | None
    """That of all values, in float64."""
    count: int
    """How many values there are; NaN are none."""
    missing: int = 0
    """How many pixels are NaN: they are left out."""
    image: str | None = None
    """Of several images, the path of the one that they are of."""
    level: int = 0
    """Which level of it they are of."""


@dataclass(frozen=True)
class NodeFacts:
    """A group or an array of a hierarchy."""

    path: str
    """Below the root, which is ""."""
    kind: str
    """"image", "plate", "well", "array" and so on, or "group"."""
    about: str = ""


@dataclass(frozen=True, repr=False)
class Info:
    """What is at a path, by its metadata.

    Printing it tells all of it; `to_json` is for programs.

    See Also
    --------
    xarray_omezarr.info : Looks it up.
    """

    source: str
    """The path or the URL, without credentials."""
    kind: str
    """"image", "label image", "labels", "plate", "well", "series", "scene" or "group"."""
    version: str | None = None
    name: str | None = None
    dtype: str | None = None
    """Of the pixels, of an image."""
    axes: tuple[AxisFacts, ...] = ()
    levels: tuple[LevelFacts, ...] = ()
    channels: tuple[Channel, ...] = ()
    """What the file says of them; empty where it says nothing."""
    labels: tuple[LabelFacts, ...] = ()
    plate: PlateFacts | None = None
    images: tuple[EntryFacts, ...] = ()
    """Those in a well, a series, a scene, a group of images or of labels."""
    systems: tuple[str, ...] = ()
    """The coordinate systems of a scene."""
    example: Info | None = None
    """What the first image of a plate or a well is like."""
    stored: int | None = None
    """The bytes of all that is stored there, where that was asked for and could be listed."""
    objects: int | None = None
    """In how many files or objects these are."""
    values: tuple[ValueFacts, ...] = ()
    """Of each channel, and of several images of each one of them, where that was asked for."""
    values_of: str | None = None
    """Which level they are of: "level 0", or "level 3, approximately"."""
    tree: tuple[NodeFacts, ...] = ()
    """All groups and arrays, where that was asked for."""
    warnings: tuple[str, ...] = ()
    """What had to be assumed, and what is wrong."""

    def __str__(self) -> str:
        return "\n".join(wording.of_info(self))

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Give it as values that JSON holds.

        Returns
        -------
        dict
            ``path``, ``kind``, ``version``, ``name``, ``dtype``, ``axes``, ``levels``,
            ``channels``, ``labels``, ``plate``, ``images``, ``systems``, ``example``, ``values``,
            ``tree`` and ``warnings``: what does not apply is None or empty. The bytes of a level
            are those of its pixels, uncompressed; ``stored`` are those of its chunks.
        """
        return {
            "path": self.source,
            "kind": self.kind,
            "version": self.version,
            "name": self.name,
            "dtype": self.dtype,
            "axes": [_axis(axis) for axis in self.axes],
            "levels": [_level(level) for level in self.levels],
            "channels": [_channel(channel) for channel in self.channels],
            "labels": [
                {
                    "name": label.name,
                    "dtype": label.dtype,
                    "count": label.count,
                    "properties": list(label.properties),
                    **_given(stored=label.stored),
                }
                for label in self.labels
            ],
            "plate": None if self.plate is None else _plate(self.plate),
            "images": [{**vars(entry), "sizes": dict(entry.sizes)} for entry in self.images],
            "systems": list(self.systems),
            "example": None if self.example is None else self.example.to_dict(),
            **_given(stored=self.stored, objects=self.objects, values_of=self.values_of),
            "values": [vars(value) for value in self.values],
            "tree": [vars(node) for node in self.tree],
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """Give it as JSON, for programs: `to_dict` says what is in it.

        Examples
        --------
        >>> print(Info("a.zarr", "image", "0.5").to_json())
        {
          "path": "a.zarr",
          "kind": "image",
          "version": "0.5",
          ...
        """
        return json.dumps(spec.finite(self.to_dict()), indent=2, allow_nan=False)


def axis_facts(
    axis: Axis, size: int, scale: float, translation: float, chunk: int | None = None
) -> AxisFacts:
    """Tell of an axis that has positions.

    Parameters
    ----------
    axis
        The axis.
    size
        Its pixels.
    scale, translation
        Their size, and the position of the first.
    chunk
        The pixels of a chunk along it.
    """
    facts = AxisFacts(axis.name, size, None, axis.unit, chunk=chunk)
    if axis.is_channel or not size:
        return facts
    steps, half = (size, scale / 2) if axis.type == "space" else (size - 1, 0.0)
    return replace(
        facts,
        scale=scale,
        ends=(translation - half, translation + (size - 1) * scale + half),
        length=steps * abs(scale),
        translation=translation,
    )


def axes_of(
    image: Image, level: int, shape: Sequence[int], chunks: Sequence[int] | None
) -> tuple[AxisFacts, ...]:
    """Tell of the axes of a level of an image."""
    transform = image.levels[level].transform
    return tuple(
        axis_facts(axis, size, scale, translation, None if chunks is None else chunks[i])
        for i, (axis, size, scale, translation) in enumerate(
            zip(image.axes, shape, transform.scale, transform.translation, strict=True)
        )
    )


def _given(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _axis(axis: AxisFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"name": axis.name, "size": axis.size}
    if axis.scale is None:
        return found
    return {**found, "scale": axis.scale, "translation": axis.translation, "unit": axis.unit}


def _level(level: LevelFacts) -> dict[str, Any]:
    return {
        "level": level.number,
        "path": level.path,
        "shape": list(level.shape),
        "scale": dict(level.scale or {}),
        "chunks": None if level.chunks is None else list(level.chunks),
        "shards": None if level.shards is None else list(level.shards),
        "codecs": list(level.codecs),
        "bytes": level.nbytes,
        **_given(stored=level.stored, problem=level.problem),
    }


def _channel(channel: Channel) -> dict[str, Any]:
    window = {f"window_{key}": value for key, value in vars(channel.window).items()}
    return {
        "label": channel.label,
        "color": channel.color,
        "active": channel.active,
        **{key: value for key, value in window.items() if value is not None},
    }


def _plate(plate: PlateFacts) -> dict[str, Any]:
    return {
        "rows": list(plate.rows),
        "columns": list(plate.columns),
        "fields": plate.fields,
        "acquisitions": plate.acquisitions,
        "wells": [{**vars(well), "fields": list(well.fields)} for well in plate.listed],
    }
