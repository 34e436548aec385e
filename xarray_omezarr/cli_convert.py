"""The subcommand ``convert``: write a hierarchy anew, in other chunks, codecs or versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from xarray_omezarr.cli_support import (
    STORE,
    examples,
    json_option,
    print_report,
    reads,
    say,
    sizes,
    version_option,
)


def _compressor(text: str) -> str:
    """Read the name of a compressor."""
    from xarray_omezarr.errors import OmeZarrError
    from xarray_omezarr.recodings import parse

    try:
        parse(text)
    except OmeZarrError as error:
        raise ValueError(str(error)) from error
    return text


def _shards(text: str) -> dict[str, int] | int | bool:
    """Read the sizes of shards, or that there shall be none."""
    if text.strip().lower() == "none":
        return False
    found: Any = sizes("y=2048,x=2048").convert(text, None, None)
    return found  # type: ignore[no-any-return]


@click.command(
    epilog=examples(
        "omezarr convert old.zarr new.zarr --chunks 256 --shards y=2048,x=2048",
        "omezarr convert image.zarr image.ozx",
        "omezarr convert image.ozx image.zarr --compressor zstd:5",
    )
)
@click.argument("source", type=STORE)
@click.argument("destination", type=STORE)
@click.option(
    "--chunks", type=sizes("y=256,x=256"), metavar="y=256,x=256", help="Sizes of chunks, or one."
)
@click.option(
    "--shards",
    type=reads("shards", _shards),
    metavar="y=2048,x=2048",
    help="Sizes of shards likewise, each of whole chunks; or none.",
)
@click.option(
    "--compressor",
    "compressors",
    type=reads("compressor", _compressor),
    metavar="zstd:5",
    help="zstd:5, gzip:6, blosc:lz4:5, blosc:zstd:5:shuffle or none.",
)
@version_option()
@click.option("--lossy", is_flag=True, help="Drop what that version has no words for.")
@click.option("--resume", is_flag=True, help="Go on where the same line was interrupted.")
@json_option
def convert(
    source: str,
    destination: str,
    *,
    chunks: dict[str, int] | int | None,
    shards: dict[str, int] | int | bool | None,
    compressors: str | None,
    version: str | None,
    lossy: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Write all that is at SOURCE anew at DESTINATION.

    In other chunks, shards or codecs, in another version, or as a zip archive, if DESTINATION ends
    in .ozx; SOURCE may be one. What is not asked for stays as it is, byte for byte where that can
    be: labels, plates and foreign groups like tables as well. What exists is left alone.
    """
    from xarray_omezarr.rewrites import convert

    done = convert(
        source,
        destination,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        version=version,
        lossy=lossy,
        resume=resume,
    )
    if as_json:
        print_report(asdict(done), as_json=True)
    else:
        say(str(done))
