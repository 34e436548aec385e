"""What can go wrong, by name.

Every message names the file, key or dimension, what was found, what was expected, and the way out.
"""

from __future__ import annotations


class OmeZarrError(ValueError):
    """Something cannot be read, written or computed as asked.

    A `ValueError`, so that code which knows nothing of this package can still catch it.
    """


class OmeZarrFileNotFoundError(OmeZarrError, FileNotFoundError):
    """There is nothing at the given place, or a part of it is missing."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


class OmeZarrFileExistsError(OmeZarrError, FileExistsError):
    """There is something at the place that was to be written."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


class OmeZarrWarning(UserWarning):
    """An assumption was made, or something could not be kept: the message says which."""
