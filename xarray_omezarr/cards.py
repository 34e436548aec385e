"""What is told of an image as HTML: for notebooks, of any theme, without JavaScript.

Whatever comes from a file goes through `safe`. Colours are those of the page, of JupyterLab or of
Visual Studio Code around it; where none of these says anything, text is as the page has it.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from xarray_omezarr import pictures
from xarray_omezarr.plan import readable
from xarray_omezarr.report import printable
from xarray_omezarr.scalebars import quantity, symbol
from xarray_omezarr.summaries import MOST_LISTED, GroupFacts
from xarray_omezarr.wording import UNCOUNTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray_omezarr.facts import LevelFacts, PlateFacts
    from xarray_omezarr.summaries import ImageFacts
    from xarray_omezarr.thumbnails import Thumbnail

#: The longer side of a picture, in pixels of the page.
_SIDE = 256
#: No side of a picture is shorter.
_SHORTEST = 32
#: Text from files is cut off after so many characters.
_LONGEST = 200
#: The side of a well in a map of a plate, and how wide all of it may be.
_WELL, _WIDEST = 14, 440
#: Narrower pictures have their scale bar below.
_NARROW = 80
#: What marks the row that stands out.
_HERE = ' class="oz-here"'
#: So many rows or columns of a plate have their names beside the map.
_NAMED = 24

_STYLE = """
.omezarr{--oz-text:var(--jp-content-font-color1,var(--vscode-foreground,inherit));
--oz-line:rgba(127,127,127,.35);--oz-soft:rgba(127,127,127,.12);
--oz-accent:var(--jp-brand-color1,var(--vscode-textLink-foreground,#1976d2));
color:var(--oz-text);font-family:var(--jp-content-font-family,var(--vscode-font-family,system-ui,
sans-serif));font-size:13px;line-height:1.45;max-width:960px;text-align:left}
.omezarr *{box-sizing:border-box}
.omezarr .oz-card{border:1px solid var(--oz-line);border-radius:8px;padding:12px 14px;
margin:2px 0;overflow:hidden}
.omezarr .oz-head{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 8px;margin:0 0 10px}
.omezarr .oz-name{font-size:15px;font-weight:600;overflow-wrap:anywhere}
.omezarr .oz-tag{border-radius:9px;background:var(--oz-soft);padding:0 8px;font-size:12px}
.omezarr .oz-body{display:flex;flex-wrap:wrap;gap:14px 18px;align-items:flex-start}
.omezarr .oz-facts{flex:1 1 320px;min-width:0}
.omezarr figure.oz-figure{margin:0;flex:0 0 auto;max-width:100%}
.omezarr .oz-picture{position:relative;background:#000;border-radius:4px;overflow:hidden;
max-width:100%}
.omezarr .oz-picture img{display:block;width:100%;height:100%;margin:0;max-width:none}
.omezarr .oz-bar{position:absolute;right:6px;bottom:6px;display:flex;flex-direction:column;
align-items:flex-end;max-width:calc(100% - 12px);left:6px;pointer-events:none}
.omezarr .oz-bar span{background:rgba(0,0,0,.65);color:#fff;border-radius:3px;padding:0 4px;
font-size:11px;line-height:15px;margin-bottom:3px;white-space:nowrap}
.omezarr .oz-bar i{display:block;height:4px;background:#fff;box-shadow:0 0 0 1px rgba(0,0,0,.8)}
.omezarr .oz-bar.oz-under{position:static;align-items:flex-start;max-width:none;margin-top:5px}
.omezarr .oz-bar.oz-under span{background:none;color:inherit;padding:0}
.omezarr .oz-bar.oz-under i{background:currentColor;box-shadow:none}
.omezarr figcaption{font-size:11.5px;opacity:.92;margin-top:4px;max-width:256px;
overflow-wrap:anywhere}
.omezarr table.oz-table{border-collapse:collapse;margin:0 0 10px;font-size:12.5px;border:0;
width:auto;max-width:100%;display:table;table-layout:auto;color:inherit}
.omezarr table.oz-table tr{background:none!important;border:0}
.omezarr table.oz-table th,.omezarr table.oz-table td{padding:2px 12px 2px 0;border:0;
border-bottom:1px solid var(--oz-line);text-align:right;vertical-align:baseline;color:inherit;
background:none;font-variant-numeric:tabular-nums;white-space:nowrap;max-width:none}
.omezarr table.oz-table th{font-weight:500;opacity:.92;font-size:11.5px}
.omezarr table.oz-table th:first-child,.omezarr table.oz-table td:first-child,
.omezarr table.oz-table .oz-left{text-align:left}
.omezarr table.oz-table tr.oz-here td{font-weight:600}
.omezarr table.oz-table td.oz-wrap{white-space:normal;overflow-wrap:anywhere}
.omezarr .oz-scroll{overflow-x:auto;max-width:100%}
.omezarr ul.oz-chips{display:flex;flex-wrap:wrap;gap:5px 7px;list-style:none;margin:0 0 10px;
padding:0}
.omezarr ul.oz-chips li{display:inline-flex;align-items:center;gap:6px;margin:0;
border:1px solid var(--oz-line);border-radius:11px;padding:1px 9px 1px 6px;font-size:12.5px;
overflow-wrap:anywhere;list-style:none}
.omezarr .oz-swatch{flex:0 0 auto;width:12px;height:12px;border-radius:50%;
border:1px solid rgba(127,127,127,.9);display:inline-block}
.omezarr .oz-off{border-style:dashed!important}
.omezarr .oz-small{font-size:11.5px;opacity:.92}
.omezarr .oz-notes{margin:6px 0 0;padding:0 0 0 16px;font-size:12px}
.omezarr .oz-notes li{margin:0;overflow-wrap:anywhere}
.omezarr .oz-source{margin-top:8px;font-size:12px;overflow-wrap:anywhere;
font-family:var(--jp-code-font-family,var(--vscode-editor-font-family,ui-monospace,monospace))}
.omezarr svg.oz-plate{display:block;max-width:100%;height:auto;margin:0 0 10px;color:inherit}
.omezarr svg.oz-plate text{fill:currentColor;font-size:9px;font-family:inherit}
.omezarr svg.oz-plate .oz-there{fill:var(--oz-accent)}
.omezarr svg.oz-plate .oz-gone{fill:none;stroke:currentColor;stroke-opacity:.45}
.omezarr details.oz-more{margin:0 0 8px}
.omezarr details.oz-more>summary{cursor:pointer;font-size:12.5px}
"""


def safe(text: object, longest: int = _LONGEST) -> str:
    """Give text from a file as it may stand in HTML: in an element, or in a quoted attribute.

    Examples
    --------
    >>> safe('<b onclick="x">')
    '&lt;b onclick=&quot;x&quot;&gt;'
    """
    plain = str(text)
    plain = plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
    return html.escape(printable(plain))


def card(
    facts: ImageFacts | GroupFacts, thumbnail: Thumbnail | None, skipped: Sequence[str]
) -> str:
    """Tell of an image, or of a group of them, as HTML.

    Parameters
    ----------
    facts
        What is known.
    thumbnail
        A picture, if there is one.
    skipped
        What is not shown, and why.
    """
    body = _group(facts) if isinstance(facts, GroupFacts) else _image(facts)
    inner = (
        f'<div class="oz-head">{_head(facts)}</div>'
        f'<div class="oz-body">{_figure(thumbnail)}<div class="oz-facts">{body}</div></div>'
        f"{_notes(skipped)}{_source(facts.source)}"
    )
    return page(inner)


def details(facts: ImageFacts) -> str:
    """Tell of the axes, the levels and the labels of an image as tables of HTML."""
    return _axes(facts) + _levels(facts) + _labels(facts) + _notes(facts.notes)


def page(inner: str) -> str:
    """Give a card of what is HTML already."""
    return f'<div class="omezarr"><style>{_STYLE}</style><div class="oz-card">{inner}</div></div>'


def _head(facts: ImageFacts | GroupFacts) -> str:
    if isinstance(facts, GroupFacts):
        kind, about = facts.kind, [f"{facts.images:,} image{'s' * (facts.images != 1)}"]
    else:
        kind, about = facts.kind, [facts.dtype]
    version = [] if facts.version is None else [f"OME-Zarr {facts.version}"]
    state = [] if isinstance(facts, GroupFacts) else [facts.state]
    tags = [*version, *about, readable(facts.nbytes), *state]
    named = "" if facts.name is None else f'<span class="oz-name">{safe(facts.name)}</span>'
    title = f'{named}<span class="oz-kind">{safe(kind)}</span>'
    return title + "".join(f'<span class="oz-tag">{safe(tag)}</span>' for tag in tags)


def _source(source: str | None) -> str:
    return "" if source is None else f'<div class="oz-source">{safe(source, 500)}</div>'


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{safe(note, 400)}</li>" for note in notes)
    return f'<ul class="oz-notes">{items}</ul>' if items else ""


def _figure(thumbnail: Thumbnail | None) -> str:
    if thumbnail is None:
        return ""
    ratio = thumbnail.ratio
    width = _SIDE if ratio >= 1 else max(_SHORTEST, round(_SIDE * ratio))
    height = max(_SHORTEST, round(_SIDE / ratio)) if ratio >= 1 else _SIDE
    uri = pictures.data_uri(pictures.png(thumbnail.pixels))
    enlarged = thumbnail.pixels.shape[1] < width
    rendering = ";image-rendering:pixelated" if enlarged else ""
    shown = " · ".join(safe(part, 80) for part in thumbnail.shown)
    bar = ""
    if thumbnail.bar is not None:
        # The bar lies in what the picture has between its margins.
        share = thumbnail.bar.length / thumbnail.extent[1] * width
        under = " oz-under" if width < _NARROW else ""
        bar = (
            f'<div class="oz-bar{under}"><span>{safe(thumbnail.bar.text)}</span>'
            f'<i style="width:{share:.1f}px"></i></div>'
        )
    inside, below = (bar, "") if width >= _NARROW else ("", bar)
    return (
        f'<figure class="oz-figure"><div class="oz-picture" style="width:{width}px;'
        f'height:{height}px"><img alt="{safe("a thumbnail of the image")}" src="{uri}" '
        f'style="width:100%;height:100%{rendering}">{inside}</div>{below}'
        f"<figcaption>{shown}</figcaption></figure>"
    )


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def _image(facts: ImageFacts) -> str:
    parts = []
    if facts.plate is not None:
        parts.append(plate_map(facts.plate))
    parts += [_axes(facts), _channels(facts), _labels(facts), _levels(facts)]
    return "".join(parts) + _notes(facts.notes)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], kind: str, here: int | None = None
) -> str:
    """Give a table of cells that are HTML already; columns without any content are left out.

    Parameters
    ----------
    head, rows
        The cells.
    kind
        What it is a table of.
    here
        The row that stands out.
    """
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    cells = "".join(f'<th scope="col"{_side(head[i])}>{head[i]}</th>' for i in kept)
    lines = "".join(
        f"<tr{_HERE if number == here else ''}>"
        + "".join(f"<td{_side(head[i])}>{row[i]}</td>" for i in kept)
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="oz-scroll"><table class="oz-table oz-{kind}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _side(head: str) -> str:
    """Say how a column is set: words to the left, numbers to the right."""
    return ' class="oz-left oz-wrap"' if head in {"name", "properties"} else ""


def _axes(facts: ImageFacts) -> str:
    rows = []
    for axis in facts.axes:
        pixel = length = span = ""
        if axis.scale is not None:
            pixel = quantity(abs(axis.scale), axis.unit) if axis.unit else f"{abs(axis.scale):.4g}"
            length = quantity(axis.length or 0, axis.unit) if axis.unit else f"{axis.length:.5g}"
        if axis.ends is not None:
            unit = f" {symbol(axis.unit)}" if axis.unit else ""
            span = f"{axis.ends[0]:.6g} to {axis.ends[1]:.6g}{unit}"
        chunk = "" if axis.chunk is None else f"{axis.chunk:,}"
        numbers = [safe(cell) for cell in (pixel, length, span)]
        rows.append([f"<b>{safe(axis.name)}</b>", f"{axis.size:,}", *numbers, chunk])
    return _table(["axis", "pixels", "pixel size", "length", "extent", "chunk"], rows, "axes")


def _channels(facts: ImageFacts) -> str:
    if not facts.channels:
        return ""
    items = []
    for channel in facts.channels[:MOST_LISTED]:
        window = "" if channel.window is None else (
            f' <span class="oz-small">{channel.window[0]:.6g} to {channel.window[1]:.6g}</span>'
        )  # fmt: skip
        off = "" if channel.active else ' <span class="oz-small">off</span>'
        kind = "" if channel.active else ' class="oz-off"'
        items.append(
            f'<li{kind}><span class="oz-swatch" style="background:#{safe(channel.color)}"></span>'
            f"<span>{safe(channel.name, 60)}{window}{off}</span></li>"
        )
    items += _others(len(facts.channels), "channels")
    return f'<ul class="oz-chips oz-channels" aria-label="channels">{"".join(items)}</ul>'


def _labels(facts: ImageFacts) -> str:
    if not facts.labels:
        return ""
    rows = []
    for label in facts.labels[:MOST_LISTED]:
        count = UNCOUNTED if label.count is None else f"{label.count:,}"
        names = ", ".join(safe(name, 60) for name in label.properties[:MOST_LISTED])
        more = len(label.properties) - MOST_LISTED
        names += f" and {more} more" if more > 0 else ""
        rows.append([f"<b>{safe(label.name, 60)}</b>", count, safe(label.dtype), names])
    table = _table(["label image", "labels", "type", "properties"], rows, "labels")
    more = len(facts.labels) - MOST_LISTED
    return table + (f'<p class="oz-small">{more} more label images</p>' if more > 0 else "")


def _others(count: int, what: str) -> list[str]:
    more = count - MOST_LISTED
    return [f'<li class="oz-small">{more} more {what}</li>'] if more > 0 else []


def _levels(facts: ImageFacts) -> str:
    if not facts.levels:
        return ""
    rows = [_level(level) for level in facts.levels[:MOST_LISTED]]
    here = next((i for i, level in enumerate(facts.levels) if level.here), None)
    table = _table(["level", "shape", "bytes", "chunks", "shards"], rows, "levels", here)
    more = len(facts.levels) - MOST_LISTED
    return table + (f'<p class="oz-small">{more} more levels</p>' if more > 0 else "")


def _level(level: LevelFacts) -> list[str]:
    about = "≈ " if level.expected else ""
    sign = ""
    if level.problem is not None:
        sign = f'<span title="{safe(level.problem, 400)}">⚠</span> '
    return [
        str(level.number),
        sign + about + times(level.shape),
        about + readable(level.nbytes),
        "" if level.chunks is None else times(level.chunks),
        "" if level.shards is None else times(level.shards),
    ]


def times(sizes: Sequence[int]) -> str:
    """Write a shape.

    Examples
    --------
    >>> times((3, 100000, 80000))
    '3 × 100,000 × 80,000'
    """
    return " × ".join(f"{size:,}" for size in sizes)


# ── several images ───────────────────────────────────────────────────────────────────────────────


def _group(facts: GroupFacts) -> str:
    parts = []
    if facts.plate is not None:
        parts.append(plate_map(facts.plate))
    rows = [
        [
            f"<b>{safe(entry.path, 80)}</b>",
            safe(entry.name or "", 60),
            safe(" ".join(f"{dim} {size:,}" for dim, size in entry.sizes.items()), 120),
            safe(entry.dtype),
            str(entry.levels),
        ]
        for entry in facts.entries
    ]
    listing = _table(["image", "name", "pixels", "type", "levels"], rows, "images")
    more = facts.images - len(facts.entries)
    if more > 0:
        listing += f'<p class="oz-small">and {more:,} more</p>'
    if facts.plate is None:
        parts.append(listing)
    elif facts.first is not None:
        parts += [_axes(facts.first), _channels(facts.first), _labels(facts.first)]
    if facts.plate is not None:
        shown = len(facts.entries)
        what = f"the first {shown:,} of {facts.images:,} images" if more > 0 else "all images"
        parts.append(f'<details class="oz-more"><summary>{what}</summary>{listing}</details>')
    return "".join(parts)


def plate_map(plate: PlateFacts) -> str:
    """Draw which wells of a plate are there, and say how many."""
    rows, columns = plate.rows, plate.columns
    told = (
        f"{len(plate.wells):,} of {len(rows) * len(columns):,} wells, {plate.fields:,} "
        f"field{'s' * (plate.fields != 1)}"
    )
    if plate.acquisitions > 1:
        told += f", {plate.acquisitions} acquisitions"
    caption = f'<p class="oz-small oz-wells">{told}</p>'
    side = max(2, min(_WELL, _WIDEST // max(len(columns), 1)))
    if not rows or not columns or side * len(columns) > 2 * _WIDEST or len(rows) > _WIDEST:
        return caption
    gap = 1 if side > 4 else 0  # noqa: PLR2004
    named = len(rows) <= _NAMED + 8 and len(columns) <= _NAMED and side >= 10  # noqa: PLR2004
    left, top = (24, 14) if named else (1, 1)
    there: list[str] = []
    gone: list[str] = []
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            box = f"M{left + j * side},{top + i * side}h{side - gap}v{side - gap}h{gap - side}z"
            (there if (row, column) in plate.wells else gone).append(box)
    names = ""
    if named:
        half = (side - gap) / 2
        names = "".join(
            f'<text x="{left - 5}" y="{top + i * side + half + 3:g}" text-anchor="end">'
            f"{safe(row, 4)}</text>"
            for i, row in enumerate(rows)
        ) + "".join(
            f'<text x="{left + j * side + half:g}" y="{top - 4}" text-anchor="middle">'
            f"{safe(column, 3)}</text>"
            for j, column in enumerate(columns)
        )
    width, height = left + side * len(columns) + 1, top + side * len(rows) + 1
    return (
        f'<svg class="oz-plate" role="img" aria-label="{safe(told)}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{names}'
        f'<path class="oz-there" d="{"".join(there)}"/>'
        f'<path class="oz-gone" d="{"".join(gone)}"/></svg>{caption}'
    )
