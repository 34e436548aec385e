"""How images are shown when they are looked at: as a card in notebooks, and as text.

A text is made of what is known without asking any store. A card has a picture, and the shapes of
all levels, within the budget of `thumbnails`; what did not fit into that is said.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import xarray as xr

from xarray_omezarr import cards, coordinates, layouts, summaries, thumbnails
from xarray_omezarr.budgets import OverBudgetError
from xarray_omezarr.errors import OmeZarrError, heard
from xarray_omezarr.origins import origin_of
from xarray_omezarr.plan import readable
from xarray_omezarr.redaction import shown
from xarray_omezarr.report import printable
from xarray_omezarr.scalebars import quantity
from xarray_omezarr.summaries import MOST_LISTED, GroupFacts, ImageFacts
from xarray_omezarr.wording import UNCOUNTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.facts import AxisFacts, LabelFacts, LevelFacts, PlateFacts
    from xarray_omezarr.thumbnails import Looking, Thumbnail

    Shown = xr.Dataset | xr.DataArray | xr.DataTree

#: Messages are cut off after so many characters.
_LONGEST = 300


@dataclass(frozen=True)
class View:
    """An object as it is shown."""

    facts: ImageFacts | GroupFacts
    thumbnail: Thumbnail | None
    skipped: tuple[str, ...]
    """What is not shown, and why."""


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def facts_of(obj: Shown) -> ImageFacts | GroupFacts:
    """Tell what is known of an object without asking any store.

    Raises
    ------
    OmeZarrError
        Where it is no image, and holds none.
    """
    if isinstance(obj, xr.DataTree):
        return summaries.of_tree(obj)
    if isinstance(obj, xr.DataArray):
        return summaries.of_array(obj)
    return summaries.of_dataset(obj)


def view(
    obj: Shown,
    side: int = thumbnails.SIDE,
    looking: Looking | None = None,
    *,
    at: Mapping[str, int] | None = None,
    channels: Sequence[int] | None = None,
) -> View:
    """Look at an object, within the budget: its own, or what it costs to look where it is.

    The plane and the channels are those that a thumbnail has, but for those that are asked for.

    Raises
    ------
    OmeZarrError
        Where it is no image, and holds none.
    """
    facts = facts_of(obj)
    image = image_of(obj)
    if image is None:
        return View(facts, None, ("no picture: it is not clear which variable is the image",))
    looking = thumbnails.Looking.at(image) if looking is None else looking
    if isinstance(obj, xr.DataTree):
        looking.found.update(_known(obj, image))
    picture, skipped = _pictured(image, looking, side, at, channels)
    if isinstance(facts, ImageFacts) and facts.levels:
        facts = replace(facts, levels=_levels(facts, image, looking))
        guessed = [
            str(level.number) for level in facts.levels if level.expected and not level.problem
        ]
        if guessed:
            skipped.append(
                f"the shape{'s' * (len(guessed) > 1)} of level {', '.join(guessed[:8])}"
                f"{', …' * (len(guessed) > 8)}, told by pixel sizes (≈)"  # noqa: PLR2004
            )
    return View(facts, picture, tuple(skipped))


def image_of(obj: Shown) -> xr.DataArray | None:
    """Give the image that an object is shown by: of several the first one, its finest level."""
    if isinstance(obj, xr.DataArray):
        return obj
    try:
        if isinstance(obj, xr.Dataset):
            return obj[coordinates.find_image(obj)]
        node = summaries.first_image(obj)
        if node is None:
            return None
        if layouts.is_image(node, None):
            return layouts.tree_levels(node, None)[0][coordinates.IMAGE]
        return node.to_dataset()[coordinates.IMAGE]
    except OmeZarrError:
        return None


def _known(tree: xr.DataTree, image: xr.DataArray) -> Iterator[tuple[int, Described]]:
    """Yield the arrays of the levels of a tree's image, which have been looked at already."""
    mine = origin_of(image)
    node = summaries.first_image(tree)
    if mine is None or node is None or not layouts.is_image(node, None):
        return
    for level in layouts.tree_levels(node, None):
        found = origin_of(level[coordinates.IMAGE])
        if found is not None and found.source == mine.source:
            yield found.number, found.array


