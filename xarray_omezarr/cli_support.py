"""What subcommands share: types of arguments, options, exit codes, and how they talk.

A subcommand is a function in a module ``cli_<name>`` that `cli.COMMANDS` names::

    @click.command(epilog=examples("omezarr info image.ome.zarr"))
    @click.argument("path", type=STORE)
    @json_option
    def info(path: str, *, as_json: bool) -> None:
        \"\"\"Say what is at PATH.\"\"\"
        print_report(xarray_omezarr.info(path), as_json=as_json)

It raises what the library raises: `cli.Commands` makes a sentence and an exit code of it. The
options ``-v``, ``-q``, ``--debug`` and ``--help`` are added to each.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from xarray_omezarr import options, redaction
from xarray_omezarr.cli_advice import in_options
from xarray_omezarr.errors import OmeZarrWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.shell_completion import CompletionItem

    from xarray_omezarr.quantities import Quantity

#: The exit code where the data are not what was asked: invalid, not found, nothing matched.
UNMET: Final = 1
#: The exit code of wrong usage: `click.UsageError` and `click.BadParameter` have it.
USAGE: Final = 2
#: The exit code after Ctrl-C, as shells have it.
INTERRUPTED: Final = 130

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic since 8.3 only.
    _ParamType = click.ParamType

F = TypeVar("F", bound="Callable[..., Any]")


class Unmet(click.ClickException):
    """The data are not what was asked; the exit code is 1."""

    exit_code = UNMET

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - as click types it
        """Print the message."""
        head = click.style("Error:", fg="red", bold=True)
        click.echo(f"{head} {self.format_message()}", file=file, err=True, color=self.show_color)


# ── types of arguments ───────────────────────────────────────────────────────────────────────────


class _Text(_ParamType):
    """A type of arguments that are read by a function, whose `ValueError` says what is wrong."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click types it
        """Read an argument."""
        if not isinstance(value, str):
            return value  # a default
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Store(_ParamType):
    """A path or a URL: any text, which the shell completes like the name of a file."""

    name = "path"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click types it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Refuse an empty one, which would be the folder that one is in."""
        if not (path := os.fspath(value)):
            self.fail("It is empty; name a path or a URL.", param, ctx)
        return str(path)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - as click has it
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Let the shell complete it."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


def _items(text: str) -> list[str]:
    """Split at commas; blanks around them, and a comma at the end, do not count."""
    found = [item.strip() for item in text.split(",")]
    if len(found) > 1 and not found[-1]:
        found.pop()
    if not all(found):
        msg = f"{text!r} has an empty entry."
        raise ValueError(msg)
    return found


def _split(text: str, like: str) -> Iterator[tuple[str, str]]:
    """Give each axis with what is said of it."""
    seen: set[str] = set()
    for item in _items(text):
        dim, equals, value = (part.strip() for part in item.partition("="))
        if not (dim and equals and value):
            msg = f"{item!r} is not an axis and its value, like {like!r}."
            raise ValueError(msg)
        if dim in seen:
            msg = f"{dim!r} is given twice."
            raise ValueError(msg)
        seen.add(dim)
        yield dim, value


def _pairs(text: str, read: Callable[[str], Any], like: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for dim, value in _split(text, like):
        try:
            found[dim] = read(value)
        except ValueError:
            msg = f"'{dim}={value}' does not have a value like those of {like!r}."
            raise ValueError(msg) from None
    return found


def reads(name: str, read: Callable[[str], Any]) -> _ParamType:
    """Make a type of arguments that a function reads, whose `ValueError` says what is wrong."""
    return _Text(name, read)


def pairs(read: Callable[[str], Any], like: str) -> _ParamType:
    """Make the type of arguments like ``z=2,y=0.5``, which become ``{"z": 2.0, "y": 0.5}``.

    Parameters
    ----------
    read
        Reads a value: `float`, `int`, `str`, or what else raises ValueError.
    like
        An example, for messages: ``"z=2,y=0.5"``.
    """
    return _Text("pairs", lambda text: _pairs(text, read, like))


def _size(text: str) -> int:
    """Read a size: a whole number of 1 or more."""
    size = int(text)
    if size < 1:
        raise ValueError
    return size


def sizes(like: str) -> _ParamType:
    """Make the type of sizes by axis, ``z=1,y=256``, or one for all, ``256``: a dict or an int."""

    def read(text: str) -> dict[str, int] | int:
        if "=" in text:
            return _pairs(text, _size, like)
        try:
            return _size(text)
        except ValueError:
            msg = f"{text!r} is neither a whole number of 1 or more nor like {like!r}."
            raise ValueError(msg) from None

    return _Text("sizes", read)


def _region(text: str) -> dict[str, slice]:
    """Read ``x=100:200um,t=0:90s``; a unit at the end of a range holds for both of its ends."""
    return {dim: _range(dim, value) for dim, value in _split(text, "x=100:200um")}


def _range(dim: str, text: str) -> slice:
    from xarray_omezarr.quantities import parse

    ends = [end.strip() for end in text.split(":")]
    if len(ends) != 2 or not any(ends):  # noqa: PLR2004 - lower and upper
        msg = f"'{dim}={text}' is not a range like 'x=100:200um', 'x=0.1mm:0.2mm' or 'x=:50um'."
        raise ValueError(msg)
    lower, upper = (parse(end, what=dim) if end else None for end in ends)
    shared = None if upper is None else upper.unit

    def bound(end: Quantity | None) -> str | float | None:
        unit = None if end is None else end.unit or shared
        return end if end is None else end.number if unit is None else f"{end.number!r} {unit}"

    return slice(bound(lower), bound(upper))


def _wells(text: str) -> tuple[str, ...]:
    return tuple(_items(text))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(item) for item in _items(text))
    except ValueError:
        found = (-1,)
    if min(found) < 0:
        msg = f"{text!r} is not a list of numbers like '0,1,2'."
        raise ValueError(msg)
    return found


def _bytes(text: str) -> int:
    from xarray_omezarr.quantities import parse_bytes

    return parse_bytes(text, what="the size")


#: A path or a URL of an OME-Zarr, or of anything else.
STORE: Final = _Store()
#: ``x=100:200um,t=0:90s`` → ``{"x": slice("100.0 micrometer", "200.0 micrometer"), …}``, as
#: ``.omezarr.sel`` takes it. Bare numbers stay numbers, in the unit of the axis; ends may be open.
REGION: Final = _Text("region", _region)
#: ``A/1,B2`` → ``("A/1", "B2")``, as ``wells=`` takes it.
WELLS: Final = _Text("wells", _wells)
#: ``DAPI,GFP`` → ``("DAPI", "GFP")``.
NAMES: Final = _Text("names", lambda text: tuple(_items(text)))
#: ``0,1,2`` → ``(0, 1, 2)``.
NUMBERS: Final = _Text("numbers", _numbers)
#: ``500 MB``, ``2GiB`` → a number of bytes.
BYTES: Final = _Text("bytes", _bytes)


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def json_option(command: F) -> F:
    """Add ``--json``, which is the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


