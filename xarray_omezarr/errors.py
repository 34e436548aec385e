"""What can go wrong, by name.

Every message names the file, key or dimension, what was found, what was expected, and the way out.
"""

from __future__ import annotations

import inspect
import re
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from xarray_omezarr import redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A message longer than this was filled by a file; its beginning and its end say enough.
_LONGEST, _END, _MOST = 4000, 500, 8000
#: What a terminal would obey rather than show: control characters but the end of a line, changes
#: of the direction of writing, and halves of characters.
_COMMANDS = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

#: Packages whose lines tell a user nothing: this one, and the one that it is called by.
_INSIDE = ("xarray_omezarr", "xarray")


def _shown(message: str) -> str:
    """Give a message as it may be shown: what it quotes from a file can be anything.

    URLs in it are shown without credentials, wherever they come from.
    """
    if len(message) > _LONGEST:
        # Parts that are long enough for any URL, and not as long as what a file can hold.
        start, end = (redaction.shown(part) for part in (message[:_MOST], message[-_MOST:]))
        message = f"{start[: _LONGEST - _END]} … {end[-_END:]}"
    message = redaction.shown(message)
    return _COMMANDS.sub(lambda found: repr(found[0])[1:-1], message)


class OmeZarrError(ValueError):
    """Something cannot be read, written or computed as asked.

    A `ValueError`, so that code which knows nothing of this package can still catch it.
    """

    def __str__(self) -> str:
        return _shown(ValueError.__str__(self))


class OmeZarrFileNotFoundError(OmeZarrError, FileNotFoundError):
    """There is nothing at the given place, or a part of it is missing."""


class OmeZarrFileExistsError(OmeZarrError, FileExistsError):
    """There is something at the place that was to be written."""


class OmeZarrPermissionError(OmeZarrError, PermissionError):
    """What is at the given place may not be read, or nothing be written there."""


class OmeZarrWarning(UserWarning):
    """An assumption was made, or something could not be kept: the message says which."""

    def __str__(self) -> str:
        return _shown(UserWarning.__str__(self))


# ── who is told ──────────────────────────────────────────────────────────────────────────────────

#: Whoever is told, in this thread, in place of whoever hears warnings.
_HEARING: ContextVar[Callable[[str], object] | None] = ContextVar("_HEARING", default=None)


def warn(message: str) -> None:
    """Tell of an assumption, or of what could not be kept."""
    hearing = _HEARING.get()
    if hearing is None:
        warnings.warn(message, OmeZarrWarning, stacklevel=_stacklevel())
    else:
        hearing(message)


def _stacklevel() -> int:
    """Give the `stacklevel` of a warning that shows the line by which the package was called."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    return level


@contextmanager
def telling(whom: Callable[[str], object]) -> Iterator[None]:
    """Tell somebody of what there is to warn of, in this thread alone: `warnings` knows none."""
    token = _HEARING.set(whom)
    try:
        yield
    finally:
        _HEARING.reset(token)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what there is to warn of, in this thread."""
    messages: list[str] = []
    with telling(messages.append):
        yield messages
