"""The subcommand ``view``: show it in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xarray_omezarr.cli_support import STORE, examples, say

if TYPE_CHECKING:
    from xarray_omezarr.gates import Viewer


@click.command(
    epilog=examples(
        "omezarr view cells.ome.zarr",
        "omezarr view --viewer validator plate.ome.zarr",
        "omezarr view --no-browser --port 9000 https://host/cells.ome.zarr",
    )
)
@click.argument("path", type=STORE)
@click.option("--group", metavar="GROUP", help="The group in it to show.")
@click.option(
    "--viewer",
    type=click.Choice(["page", "validator"]),
    default="page",
    show_default=True,
    help="The pages of this package, or the OME-NGFF validator online.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Another address than this machine's own: others can read it then.",
)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    help="0 for any that is free; by default the first free one from 8000 on.",
)
@click.option("--no-browser", is_flag=True, help="Say the address, and open no browser.")
def view(
    path: str,
    *,
    group: str | None,
    viewer: Viewer,
    host: str,
    port: int | None,
    no_browser: bool,
) -> None:
    """Show what is at PATH in the browser, until Ctrl-C.

    An image, a plate, a series or a scene; or all that is OME-Zarr below a folder. It is served on
    this machine, to this machine. Its pages work without any network.
    """
    from xarray_omezarr.serving import serve

    with serve(path, group=group, viewer=viewer, host=host, port=port) as server:
        click.echo(server.viewer_url)
        if not no_browser and not server.open():
            say("No browser could be opened: open the address above in one.")
        say("Ctrl-C ends it.")
        server.wait()
