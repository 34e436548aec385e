"""The subcommand ``download``: copy a hierarchy, or a part of one."""

from __future__ import annotations

from dataclasses import asdict

import click

from xarray_omezarr.cli_support import (
    NAMES,
    STORE,
    WELLS,
    examples,
    json_option,
    print_report,
    reads,
    say,
)


def _region(text: str) -> dict[str, str]:
    """Read x=100:200um,c=DAPI: what is wanted along each axis, as `download` takes it."""
    found: dict[str, str] = {}
    for item in text.split(","):
        axis, _, bounds = (part.strip() for part in item.partition("="))
        if not axis or not bounds or axis in found:
            msg = f"{item!r} is not like 'x=100:200um' or 'x=0:512px': an axis, once, with bounds."
            raise ValueError(msg)
        found[axis] = bounds
    return found


@click.command(
    epilog=examples(
        "omezarr download https://host/image.ome.zarr",
        'omezarr download s3://bucket/plate.zarr part.zarr --wells "A/*" --levels 1,2',
        "omezarr download image.ozx crop.zarr --region x=0:512px,y=100:200um",
    )
)
@click.argument("source", type=STORE)
@click.argument("destination", type=STORE, required=False)
@click.option(
    "--output", type=STORE, metavar="FOLDER", help="The folder for it, under the source's name."
)
@click.option("--wells", type=WELLS, metavar="A/1,B/*", help="These wells of a plate.")
@click.option(
    "--levels", type=NAMES, metavar="0,2", help="These levels, by number or path; -1 is the last."
)
@click.option(
    "--region",
    type=reads("region", _region),
    metavar="x=100:200um",
    help="This part, in any unit, or in pixels of level 0: x=0:512px,c=DAPI.",
)
@click.option("--labels", type=NAMES, metavar="NAMES", help="Of the label images, these alone.")
@click.option("--no-labels", is_flag=True, help="No label images.")
@click.option("--resume", is_flag=True, help="Go on where the same line was interrupted.")
@click.option("--missing-on-403", is_flag=True, help="Take what is denied for missing.")
@json_option
def download(
    source: str,
    destination: str | None,
    *,
    output: str | None,
    wells: tuple[str, ...] | None,
    levels: tuple[str, ...] | None,
    region: dict[str, str] | None,
    labels: tuple[str, ...] | None,
    no_labels: bool,
    resume: bool,
    missing_on_403: bool,
    as_json: bool,
) -> None:
    """Copy an image with labels, a plate or a series, or a part of one.

    SOURCE and DESTINATION are paths or URLs; SOURCE may be a zip archive. The copy is called
    DESTINATION, or like the source in the current folder; what exists is left alone. It has the
    same bytes, tables and the like among them, but where a region cuts through chunks.
    """
    if labels and no_labels:
        msg = "--labels and --no-labels exclude each other."
        raise click.UsageError(msg)
    if destination and output:
        msg = "DESTINATION and --output exclude each other."
        raise click.UsageError(msg)
    from xarray_omezarr.transfers import download, name_for

    if output:
        destination = f"{output.rstrip('/')}/{name_for(source)}"
    done = download(
        source,
        destination,
        wells=wells,
        levels=levels,
        region=region,
        labels=False if no_labels else labels,
        resume=resume,
        missing_on_403=missing_on_403,
    )
    if as_json:
        print_report(asdict(done), as_json=True)
    else:
        say(str(done))
