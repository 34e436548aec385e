"""The subcommand ``info``: say what is at a path."""

from __future__ import annotations

from dataclasses import replace

import click

from xarray_omezarr.cli_support import STORE, examples, json_option, print_report
from xarray_omezarr.errors import warn


@click.command(
    epilog=examples(
        "omezarr info cells.ome.zarr",
        "omezarr info --stats --json cells.ome.zarr/labels/nuclei",
        "omezarr info https://host/plate.ome.zarr",
    )
)
@click.argument("path", type=STORE)
@click.option("--group", metavar="GROUP", help="The group of the image in it.")
@click.option("--bytes", "stored", is_flag=True, help="Add what is stored, where it can be listed.")
@click.option("--stats", is_flag=True, help="Read all pixels: minimum, maximum, mean by channel.")
@click.option("--approximate", is_flag=True, help="Tell these of a coarser level, and of which.")
@click.option("--tree", is_flag=True, help="List all groups and arrays.")
@json_option
def info(
    path: str,
    *,
    group: str | None,
    stored: bool,
    stats: bool,
    approximate: bool,
    tree: bool,
    as_json: bool,
) -> None:
    """Say what is at PATH: an image, a plate, a well, a series, a scene, labels.

    Metadata alone are read, unless --stats or --approximate ask for pixels, of each image where
    there are several. Bytes are those of pixels in memory; --bytes adds those of files. NaN are
    counted, and otherwise left out.
    """
    from xarray_omezarr.surveys import info

    if approximate and stats:
        msg = "--stats is exact, --approximate is not: ask for one of them."
        raise click.UsageError(msg)
    found = info(path, group=group, stored=stored, stats=stats, approximate=approximate, tree=tree)
    for warning in found.warnings:
        warn(warning)
    if as_json:
        print_report(found, as_json=True)
        return
    head, *rest = str(replace(found, warnings=())).split("\n", 1)
    print_report("\n".join([click.style(head, bold=True), *rest]), as_json=False)
