"""The nouns of the field, as frozen values: what a file says, whatever its version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xarray_omezarr.transforms import ScaleTranslation

#: The type that an axis of a well-known name has where nothing else is said.
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Axis:
    """One axis of an image."""

    name: str
    type: str | None
    """"space", "time", "channel", a type of one's own, or nothing."""
    unit: str | None = None
    """The unit as the file spells it; nothing where the file says nothing."""
    long_name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the axis that have no field here, carried through a round trip."""

    @property
    def orientation(self) -> str | None:
        """Where the axis points to in a body, like "left-to-right" (RFC-4)."""
        told = self.extra.get("orientation")
        value = told.get("value") if isinstance(told, dict) else None
        return value if isinstance(value, str) else None

    @property
    def is_channel(self) -> bool:
        """Whether the axis counts channels rather than measures something."""
        return self.type == "channel"


@dataclass(frozen=True)
class Window:
    """The display window of a channel: the values shown darkest and brightest, and the range."""

    start: float | None = None
    end: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Channel:
    """One channel of an image with its display settings; None where the file says nothing."""

    label: str | None = None
    color: str | None = None
    """Six hexadecimal digits: red, green, blue."""
    window: Window = Window()
    active: bool | None = None


@dataclass(frozen=True)
class Level:
    """One resolution of an image."""

    path: str
    """Where its array lies, below the group of the image."""
    transform: ScaleTranslation
    """From array indices to physical coordinates, multiscales-level transformations included."""


@dataclass(frozen=True)
class Image:
    """One image at several resolutions, as its group's attributes describe it."""

    version: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    name: str | None = None
    channels: tuple[Channel, ...] | None = None
    """None where nothing is known of them beyond what the document may say."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The group's attributes, verbatim."""
    intrinsic: str | None = None
    """What the coordinate system of the axes is called; None where systems have no names."""
    assumed: bool = False
    """Whether the version was not declared, but taken from the structure."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes, in stored order."""
        return tuple(axis.name for axis in self.axes)

    @property
    def channel_axis(self) -> int | None:
        """The position of the channel axis, if there is one."""
        return next((i for i, axis in enumerate(self.axes) if axis.is_channel), None)
