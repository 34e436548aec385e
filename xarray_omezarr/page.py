"""The pages on which a hierarchy is looked at, as HTML: one for each of its groups.

They work without JavaScript, and without any request but to whoever serves them. Whatever comes
from a file goes through `safe`, whatever stands in an address through `quote`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from xarray_omezarr import cards, exhibits
from xarray_omezarr.cards import safe
from xarray_omezarr.documents import join
from xarray_omezarr.exhibits import Choice, GroupExhibit, ImageExhibit, PlateExhibit
from xarray_omezarr.plan import readable
from xarray_omezarr.styles import ICON
from xarray_omezarr.summaries import GroupFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xarray_omezarr.composite import Overlay
    from xarray_omezarr.exhibits import Exhibit, Member, Position
    from xarray_omezarr.scalebars import ScaleBar
    from xarray_omezarr.summaries import ChannelFacts, ImageFacts
    from xarray_omezarr.thumbnails import Thumbnail

    Trail = Sequence[tuple[str, str]]

#: Where things are served.
SHOW, PICTURE, MASK, DATA = "/show/", "/picture/", "/mask/", "/data/"
STYLE_URL, ICON_URL = "/style.css", "/icon.svg"
#: The longer side of a picture, in units of the drawing around it.
_UNITS = 1000
#: Up to so many columns the wells of a plate are large, or middling.
_LARGE, _MIDDLING = 6, 12
#: So large are pictures of wells: pixels of the file, and of the page.
_WELLS = {"large": (160, 112), "middling": (112, 72), "small": (80, 44), "tiny": (48, 22)}
#: From so many columns on they are tiny.
_MANY = 25
#: Pictures of fewer pixels than this are enlarged without smoothing.
_COARSE = 400


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


def show_url(path: str, choice: Choice | None = None) -> str:
    """Give the address of the page of a group.

    Examples
    --------
    >>> show_url("A/1/0", Choice(at={"z": 3}, channels=(0, 2)))
    '/show/A/1/0?at.z=3&c=0&c=2'
    """
    return f"{SHOW}{quote(path)}{_query(choice or Choice(), labels=True)}"


def picture_url(path: str, choice: Choice | None = None, side: int = exhibits.SIDE) -> str:
    """Give the address of the picture of an image."""
    return f"{PICTURE}{quote(path)}{_query(choice or Choice(), side=side)}"


def mask_url(path: str, name: str, choice: Choice) -> str:
    """Give the address of the picture of a label image."""
    only = Choice(at=choice.at, overlay=choice.overlay)
    return f"{MASK}{quote(path)}{_query(only, name=name)}"


def _query(choice: Choice, *, labels: bool = False, **more: object) -> str:
    pairs: list[tuple[str, object]] = [(f"at.{dim}", index) for dim, index in choice.at.items()]
    pairs += [("c", channel) for channel in choice.channels]
    if labels and choice.labels is not None:
        pairs += [("labels", name) for name in choice.labels or ("",)]
    if choice.overlay != "filled":
        pairs.append(("overlay", choice.overlay))
    query = urlencode([*pairs, *more.items()])
    return f"?{query}" if query else ""


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def of_exhibit(exhibit: Exhibit, choice: Choice, trail: Trail, source: str) -> str:
    """Give the page of a group.

    Parameters
    ----------
    exhibit
        What is there.
    choice
        What of an image is looked at.
    trail
        The groups on the way there, as names and paths, itself the last.
    source
        The path or URL of the group, without credentials.
    """
    if isinstance(exhibit, ImageExhibit):
        name = exhibit.view.facts.name or trail[-1][0]
        body = _image(exhibit, choice)
    elif isinstance(exhibit, PlateExhibit):
        name = exhibit.plate.name or trail[-1][0]
        body = _plate(exhibit)
    else:
        name = exhibit.name or trail[-1][0]
        body = _group(exhibit)
    heading = f'<h1>{safe(name)}</h1><p class="tags">{_tags(exhibit)}</p>'
    notes = _notes(exhibit.notes, "What stands out")
    return _document(name, f"{heading}{notes}{body}{_code(exhibit, source)}", trail)


def shown_of(exhibit: ImageExhibit, choice: Choice) -> Choice:
    """Give what of an image its page shows, of what was asked for."""
    at = {one.dim: one.index for one in exhibit.positions}
    return replace(choice, at=at, channels=exhibit.channels)


def no_picture(reason: str) -> str:
    """Give the picture that stands where there is none, as SVG."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="160" height="160">'
        f'<title>{safe(reason, 400)}</title><rect width="100" height="100" fill="#20262e"/>'
        '<path d="M35 35 65 65M65 35 35 65" stroke="#8593a6" stroke-width="5" '
        'stroke-linecap="round"/></svg>'
    )