def version_option(default: str | None = None, *, required: bool = False) -> Callable[[F], F]:
    """Add ``--version``, the version of OME-Zarr that is written; ``--format`` does as well."""
    given: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    return click.option(
        "--version",
        "--format",
        "version",
        type=click.Choice(["0.4", "0.5", "0.6"]),
        required=required,
        help="The version of OME-Zarr.",
        **given,
    )


def examples(*lines: str, intro: str = "Examples:") -> str:
    """Give the end of a help text: lines that can be typed."""
    head = "Example:" if intro == "Examples:" and len(lines) == 1 else intro
    return "\n".join(["\b", head, *(f"  {line}" for line in lines)])


def with_common_options(command: click.Command) -> click.Command:
    """Add ``-v``, ``-q`` and ``--debug``, which hold before and after a subcommand."""
    if not any(param.name == "verbose" for param in command.params):
        command.params += [
            click.Option(
                ["-v", "--verbose"], count=True, expose_value=False, callback=_louder,
                help="Tell more; twice, even more.",
            ),
            click.Option(
                ["-q", "--quiet"], count=True, expose_value=False, callback=_quieter,
                help="Tell only what was asked, and errors.",
            ),
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_debug,
                help="Show where an error comes from.",
            ),
        ]  # fmt: skip
    return command


