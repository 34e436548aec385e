"""The subcommand ``scale``: a pyramid of an image file, of a Zarr array or of a level."""

from __future__ import annotations

from typing import Any

import click

from xarray_omezarr.cli_support import STORE, examples, pairs, reads, say, sizes, version_option

#: Like an axis and its size.
_SIZE = "z=2,y=0.5,x=0.5"


def _axes(text: str) -> tuple[str, ...]:
    from xarray_omezarr.files import axis_names

    return axis_names(text)


def _pixel_size(text: str) -> Any:  # noqa: ANN401 - a dict or a number
    """Read sizes by axis, or one for all axes of space."""
    if "=" in text:
        return pairs(float, _SIZE).convert(text, None, None)
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is neither a number nor like {_SIZE!r}."
        raise ValueError(msg) from None


def _unit(text: str) -> Any:  # noqa: ANN401 - a dict or a word
    like = "z=micrometer,t=second"
    return pairs(str, like).convert(text, None, None) if "=" in text else text


@click.command(
    epilog=examples(
        "omezarr scale cells.ome.tif cells.ome.zarr --workers 8",
        "omezarr scale a.tif a.ome.zarr zyx --pixel-size z=1,y=0.2,x=0.2 --unit um",
        "omezarr scale array.zarr image.ome.zarr yx --factor 3 --levels 4",
    )
)
@click.argument("source", metavar="INPUT", type=STORE)
@click.argument("target", metavar="OUTPUT", type=STORE)
@click.argument("axes", type=reads("axes", _axes), required=False)
@click.option("--method", default="mean", show_default=True, help="mean, nearest, gaussian, …")
@click.option(
    "--factor", type=sizes("z=1,y=2,x=2"), metavar="N|PAIRS",
    help="Each level's, from the one before; a number is for y and x.",
)  # fmt: skip
@click.option("--levels", type=click.IntRange(min=1), help="How many in all.")
@click.option("--chunks", type=sizes("y=256,x=256"), metavar="N|PAIRS", help="Like y=256,x=256.")
@click.option("--shards", type=sizes("y=2048,x=2048"), metavar="N|PAIRS", help="Of whole chunks.")
@click.option(
    "--pixel-size", type=reads("pairs", _pixel_size), metavar="N|PAIRS", help=f"Like {_SIZE}."
)
@click.option("--unit", type=reads("unit", _unit), help="Of the axes of space, or t=second.")
@version_option()
@click.option("--series", type=int, help="Which image of a file that has several.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads; one for each core.")
@click.option("--resume", is_flag=True, help="Continue a write that was interrupted.")
@click.option("--copy-metadata", is_flag=True, help="Keep the attributes of a Zarr array.")
@click.option("--downscale", type=click.IntRange(min=1), hidden=True)
@click.option("--max-layer", "--max_layer", "max_layer", type=click.IntRange(min=0), hidden=True)
@click.option("--in-place", "in_place", is_flag=True, hidden=True)
def scale(  # noqa: PLR0917 - click names them
    source: str,
    target: str,
    axes: tuple[str, ...] | None,
    factor: int | dict[str, int] | None,
    levels: int | None,
    downscale: int | None,
    max_layer: int | None,
    *,
    in_place: bool,
    **options: Any,  # noqa: ANN401 - click has read them
) -> None:
    """Write INPUT with a pyramid as OME-Zarr to OUTPUT, where there must be nothing yet.

    INPUT is an image file (TIFF, OME-TIFF, PNG, JPEG), a Zarr array, an OME-Zarr image or the array
    of one of its levels. AXES names the axes of an INPUT that does not, like zyx.
    """
    if in_place:
        msg = "Nothing is written into INPUT: leave --in-place out, and name a new OUTPUT."
        raise click.UsageError(msg)
    if downscale is not None and factor is not None:
        msg = "--downscale is --factor under another name; leave one of them out."
        raise click.UsageError(msg)
    if max_layer is not None and levels is not None:
        msg = "--max_layer counts levels but the first; leave it or --levels out."
        raise click.UsageError(msg)

    import xarray_omezarr

    plan = xarray_omezarr.scale(
        source,
        target,
        axes,
        factor=downscale if factor is None else factor,
        levels=levels if max_layer is None else max_layer + 1,
        **options,
    )
    shape = " × ".join(
        f"{dim} {size}" for dim, size in zip(plan.dims, plan.levels[0].shape, strict=True)
    )
    count = len(plan.levels)
    say(f"Wrote {shape} ({plan.dtype}) on {count} level{'s' * (count > 1)}: {target}")