def of_error(message: str, trail: Trail) -> str:
    """Give the page that says why there is none."""
    inner = f'<h1>Not to be shown</h1><p class="error" role="alert">{safe(message, 2000)}</p>'
    return _document("Not to be shown", inner, trail)


def _document(title: str, body: str, trail: Trail) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{safe(title)} · OME-Zarr</title>"
        f'<link rel="icon" type="image/svg+xml" href="{ICON_URL}">'
        f'<link rel="stylesheet" href="{STYLE_URL}"></head><body class="omezarr">'
        '<a class="skip" href="#main">Skip to the content</a>'
        f'<header><span class="mark" aria-hidden="true">{ICON}</span>{_crumbs(trail)}</header>'
        f'<main id="main">{body}</main></body></html>'
    )


def _crumbs(trail: Trail) -> str:
    items = []
    for number, (name, path) in enumerate(trail):
        if number == len(trail) - 1:
            items.append(f'<li aria-current="page">{safe(name)}</li>')
        else:
            items.append(f'<li><a href="{safe(show_url(path), 4000)}">{safe(name)}</a></li>')
    return f'<nav aria-label="Where you are"><ol>{"".join(items)}</ol></nav>'


def _tags(exhibit: Exhibit) -> str:
    tags = [exhibit.kind]
    if isinstance(exhibit, ImageExhibit):
        facts = exhibit.view.facts
        tags += _versioned(facts.version)
        if isinstance(facts, GroupFacts):
            return _spans(tags)
        shape = " × ".join(f"{axis.size:,}" for axis in facts.axes)
        tags += [shape, facts.dtype, readable(facts.nbytes)]
    elif isinstance(exhibit, PlateExhibit):
        plate = exhibit.plate
        tags += [
            *_versioned(plate.version),
            f"{len(plate.wells):,} of {len(plate.rows) * len(plate.columns):,} wells",
        ]
        if plate.field_count is not None:
            tags.append(f"up to {plate.field_count} field{'s' * (plate.field_count != 1)} a well")
        if len(plate.acquisitions) > 1:
            tags.append(f"{len(plate.acquisitions)} acquisitions")
    else:
        count = len(exhibit.members)
        what = {"well": "field", "folder": "hierarchy"}.get(exhibit.kind, "image")
        several = "hierarchies" if what == "hierarchy" else f"{what}s"
        tags += [*_versioned(exhibit.version), f"{count:,} {what if count == 1 else several}"]
    return _spans(tags)


def _versioned(version: str | None) -> list[str]:
    return [] if version is None else [f"OME-Zarr {version}"]


def _spans(tags: Iterable[str]) -> str:
    return "".join(f"<span>{safe(tag)}</span> " for tag in tags)


def _notes(notes: Sequence[str], heading: str) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{safe(note, 600)}</li>" for note in notes)
    return f'<section class="notes" aria-label="{heading}"><ul>{items}</ul></section>'


def _code(exhibit: Exhibit, source: str) -> str:
    """Give the line that opens it in Python."""
    package, line = "xarray as xr", f'xr.open_datatree({source!r}, engine="omezarr")'
    if isinstance(exhibit, ImageExhibit):
        line = f'xr.open_dataset({source!r}, engine="omezarr")'
    elif exhibit.kind == "folder":
        package, line = "xarray_omezarr", f"xarray_omezarr.find({source!r})"
    return (
        f'<section class="code"><h2>In Python</h2><pre tabindex="0"><code>import {package}\n\n'
        f"{safe(line, 1000)}</code></pre></section>"
    )


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def _image(exhibit: ImageExhibit, choice: Choice) -> str:
    facts = exhibit.view.facts
    if isinstance(facts, GroupFacts):
        return ""
    shown = shown_of(exhibit, choice)
    thumbnail = exhibit.view.thumbnail
    if thumbnail is None:
        told = "".join(f"<p>{safe(one, 600)}</p>" for one in exhibit.view.skipped)
        stage = f'<div class="stage empty">{told}</div>'
    else:
        stage = f'<figure class="stage">{_drawing(exhibit, shown, thumbnail)}{_caption(exhibit)}'
        stage += "</figure>"
    return (
        f'<div class="image">{stage}<div class="panel">{_controls(exhibit, shown, facts)}'
        f'<section class="facts"><h2>Axes and levels</h2>{cards.details(facts)}</section></div>'
        f"</div>"
    )