# ── how commands talk ────────────────────────────────────────────────────────────────────────────


class Printable(Protocol):
    """What people read as `str`, and programs as JSON."""

    def to_json(self) -> str:
        """Give it as JSON."""


def print_report(report: Printable | object, *, as_json: bool) -> None:
    """Print what was asked: as JSON by its `to_json`, or as text."""
    if not as_json:
        click.echo(str(report))
    elif hasattr(report, "to_json"):
        click.echo(report.to_json())
    else:
        click.echo(json.dumps(report, indent=2))


def say(text: str) -> None:
    """Print what was done, unless the user wants it quiet."""
    if _talk().loudness >= 0:
        click.echo(text)


@dataclass
class Talk:
    """How much is told."""

    loudness: int = 0
    """-1 is errors and what was asked; 0 warnings and progress; 1 what is done; 2 all."""
    debug: bool = False
    begun: bool = False
    """Whether what is changed for it is put back at the end."""
    warned: set[str] = field(default_factory=set)
    """Each warning is told once."""


_KEY: Final = "xarray_omezarr.talk"


def _talk() -> Talk:
    context = click.get_current_context(silent=True)
    talk: Talk = Talk() if context is None else context.meta.setdefault(_KEY, Talk())
    return talk


def _louder(_ctx: click.Context, _param: click.Parameter, count: int) -> None:
    _talk().loudness += count
    _apply()


def _quieter(_ctx: click.Context, _param: click.Parameter, count: int) -> None:
    _talk().loudness -= count
    _apply()


def _debug(_ctx: click.Context, _param: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    _talk().debug |= asked
    _apply()


class _Lines(logging.Formatter):
    """Log messages as lines without credentials, and without tracebacks unless asked for."""

    def format(self, record: logging.LogRecord) -> str:
        if not _talk().debug:
            record.exc_info = record.exc_text = record.stack_info = None
        return redaction.shown(super().format(record))


class _ToStderr(logging.Handler):
    """Write log messages where errors go."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def begin(ctx: click.Context) -> None:
    """Set up, for as long as the command runs, how it talks."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    ctx.with_resource(options.set_options(progress=True))
    ctx.with_resource(warnings.catch_warnings())
    warnings.showwarning = _print_warning
    ctx.with_resource(_logged())
    _talk().begun = True
    _apply()


@contextmanager
def _logged() -> Iterator[None]:
    """Send log messages to standard error; and what is raised where nobody can catch it nowhere."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    hooks = sys.unraisablehook
    handler = _ToStderr()
    handler.setFormatter(_Lines("%(levelname)s %(name)s: %(message)s"))
    root.handlers[:] = [handler]
    sys.unraisablehook = lambda args: hooks(args) if _talk().debug else None
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.unraisablehook = hooks


def _apply() -> None:
    """Let all that tells something know how much is wanted."""
    talk = _talk()
    if not talk.begun:
        return
    level = {1: logging.INFO}.get(talk.loudness, logging.DEBUG)
    logging.getLogger().setLevel(logging.CRITICAL if talk.loudness < 1 else level)
    options.set_options(progress=talk.loudness >= 0)
    warnings.simplefilter("default" if talk.loudness > 0 else "ignore")
    if talk.loudness >= 0:
        warnings.simplefilter("always", OmeZarrWarning)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    context = click.get_current_context(silent=True)
    command = None if context is None else context.command
    text = redaction.shown(in_options(str(message), command))
    if text not in _talk().warned:
        _talk().warned.add(text)
        click.echo(f"{click.style('Warning:', fg='yellow', bold=True)} {text}", err=True)


def trace(error: Exception) -> None:
    """Print where an error comes from, where that is wanted."""
    if _talk().debug:
        lines = "".join(traceback.format_exception(error))
        click.echo(redaction.shown(lines), err=True, nl=False)
