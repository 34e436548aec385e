"""A table of OME-Zarr as a page: one file of HTML, with a picture of each.

The page asks for nothing: its style and pictures are in it, and it has no scripts. Whatever comes
from a file goes through `cards.safe`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from xarray_omezarr import display, pictures, progress
from xarray_omezarr.cards import safe
from xarray_omezarr.errors import OmeZarrError, heard
from xarray_omezarr.plan import readable
from xarray_omezarr.scalebars import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

#: The longer side of a picture, in pixels.
_SIDE = 128
#: So many pictures are made side by side, and in all: a page of them is shown by any browser.
_TOGETHER, _MOST = 8, 2000

_STYLE = """
:root{color-scheme:light dark;--line:rgba(127,127,127,.35)}
body{font:14px/1.45 system-ui,sans-serif;margin:24px;max-width:1400px}
h1{font-size:20px;margin:0 0 4px;overflow-wrap:anywhere}p{margin:0 0 14px}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;font-size:12px}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
td.picture{width:128px;min-width:128px}
img{display:block;max-width:128px;max-height:128px;background:#000;border-radius:4px}
.problem{color:#c62828}@media(prefers-color-scheme:dark){.problem{color:#ff8a80}}
"""


def page(
    table: pd.DataFrame,
    *,
    storage_options: Mapping[str, Any] | None = None,
    bar: bool | None = None,
) -> str:
    """Make a page of what `find` has found.

    Parameters
    ----------
    table
        What `find` gives.
    storage_options
        Passed on to fsspec for the pictures, where the folder is a URL.
    bar
        Whether a bar counts the pictures. By default as `set_options` has it.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> from xarray_omezarr import find
    >>> samples.circle().omezarr.to_zarr("data/circle.ome.zarr")
    >>> text = page(find("data"))
    >>> text.count("<tr"), text.count("<img")
    (2, 1)
    """
    folder = str(table.attrs.get("folder", ""))
    rows: list[dict[str, Any]] = [
        {str(key): _plain(value) for key, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]
    wanted = [row["thumbnail"] for row in rows[:_MOST]]
    shown = progress.shown(bar)

    def picture(path: str | None) -> str:
        return "" if path is None else _picture(f"{folder}/{path}", storage_options)

    with (
        progress.counting(len(wanted), " pictures", bar=shown) as advance,
        ThreadPoolExecutor(_TOGETHER) as pool,
    ):
        images = []
        for one in pool.map(picture, wanted):
            images.append(one)
            advance(1)
    images += [""] * (len(rows) - len(images))
    head = ("", "path", "kind", "name", "pixels", "pixel size", "type", "size", "modified")
    lines = [
        "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in head) + "</tr>",
        *(_row(row, image) for row, image in zip(rows, images, strict=True)),
    ]
    skipped = "".join(f"<li>{safe(one, 400)}</li>" for one in table.attrs.get("skipped", ()))
    left = f"<p>Left out:</p><ul>{skipped}</ul>" if skipped else ""
    body = (
        f"<h1>{safe(folder, 500)}</h1><p>{len(rows):,} found</p>"
        f"<table>{''.join(lines)}</table>{left}"
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{safe(folder)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of any type
    """Give a cell; None for all that pandas has for nothing."""
    import pandas as pd

    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _picture(source: str, storage_options: Mapping[str, Any] | None) -> str:
    """Give a picture of an image as an element; nothing where there is none."""
    import xarray as xr

    try:
        with (
            heard(),
            xr.open_dataset(
                source, engine="omezarr", labels=False, storage_options=storage_options
            ) as dataset,
        ):
            found = display.view(dataset, _SIDE).thumbnail
    except (OmeZarrError, OSError, ValueError):
        # What is wrong with it has been told by who found it.
        return ""
    if found is None:
        return ""
    ratio = found.ratio
    width, height = (_SIDE, _SIDE / ratio) if ratio >= 1 else (_SIDE * ratio, _SIDE)
    uri = pictures.data_uri(pictures.png(found.pixels))
    size = f'width="{max(1, round(width))}" height="{max(1, round(height))}"'
    return f'<img alt="a picture of {safe(source)}" loading="lazy" {size} src="{uri}">'


def _row(row: Mapping[str, Any], picture: str) -> str:
    """Give a row of the table."""
    axes = [key.removesuffix("_size") for key in row if key.endswith("_size") and row[key]]
    pixels = " × ".join(f"{axis} {row[f'{axis}_size']:,}" for axis in axes)
    steps = [
        f"{axis} {quantity(scale, row.get(f'{axis}_unit'))}"
        for axis in axes
        if (scale := row.get(f"{axis}_scale")) is not None
    ]
    size = row.get("stored") or row["bytes"]
    modified = row.get("modified")
    cells: Sequence[object] = (
        row["path"],
        " ".join(str(row[key]) for key in ("kind", "version") if row[key] is not None),
        row["name"] or "",
        pixels,
        ", ".join(steps),
        row["dtype"] or "",
        "" if size is None else readable(size),
        "" if modified is None else f"{modified:%Y-%m-%d %H:%M}",
    )
    told = [f"<td>{safe(cell, 300)}</td>" for cell in cells]
    if row["problem"] is not None:
        told[2:] = [
            f'<td colspan="{len(told) - 2}" class="problem">{safe(row["problem"], 400)}</td>'
        ]
    return f'<tr><td class="picture">{picture}</td>{"".join(told)}</tr>'
