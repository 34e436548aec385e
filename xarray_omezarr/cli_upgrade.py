"""The subcommand ``upgrade``: bring a hierarchy to another version."""

from __future__ import annotations

from dataclasses import asdict

import click

from xarray_omezarr.cli_support import (
    STORE,
    examples,
    json_option,
    print_report,
    version_option,
)


@click.command(
    epilog=examples(
        "omezarr upgrade old.ome.zarr --version 0.5",
        "omezarr upgrade old.ome.zarr new.ome.zarr --version 0.5",
    )
)
@click.argument("path", type=STORE)
@click.argument("target", type=STORE, required=False)
@version_option(required=True)
@click.option("--lossy", is_flag=True, help="Drop what that version has no words for.")
@click.option("--reencode", is_flag=True, help="Encode all pixels anew.")
@json_option
def upgrade(
    path: str, target: str | None, version: str, *, lossy: bool, reencode: bool, as_json: bool
) -> None:
    """Bring all that is at PATH to another version of OME-Zarr.

    In place, by metadata alone wherever that can be; or as a new one at TARGET, where there must
    be nothing yet. Interrupted, the same line completes it.
    """
    from xarray_omezarr.upgrades import upgrade

    done = upgrade(path, target, version=version, lossy=lossy, reencode=reencode)
    facts = {"path": target or path, **asdict(done)}
    print_report(facts if as_json else f"{target or path}: {done}", as_json=as_json)
