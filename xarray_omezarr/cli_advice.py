"""What messages of the library advise, in the words of a shell.

They name arguments and functions of Python; a subcommand has options, and other ways out.
"""

from __future__ import annotations

import re
from typing import Final

import click

_RESUME: Final = click.Option(["--resume"])
#: An argument of Python, as messages of the library name it.
_ARGUMENT: Final = re.compile(
    r"\b([a-z_0-9]+)=(True\b|(?=['\".,;:) \d]|$))(?=(['\"\d]?))", re.MULTILINE
)
#: What else messages of the library advise, and what there is of it in a shell.
_ADVICE: Final = {
    # An option that a message names beside the argument.
    r"(--[\w-]+|[A-Z]+)( '[^']*')? \(\1\)": r"\1\2",
    r"(, use mode='a' to add to it)?,? or use mode='w' to [^.]+\.": ".",
    r"Write to it by region=\.": "Write to another path.",
    r"\bgroup=('[^']*')": r"\1",
    r"; or all of them by xr\.open_datatree[^.]*\.": ".",
    r" by group=\.": " by its path.",
    r"\bxarray_omezarr\.(\w+)(, omezarr \1|(?=\)))": r"omezarr \1",
    r"\bxarray_omezarr\.find tells": "omezarr finder tells",
    r"\bxarray_omezarr\.scale makes": "omezarr scale makes",
    r"Give storage_options with credentials that suffice, or storage_options=\{'anon': True\}": (
        "Credentials are those of the environment; set FSSPEC_S3_ANON=true there"
    ),
    r": missing_on_403=True takes it for that when opening\.": ".",
    r"Give them in storage_options or as": "Give them as",
    r"storage_options=\{'anon': True\} reads": "FSSPEC_S3_ANON=true there reads",
}


def in_options(text: str, command: click.Command | None) -> str:
    """Name arguments as what they are of the subcommand, and other advice as it is in a shell."""
    # What is unfinished is gone on with by another subcommand than the one that meets it.
    params = [] if command is None else [_RESUME, *command.params]
    names = {
        p.name: p.opts[0] if isinstance(p, click.Option) else p.human_readable_name for p in params
    }

    def option(found: re.Match[str]) -> str:
        name = names.get(found[1])
        return found[0] if name is None else name + " " * bool(found[3])

    text = _ARGUMENT.sub(option, text)
    for pattern, instead in _ADVICE.items():
        text = re.sub(pattern, instead, text)
    return text
