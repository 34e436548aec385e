"""Where the command `omezarr` begins: a Ctrl-C while Python still imports ends it at once.

The package imports xarray before any line of its own modules can run, which takes a good part of a
second. So this stands beside the package, and not in it.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Import the command, and run it."""
    # What runs in the background may ignore Ctrl-C, and goes on doing so.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _end)
    from xarray_omezarr.cli import main as command

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


def _end(*_: object) -> None:
    """End with the message and the exit code that `cli` has for it.

    There is nothing yet to be tidied up, and an exception might come up in the middle of an
    extension that is being imported, which would say something else in its place.
    """
    os.write(2, b"\nInterrupted.\n")
    os._exit(130)