def _pictured(
    image: xr.DataArray,
    looking: Looking,
    side: int,
    at: Mapping[str, int] | None,
    channels: Sequence[int] | None,
) -> tuple[Thumbnail | None, list[str]]:
    """Make a picture; else say why there is none. What a file can provoke is no reason to fail."""
    try:
        picture = thumbnails.thumbnail(image, looking, side, at=at, channels=channels)
    except Exception as error:  # noqa: BLE001 - a representation never fails
        named = isinstance(error, OmeZarrError)
        return None, [f"no picture: {error if named else f'{type(error).__name__}: {error}'}"]
    return picture, [f"not in the picture: {one}" for one in picture.skipped]


def _levels(facts: ImageFacts, image: xr.DataArray, looking: Looking) -> tuple[LevelFacts, ...]:
    """Look at the levels that are not known yet, as far as there are requests left."""
    origin = looking.origin(thumbnails.first_field(image))
    if origin is None:
        return facts.levels
    known = {**looking.found, origin.number: origin.array}
    missing = [level for level in range(origin.count) if level not in known]
    asked = missing[: max(looking.budget.requests, 0)]
    if asked:
        # What has no answer within the budget is as good as not asked.
        with suppress(OverBudgetError):
            known |= origin.describe(asked)
    found = {n: one for n, one in known.items() if not isinstance(one, OverBudgetError)}
    levels = summaries.levels_of(origin, found)
    if any(level.here for level in facts.levels):
        return levels
    return tuple(replace(level, here=False) for level in levels)


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────


def to_html(obj: Shown) -> str:
    """Show an object as HTML. It fails at nothing that may be in a file."""
    try:
        # What was said when an image was opened is left out.
        with heard():
            found = view(obj)
    except OmeZarrError as error:
        return cards.page(
            f'<div class="oz-head"><span class="oz-kind">no OME-Zarr image</span></div>'
            f"<div>{cards.safe(shown(str(error)), _LONGEST)}</div>"
        )
    skipped = [shown(one) for one in found.skipped]
    return cards.card(found.facts, found.thumbnail, skipped)


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def to_text(obj: Shown) -> str:
    """Show an object as text, without a request to any store.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> print(to_text(samples.coins()))
    <OME-Zarr image 'coins'> uint8, 113.6 KiB, in memory
      y       303 × 0.65 µm = 197 µm
      x       384 × 0.65 µm = 249.6 µm
      labels  coins (22)
    """
    try:
        # What was said when an image was opened is left out.
        with heard():
            facts = facts_of(obj)
    except OmeZarrError as error:
        return f"<no OME-Zarr image> {_plain(shown(str(error)), _LONGEST)}"
    lines = list(_group(facts) if isinstance(facts, GroupFacts) else _image(facts))
    return "\n".join(lines)


def _plain(text: object, longest: int = 120) -> str:
    plain = str(text)
    return printable(plain if len(plain) <= longest else f"{plain[: longest - 1]}…")


def _title(kind: str, name: str | None, about: list[str], version: str | None) -> str:
    called = "" if name is None else f" {_plain(repr(name))}"
    told = [*about, *([] if version is None else [f"version {_plain(version)}"])]
    return f"<OME-Zarr {_plain(kind)}{called}> {', '.join(told)}"


def _aligned(lines: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(head) for head, _ in lines), default=0)
    for head, line in lines:
        yield f"  {head:{width}}  {line}".rstrip()