def _drawing(exhibit: ImageExhibit, choice: Choice, thumbnail: Thumbnail) -> str:
    """Draw the picture, the labels over it, and a scale bar, each to scale."""
    ratio = thumbnail.ratio
    width, height = (_UNITS, _UNITS / ratio) if ratio >= 1 else (_UNITS * ratio, _UNITS)
    size = f'width="{width:g}" height="{height:g}" preserveAspectRatio="none"'
    kind = "coarse" if max(thumbnail.pixels.shape[:2]) < _COARSE else "fine"
    picture = safe(picture_url(exhibit.path, choice), 4000)
    layers = [f'<image class="pixels {kind}" href="{picture}" {size}/>']
    layers += [
        f'<image class="label-{number} {kind}" '
        f'href="{safe(mask_url(exhibit.path, name, choice), 4000)}" {size}/>'
        for number, name in enumerate(exhibit.labels)
    ]
    alt = safe(f"Picture of the {exhibit.kind}: {', '.join(thumbnail.shown)}", 400)
    return (
        f'<svg class="drawing" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{alt}">'
        f"{''.join(layers)}{_bar(thumbnail.bar, thumbnail.extent[1], width, height)}</svg>"
    )


def _bar(bar: ScaleBar | None, extent: float, width: float, height: float) -> str:
    if bar is None:
        return ""
    long = bar.length / extent * width
    margin = 22.0
    right, bottom = width - margin, height - margin
    middle = max(min(right - long / 2, right), margin)
    return (
        f'<g class="bar"><rect x="{right - long:.2f}" y="{bottom - 9:.2f}" width="{long:.2f}" '
        f'height="9"/><text x="{middle:.2f}" y="{bottom - 20:.2f}" text-anchor="middle">'
        f"{safe(bar.text)}</text></g>"
    )


def _caption(exhibit: ImageExhibit) -> str:
    thumbnail = exhibit.view.thumbnail
    shown = () if thumbnail is None else thumbnail.shown
    told = " · ".join(safe(one, 80) for one in shown)
    skipped = "".join(f"<br>{safe(one, 400)}" for one in exhibit.view.skipped)
    return f"<figcaption>{told}{skipped}</figcaption>"


def _controls(exhibit: ImageExhibit, choice: Choice, facts: ImageFacts) -> str:
    """Give what chooses a plane, channels and labels: a form that asks for another page."""
    parts = [*_planes(exhibit.positions), *_channels(exhibit, facts), *_labels(exhibit, choice)]
    if not parts:
        return ""
    chooses = bool(exhibit.positions or exhibit.channels)
    button = '<button class="main">Show</button>' if chooses else ""
    return (
        f'<form class="controls" action="{safe(show_url(exhibit.path), 4000)}" method="get">'
        f"<h2>Shown</h2>{''.join(parts)}{button}</form>"
    )


def _planes(positions: Sequence[Position]) -> Iterable[str]:
    for number, one in enumerate(positions):
        dim, last = safe(one.dim, 40), one.size - 1
        key = safe(f"at.{one.dim}")
        where = f'<span class="where">{safe(one.text, 60)}</span>' if one.text else ""
        yield (
            f'<div class="plane"><label for="at-{number}">{dim}</label>'
            f"{_step(one, -1)}"
            f'<input id="at-{number}" type="number" name="{key}" min="0" max="{last}" '
            f'value="{one.index}" required><span class="most">of {last:,}</span>'
            f"{_step(one, +1)}{where}</div>"
        )


def _step(one: Position, by: int) -> str:
    index = one.index + by
    gone = "" if 0 <= index < one.size else " disabled"
    what, sign = ("previous", "&lsaquo;") if by < 0 else ("next", "&rsaquo;")
    return (
        f'<button class="step" name="step" value="{safe(f"{one.dim}={index}")}" '
        f'aria-label="{what} {safe(one.dim, 40)}"{gone}>{sign}</button>'
    )


def _channels(exhibit: ImageExhibit, facts: ImageFacts) -> Iterable[str]:
    if not facts.channels:
        return
    listed = facts.channels[: exhibits.MOST_CHOSEN]
    items = [_channel(number, one, exhibit.channels or None) for number, one in enumerate(listed)]
    left = len(facts.channels) - len(listed)
    more = f'<li class="small">and {left:,} more</li>' if left else ""
    yield f"<fieldset><legend>Channels</legend><ul>{''.join(items)}{more}</ul></fieldset>"


