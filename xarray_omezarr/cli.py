"""The command ``omezarr``: which subcommands there are, and how it talks.

Each subcommand is in a module of its own, which is imported when it is called, so that asking for
help costs next to nothing. There is nothing in them that a notebook could not do: they read their
arguments, call what the package offers, and print.
"""

from __future__ import annotations

import errno
import io
import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from xarray_omezarr import cli_support
from xarray_omezarr.cli_advice import in_options
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The subcommands, in the order of the help: where each is, and what it does, in a few words. They
#: have no comma, where fish, as click serves it, would cut them off.
COMMANDS: Final = {
    "info": ("xarray_omezarr.cli_info:info", "Say what is at a path."),
    "view": ("xarray_omezarr.cli_view:view", "Show it in the browser."),
    "finder": ("xarray_omezarr.cli_finder:finder", "Find all OME-Zarr below a folder."),
    "wells": ("xarray_omezarr.cli_wells:wells", "Print a plate as a table."),
    "validate": ("xarray_omezarr.cli_validate:validate", "Say whether it keeps the rules."),
    "create": ("xarray_omezarr.cli_create:create", "Write a sample image or plate."),
    "scale": ("xarray_omezarr.cli_scale:scale", "Write a pyramid of an image file or array."),
    "download": ("xarray_omezarr.cli_download:download", "Copy all of it or a part."),
    "convert": ("xarray_omezarr.cli_convert:convert", "Write it in other chunks or codecs."),
    "upgrade": ("xarray_omezarr.cli_upgrade:upgrade", "Bring it to another version."),
    "edit": ("xarray_omezarr.cli_edit:edit", "Set or repair metadata."),
    "csv-to-labels": (
        "xarray_omezarr.cli_csv_to_labels:csv_to_labels",
        "Add a table to the properties of labels.",
    ),
    "demo": ("xarray_omezarr.cli_demo:demo", "Go the whole way on real images."),
}


class Commands(click.Group):
    """Subcommands that are imported when called, and whose failures are a sentence."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as click types it
        """Run the command line; help that cannot be printed is no reason for a traceback."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            click.echo(f"Error: {_sentence(error)}", err=True)
            sys.exit(cli_support.UNMET)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """Name the subcommands."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a subcommand; underscores, as `ome_zarr` has them, do as well."""
        name = cmd_name.replace("_", "-")
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return cli_support.with_common_options(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, or say which was probably meant."""
        if args[0].startswith("-") or self.get_command(ctx, args[0]) or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.UsageError(_unknown(args[0], self.list_commands(ctx)), ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a subcommand, without importing one."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name][1]) for name in names), *options]

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click types it
        """Run a command, and turn its exceptions into messages and exit codes."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            # What was under way breaks off, as it should: asyncio would tell of each task of it.
            logging.getLogger("asyncio").disabled = True
            click.echo("\nInterrupted.", err=True)
            ctx.exit(cli_support.INTERRUPTED)
        except Exception as error:
            if _is_broken_pipe(error):
                raise
            cli_support.trace(error)
            name = ctx.invoked_subcommand
            command = None if name is None else self.get_command(ctx, name)
            raise cli_support.Unmet(in_options(_sentence(error), command)) from error


def _unknown(name: str, names: list[str]) -> str:
    """Say that there is no such subcommand."""
    import difflib

    if name == "help":
        return "For help, type 'omezarr --help', or 'omezarr info --help'."
    near = difflib.get_close_matches(name.lower().replace("_", "-"), names)
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"No such command {name!r}.{meant}"


def _is_broken_pipe(error: Exception) -> bool:
    """Say whether the reader of our output has gone, of which click takes care."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _sentence(error: Exception) -> str:
    if isinstance(error, OmeZarrError):
        return str(error)
    if isinstance(error, OSError):
        if error.strerror and error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return "There is not enough memory for this."
    return (
        f"{type(error).__name__}: {error}\n"
        "That should not have happened; omezarr --debug shows where it did."
    )


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=cli_support.examples(
        "omezarr create cells.ome.zarr --method fluorescence",
        "omezarr info cells.ome.zarr",
        intro="omezarr COMMAND --help says more of each. To begin:",
    ),
)
@click.version_option(package_name="xarray-omezarr", prog_name="omezarr")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Look at OME-Zarr images and plates; write, copy, check and change them."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no × shall show another sign, and no error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    cli_support.begin(ctx)


cli_support.with_common_options(main)

if __name__ == "__main__":
    main(prog_name="omezarr")
