"""The subcommand ``csv-to-labels``: a table becomes properties of stored labels."""

from __future__ import annotations

from dataclasses import asdict

import click

from xarray_omezarr.cli_support import STORE, Unmet, examples, json_option, print_report, say
from xarray_omezarr.errors import heard


@click.command(
    name="csv-to-labels",
    epilog=examples(
        "omezarr csv-to-labels cells.csv nr area#d,kind a.ome.zarr label-value",
        "omezarr csv-to-labels cells.csv nr kind plate.zarr label-value --dry-run",
    ),
)
@click.argument("csv", type=STORE)
@click.argument("id_column", metavar="ID")
@click.argument("keys")
@click.argument("path", type=STORE)
@click.argument("to")
@click.option("--label", help="The label image; not needed where there is only one.")
@click.option("--overwrite", is_flag=True, help="Replace properties of the same name.")
@click.option("--dry-run", is_flag=True, help="Report what would match, and change nothing.")
@json_option
def csv_to_labels(
    csv: str,
    id_column: str,
    keys: str,
    path: str,
    to: str,
    *,
    label: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add columns of the table CSV to the properties of the labels at PATH.

    A row is about the label whose property TO is what the row has in the column ID; TO is most
    often label-value. KEYS are the columns to add, with commas between them; each may say its
    type: area#d is a number, n#l an integer, kind#s text, alive#b true or false. PATH is an
    image, a label image, a well or a plate. Where nothing matches, nothing is written, and the
    exit code is 1.
    """
    from xarray_omezarr.fields import csv_to_labels

    # What did not match is in the report.
    with heard():
        report = csv_to_labels(
            path, csv, label=label, on=id_column, to=to, columns=keys.split(","),
            overwrite=overwrite, dry_run=dry_run,
        )  # fmt: skip
    print_report(asdict(report) if as_json else report, as_json=as_json)
    if not report.matched_rows:
        msg = (
            f"Nothing matched, and nothing was changed: no value of the column {id_column!r} is "
            f"the {to!r} of a label."
        )
        raise Unmet(msg)
    if dry_run and not as_json:
        say("Nothing was changed; that was a dry run.")