def _channel(number: int, one: ChannelFacts, chosen: Sequence[int] | None) -> str:
    swatch = (
        '<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">'
        f'<circle cx="6" cy="6" r="5.5" fill="#{safe(one.color)}"/></svg>'
    )
    window = ""
    if one.window is not None:
        window = f'<span class="window">{one.window[0]:.6g} to {one.window[1]:.6g}</span>'
    color = f'<span class="color">#{safe(one.color)}</span>'
    text = f'{swatch}<span class="name">{safe(one.name or "pixels", 60)}</span>{color}{window}'
    if chosen is None:
        return f"<li><span>{text}</span></li>"
    checked = " checked" if number in chosen else ""
    return (
        f'<li><label><input type="checkbox" name="c" value="{number}"{checked}>{text}</label></li>'
    )


def _labels(exhibit: ImageExhibit, choice: Choice) -> Iterable[str]:
    if not exhibit.labels:
        return
    items = []
    for number, name in enumerate(exhibit.labels):
        checked = " checked" if choice.labels is None or name in choice.labels else ""
        items.append(
            f'<li><label><input type="checkbox" id="label-{number}" name="labels" '
            f'value="{safe(name, 400)}"{checked}><span class="name">{safe(name, 60)}</span></label>'
            "</li>"
        )
    other: Overlay = "outlines" if choice.overlay == "filled" else "filled"
    link = safe(show_url(exhibit.path, replace(choice, overlay=other)), 4000)
    keep = f'<input type="hidden" name="overlay" value="{safe(choice.overlay)}">'
    told = "as outlines" if other == "outlines" else "filled"
    everything = safe(show_url(join(exhibit.path, "labels")), 4000)
    yield (
        '<fieldset><legend>Labels</legend><input type="hidden" name="labels" value="">'
        f'{keep}<ul>{"".join(items)}</ul><p class="links"><a href="{link}">Show {told}</a> '
        f'<a href="{everything}">All label images</a></p></fieldset>'
    )


# ── several images ───────────────────────────────────────────────────────────────────────────────


def _plate(exhibit: PlateExhibit) -> str:
    plate = exhibit.plate
    wells = {(well.row, well.column): well for well in plate.wells}
    columns = len(plate.columns)
    kind = (
        "large" if columns <= _LARGE
        else "middling" if columns <= _MIDDLING
        else "small" if columns < _MANY
        else "tiny"
    )  # fmt: skip
    side, pixels = _WELLS[kind]
    head = "".join(f'<th scope="col">{safe(name, 12)}</th>' for name in plate.columns)
    lines = []
    for row in plate.rows:
        cells = []
        for column in plate.columns:
            well = wells.get((row, column))
            if well is None:
                cells.append('<td><span class="none"><span class="hidden">no well</span></span>')
                continue
            path = join(exhibit.path, well.path)
            name = safe(f"{row}{column}", 40)
            cells.append(
                f'<td><a href="{safe(show_url(path), 4000)}" title="{name}"><img loading="lazy" '
                f'decoding="async" width="{pixels}" height="{pixels}" alt="well {name}" '
                f'src="{safe(picture_url(path, side=side), 4000)}"></a>'
            )
        lines.append(f'<tr><th scope="row">{safe(row, 12)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="plate {kind}" role="region" aria-label="Wells of the plate" tabindex="0">'
        "<table><thead><tr><td></td>"
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _group(exhibit: GroupExhibit) -> str:
    items = "".join(_member(one) for one in exhibit.members)
    return f'<ul class="members">{items}</ul>'


def _member(member: Member) -> str:
    if member.problem is not None:
        return (
            f'<li class="member broken"><strong>{safe(member.title, 80)}</strong>'
            f"<span>{safe(member.problem, 400)}</span></li>"
        )
    about = "".join(f"<span>{safe(one, 120)}</span>" for one in member.about)
    side = exhibits.SMALL
    return (
        f'<li class="member"><a href="{safe(show_url(member.path), 4000)}"><img loading="lazy" '
        f'decoding="async" width="{side}" height="{side}" alt="" '
        f'src="{safe(picture_url(member.path, side=side), 4000)}">'
        f"<strong>{safe(member.title, 80)}</strong>{about}</a></li>"
    )
