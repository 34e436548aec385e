"""The subcommand ``edit``: say what pixels are, without touching them."""

from __future__ import annotations

from typing import Any

import click

from xarray_omezarr.cli_support import (
    NAMES,
    STORE,
    examples,
    json_option,
    pairs,
    print_report,
    reads,
    say,
)


def _units(text: str) -> dict[str, str] | str:
    """Read y=nanometer,t=second; or one unit, for all axes of space."""
    return pairs(str, "y=nanometer,t=second").convert(text, None, None) if "=" in text else text


def _windows(text: str) -> list[tuple[float, float]]:
    """Read 0:4095,100:2000: for each channel where its window starts and ends."""
    try:
        windows = [tuple(float(end) for end in item.split(":")) for item in text.split(",")]
        return [(start, end) for start, end in windows]
    except ValueError:
        msg = f"{text!r} is not like '0:4095,100:2000' (for each channel start and end)."
        raise ValueError(msg) from None


@click.command(
    epilog=examples(
        "omezarr edit cells.ome.zarr --scale y=0.325,x=0.325 --units um --dry-run",
        "omezarr edit cells.ome.zarr --names DAPI,GFP --colors 0000FF,00FF00",
        "omezarr edit cells.ome.zarr --repair",
    )
)
@click.argument("path", type=STORE)
@click.option("--group", metavar="GROUP", help="The group of the image or plate within PATH.")
@click.option(
    "--scale", type=pairs(float, "z=2,y=0.5,x=0.5"), help="Pixel sizes, like z=2,y=0.5,x=0.5."
)
@click.option(
    "--translation", type=pairs(float, "y=10,x=20"), help="Where the first pixel lies, like y=10."
)
@click.option(
    "--units", type=reads("units", _units), help="A unit for all axes of space, or like t=second."
)
@click.option("--axis-types", type=pairs(str, "w=channel"), help="What axes are, like w=channel.")
@click.option("--names", type=NAMES, help="Of the channels, like DAPI,GFP.")
@click.option("--colors", type=NAMES, help="Of the channels, like 0000FF,00FF00.")
@click.option(
    "--windows", type=reads("windows", _windows), help="Of the channels, like 0:4095,100:2000."
)
@click.option("--name", help="Of the image.")
@click.option(
    "--like", type=STORE, help="An image whose pixel sizes, units, channels and name are taken."
)
@click.option("--repair", is_flag=True, help="Mend what the file itself tells to be wrong.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@json_option
def edit(path: str, *, like: str | None, dry_run: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Say what the pixels of the image, or of every field of the plate, at PATH are.

    Shows the metadata that change, as a diff. No pixel is read or written.
    """
    if like is None and not any(value for key, value in options.items() if key != "group"):
        msg = "There is nothing to set; give one or more of --scale, --names, …, or --repair."
        raise click.UsageError(msg)

    import xarray as xr

    from xarray_omezarr.edit import update_metadata

    model = None if like is None else xr.open_dataset(like, engine="omezarr", labels=False)
    changes = update_metadata(path, like=model, dry_run=dry_run, **options)
    if as_json:
        files = {file: {"before": old, "after": new} for file, (old, new) in changes.files.items()}
        print_report(
            {"path": path, "changed": bool(changes) and not dry_run, "files": files}, as_json=True
        )
        return
    click.echo(str(changes))
    if changes and not dry_run:
        count = len(changes.files)
        say(f"Changed {count} file{'s' * (count > 1)} of {path}.")
