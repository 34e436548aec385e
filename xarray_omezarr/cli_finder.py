"""The subcommand ``finder``: find all OME-Zarr below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xarray_omezarr.cli_support import STORE, Unmet, examples, json_option, say

if TYPE_CHECKING:
    import pandas as pd

#: A file that is written, or "-" for what the command prints.
_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.command(
    epilog=examples(
        "omezarr finder data",
        "omezarr finder data --bytes --csv table.csv",
        "omezarr finder s3://bucket/data --html pictures.html",
    )
)
@click.argument("folder", type=STORE)
@click.option("--bytes", "stored", is_flag=True, help="Add up what is stored of each.")
@click.option("--csv", type=_FILE, metavar="FILE", help="Write the table as CSV; - prints it.")
@click.option("--html", type=_FILE, metavar="FILE", help="Write a page with a picture of each.")
@click.option("--view", is_flag=True, help="Show them in the browser, until Ctrl-C.")
@json_option
def finder(
    folder: str, *, stored: bool, csv: str | None, html: str | None, view: bool, as_json: bool
) -> None:
    """Find all OME-Zarr below FOLDER, and print them as a table.

    Nothing is looked for inside of what was found, and nothing is written into the data. Links to
    folders are not searched. The exit code is 1 where there is nothing.
    """
    for file in (csv, html):
        if file not in (None, "-") and Path(str(file)).exists():
            msg = f"{file} is there already; name a file that is not."
            raise click.UsageError(msg)
    printed = [as_json, csv == "-", html == "-"].count(True)
    if printed > 1:
        msg = "--json, --csv - and --html - print something each: choose one of them."
        raise click.UsageError(msg)
    from xarray_omezarr.finder import find

    table = find(folder, stored=stored)
    if table.empty:
        msg = f"There is no OME-Zarr below {table.attrs['folder']}."
        raise Unmet(msg)
    if csv is not None:
        _write(csv, table.to_csv(index=False), tell=not printed)
    if html is not None:
        from xarray_omezarr.catalogues import page

        _write(html, page(table), tell=not printed)
    if as_json:
        click.echo(table.to_json(orient="records", indent=2, date_format="iso"))
    elif csv is None and html is None:
        click.echo("\n".join(_lines(table)))
    if view:
        from xarray_omezarr.serving import serve

        with serve(folder) as server:
            click.echo(server.viewer_url, err=bool(printed))
            server.open()
            server.wait()


def _write(file: str, text: str, *, tell: bool) -> None:
    # Names of files need not be text.
    content = text.encode(errors="backslashreplace")
    if file == "-":
        click.echo(content.decode(), nl=False)
        return
    with open(file, "xb") as target:  # noqa: PTH123 - "x" refuses what is there
        target.write(content)
    if tell:
        say(f"Wrote {file}")


def _lines(table: pd.DataFrame) -> list[str]:
    """Lay the table out for people."""
    from xarray_omezarr.plan import readable
    from xarray_omezarr.report import printable
    from xarray_omezarr.scalebars import quantity
    from xarray_omezarr.wording import columns

    rows: list[tuple[str, ...]] = [
        ("path", "kind", "version", "pixels", "pixel size", "type", "size", "thumbnail")
    ]
    records: list[dict[Any, Any]] = (
        table.astype(object).where(table.notna(), None).to_dict("records")
    )
    for row in records:
        if row["problem"] is not None:
            rows.append((printable(row["path"]), "broken", *[""] * 6))
            continue
        axes = [key.removesuffix("_size") for key in row if str(key).endswith("_size")]
        there = [axis for axis in axes if row[f"{axis}_size"] is not None]
        # Axes that are alike are told together: a line is to fit a terminal.
        steps: dict[str, str] = {}
        for axis in there:
            if row.get(f"{axis}_scale") is not None:
                step = quantity(row[f"{axis}_scale"], row[f"{axis}_unit"])
                steps[step] = steps.get(step, "") + axis
        size = row.get("stored") or row["bytes"]
        rows.append(
            (
                printable(row["path"]),
                row["kind"],
                row["version"] or "",
                printable(" ".join(f"{axis} {row[f'{axis}_size']}" for axis in there)),
                printable(", ".join(f"{alike} {step}" for step, alike in steps.items())),
                row["dtype"] or "",
                "" if size is None else readable(size),
                printable(row["thumbnail"] or "") if row["thumbnail"] != row["path"] else "",
            )
        )
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    broken = [
        f"{printable(row['path'])}: {printable(row['problem'])}"
        for row in records
        if row["problem"] is not None
    ]
    return [*columns(rows), *broken]