def _image(facts: ImageFacts) -> Iterator[str]:
    about = [facts.dtype, readable(facts.nbytes), facts.state]
    yield _title(facts.kind, facts.name, about, facts.version)
    lines = [(_plain(axis.name, 20), _plain(_axis(axis))) for axis in facts.axes]
    lines += _about(facts)
    opened = [level.shape for level in facts.levels if level.here]
    for level in facts.levels[:MOST_LISTED]:
        if level.expected and level.shape in opened:
            # Before 0.4, nothing says how large pixels are, and so how many there are.
            lines.append((f"level {level.number}", "of a size that is known when it is opened"))
            continue
        sign = "≈ " if level.expected else ""
        chunks = "" if level.chunks is None else f", chunks {cards.times(level.chunks)}"
        text = f"{sign}{cards.times(level.shape)}, {readable(level.nbytes)}{chunks}"
        lines.append((f"level {level.number}", text))
    lines += [("note", _plain(note, _LONGEST)) for note in facts.notes]
    if facts.source is not None:
        lines.append(("source", _plain(facts.source, _LONGEST)))
    yield from _aligned(lines)


def _axis(axis: AxisFacts) -> str:
    text = f"{axis.size:,}"
    if axis.scale is None or axis.length is None:
        return text
    if axis.unit is None:
        return text if axis.scale == 1 else f"{text} × {abs(axis.scale):.4g} = {axis.length:.4g}"
    # From the first point of time to the last, there is one step less than there are points.
    so = " =" if math.isclose(axis.length, axis.size * abs(axis.scale)) else ", over"
    return f"{text} × {quantity(abs(axis.scale), axis.unit)}{so} {quantity(axis.length, axis.unit)}"


def _about(facts: ImageFacts) -> Iterator[tuple[str, str]]:
    """Tell of what goes with pixels: wells, channels, labels."""
    if facts.plate is not None:
        yield "wells", _wells(facts.plate)
    channels = []
    for channel in facts.channels[:MOST_LISTED]:
        window = "" if channel.window is None else " {:.6g} to {:.6g}".format(*channel.window)
        off = "" if channel.active else " (off)"
        channels.append(f"{_plain(channel.name, 60)} #{channel.color}{window}{off}")
    if channels:
        more = ["…"] if len(facts.channels) > MOST_LISTED else []
        yield "channels", ", ".join(channels + more)
    if facts.labels:
        more = ["…"] if len(facts.labels) > MOST_LISTED else []
        yield "labels", ", ".join([*map(_label, facts.labels[:MOST_LISTED]), *more])


def _label(label: LabelFacts) -> str:
    count = UNCOUNTED if label.count is None else f"{label.count:,}"
    names = [_plain(name, 60) for name in label.properties[:MOST_LISTED]]
    more = ["…"] if len(label.properties) > MOST_LISTED else []
    told = f": {', '.join(names + more)}" if names else ""
    return f"{_plain(label.name, 60)} ({count}{told})"


def _wells(plate: PlateFacts) -> str:
    rows, columns = len(plate.rows), len(plate.columns)
    return f"{len(plate.wells):,} of {rows:,} × {columns:,}, {plate.fields:,} fields"


def _group(facts: GroupFacts) -> Iterator[str]:
    images = f"{facts.images:,} image{'s' * (facts.images != 1)}"
    yield _title(facts.kind, facts.name, [images, readable(facts.nbytes)], facts.version)
    lines: list[tuple[str, str]] = []
    if facts.plate is not None:
        lines.append(("wells", _wells(facts.plate)))
    if facts.first is not None and facts.plate is not None:
        lines += [(_plain(axis.name, 20), _plain(_axis(axis))) for axis in facts.first.axes]
        lines += _about(facts.first)
    else:
        for entry in facts.entries:
            sizes = ", ".join(f"{_plain(dim, 20)} {size:,}" for dim, size in entry.sizes.items())
            named = "" if entry.name is None else f" {_plain(repr(entry.name))}"
            lines.append((_plain(entry.path, 60), f"{sizes}, {entry.dtype}{named}"))
        if facts.images > len(facts.entries):
            lines.append(("…", f"{facts.images - len(facts.entries):,} more"))
    if facts.source is not None:
        lines.append(("source", _plain(facts.source, _LONGEST)))
    yield from _aligned(lines)
