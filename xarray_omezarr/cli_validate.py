"""The subcommand ``validate``: say whether hierarchies keep the rules."""

from __future__ import annotations

import itertools
import json
from typing import Any

import click

from xarray_omezarr.cli_support import STORE, UNMET, examples, json_option, reads
from xarray_omezarr.errors import OmeZarrError


def _version(text: str) -> str:
    from xarray_omezarr.findings import SPELLINGS, dialect

    if dialect(text) is None:
        known = ", ".join(itertools.chain.from_iterable(SPELLINGS.values()))
        msg = f"{text!r} is not one that can be validated; those are {known}."
        raise ValueError(msg)
    return text


@click.command(
    epilog=examples("omezarr validate cells.ome.zarr", "omezarr validate --deep *.ome.zarr")
)
@click.argument("paths", type=STORE, nargs=-1, required=True, metavar="PATH...")
@click.option("--group", metavar="GROUP", help="The group in it to begin at.")
@click.option(
    "--version",
    type=reads("version", _version),
    help="What to hold it against, 0.1 to 0.6 or 0.9.dev1; by default what it says that it is.",
)
@click.option("--deep", is_flag=True, help="Read pixels, too: geometry, labels, decoding.")
@click.option("--chunks", is_flag=True, help="Count chunks that are absent, empty or truncated.")
@json_option
@click.pass_context
def validate(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of `verdict.validate`
) -> None:
    """Say whether each PATH keeps the rules of OME-Zarr.

    All that lies below is looked at: labels, wells, series. The exit code is 0 where no MUST of
    the specification is broken anywhere, else 1. The JSON is an object; for several paths a list.
    """
    told = [_verdict(path, options, one=len(paths) == 1, as_json=as_json) for path in paths]
    if as_json:
        objects = [found for _, found in told]
        click.echo(json.dumps(objects if len(paths) > 1 else objects[0], indent=2))
    ctx.exit(0 if all(valid for valid, _ in told) else UNMET)


def _verdict(
    path: str, options: dict[str, Any], *, one: bool, as_json: bool
) -> tuple[bool, dict[str, Any]]:
    """Validate one of the paths; where it cannot be read, that is the verdict."""
    from xarray_omezarr import verdict

    try:
        report = verdict.validate(path, **options)
    except OmeZarrError as error:
        if one:
            raise
        if not as_json:
            click.echo(f"{path}: not validated\n  error    {error}")
        return False, {"valid": False, "target": path, "error": str(error)}
    if not as_json:
        click.echo(str(report))
    return bool(report), json.loads(report.to_json())
