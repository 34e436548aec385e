"""The subcommand ``wells``: a plate as a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from xarray_omezarr.cli_support import STORE, examples, json_option

if TYPE_CHECKING:
    import pandas as pd


@click.command(
    epilog=examples(
        "omezarr wells plate.ome.zarr",
        "omezarr wells plate.ome.zarr --csv --positions > fields.csv",
    )
)
@click.argument("plate", type=STORE)
@click.option("--group", metavar="GROUP", help="The group of the plate within PLATE.")
@click.option(
    "--positions", is_flag=True, help="A row for each field, with the place of its first pixel."
)
@click.option(
    "--shapes", is_flag=True, help="A row for each field, with the size and type of its pixels."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
def wells(
    plate: str, group: str | None, *, positions: bool, shapes: bool, as_csv: bool, as_json: bool
) -> None:
    """Print the wells of PLATE, or its fields, as a table."""
    if as_csv and as_json:
        msg = "Choose one of --csv and --json."
        raise click.UsageError(msg)

    from xarray_omezarr.screens import wells

    table = wells(plate, group=group, positions=positions, shapes=shapes)
    if as_json:
        records = json.loads(table.to_json(orient="records"))
        click.echo(json.dumps({**table.attrs, "wells": records}, indent=2))
    elif as_csv:
        click.echo(_flat(table).to_csv(index=False), nl=False)
    elif table.empty:
        click.echo("The plate has no wells.")
    else:
        click.echo(_flat(table).to_string(index=False, na_rep="-"))


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Write lists of paths and numbers with blanks between them."""
    lists = [name for name in table if isinstance(table[name].iloc[:1].squeeze(), (list, tuple))]
    return table.assign(**{str(n): table[n].map(lambda v: " ".join(map(str, v))) for n in lists})
