"""What is known of an image as text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xarray_omezarr.plan import readable
from xarray_omezarr.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xarray_omezarr.facts import AxisFacts, Info, LevelFacts, NodeFacts, PlateFacts, ValueFacts
    from xarray_omezarr.model import Channel

#: So many channels, labels, images and names of properties are told of.
_MOST = 48
#: Of how many labels there are: what is listed says it, and pixels are not read for it.
UNCOUNTED = "not counted: no table"
#: So many columns of a plate stand beside one another.
_WIDEST = 48


def of_info(info: Info, indent: str = "  ") -> Iterator[str]:
    """Tell all that is known, line by line.

    Parameters
    ----------
    info
        What is told.
    indent
        What the lines below the first begin with.
    """
    yield printable(info.source)
    about = {"kind": info.kind, "version": info.version, "name": info.name, "dtype": info.dtype}
    for key, value in about.items():
        if value is not None:
            yield f"{indent}{key:9}{printable(value)}"
    if info.stored is not None:
        what = "file or object" if info.objects == 1 else "files or objects"
        yield f"{indent}{'stored':9}{readable(info.stored)} in {info.objects:,} {what}"
    yield from (f"{indent}{'axis':9}{_axis(axis)}" for axis in info.axes)
    yield from (indent + line for line in _levels(info.levels))
    channels = [_channel(number, channel) for number, channel in enumerate(info.channels)]
    yield from _listed(channels, f"{indent}channel  ", "channels", indent)
    labels = [
        ", ".join(
            [
                printable(label.name),
                label.dtype,
                UNCOUNTED if label.count is None else f"{label.count:,} labels",
                *([_names(label.properties)] if label.properties else []),
                *([] if label.stored is None else [f"{readable(label.stored)} stored"]),
            ]
        )
        for label in info.labels
    ]
    yield from _listed(labels, f"{indent}label    ", "label images", indent)
    if info.systems:
        yield f"{indent}{'systems':9}{', '.join(map(printable, info.systems))}"
    if info.plate is not None:
        yield from (indent + line for line in _plate(info.plate))
    images = [("image", "pixels", "type", "levels", "name")]
    images += [
        (
            printable(entry.path),
            " ".join(f"{dim} {size}" for dim, size in entry.sizes.items()) or "missing",
            entry.dtype,
            str(entry.levels or ""),
            printable(entry.name or ""),
        )
        for entry in info.images[:_MOST]
    ]
    if info.images:
        yield from (indent + line for line in columns(images))
        yield from _more(len(info.images), "images", indent)
    if info.example is not None:
        first, *rest = of_info(info.example, indent * 2)
        yield f"{indent}the first image, {first}"
        yield from rest
    yield from (indent + line for line in _values(info.values, info.values_of))
    yield from (indent + line for line in _tree(info.tree))
    yield from (f"{indent}warning  {printable(one)}" for one in info.warnings)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Set a table, its first row being the head.

    Examples
    --------
    >>> list(columns([("level", "bytes"), ("0", "1 KiB")]))
    ['level  bytes', '0      1 KiB']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def times(sizes: Sequence[int]) -> str:
    """Write a shape.

    Examples
    --------
    >>> times((3, 512, 512))
    '3×512×512'
    """
    return "×".join(map(str, sizes))


def pixel_sizes(axes: Sequence[AxisFacts]) -> str:
    """Write how large pixels are.

    Examples
    --------
    >>> from xarray_omezarr.facts import AxisFacts
    >>> pixel_sizes([AxisFacts("c", 2, None, None), AxisFacts("x", 8, 0.5, "micrometer")])
    'x 0.5 micrometer'
    """
    return ", ".join(_step(axis) for axis in axes if axis.scale is not None)


def _step(axis: AxisFacts) -> str:
    unit = f" {printable(axis.unit)}" if axis.unit else ""
    return f"{printable(axis.name)} {axis.scale:g}{unit}"


def _axis(axis: AxisFacts) -> str:
    parts = [f"{printable(axis.name)} {axis.size}"]
    if axis.scale is not None:
        parts.append(f"{axis.scale:g} {printable(axis.unit or '')}".rstrip())
    if axis.translation:
        parts.append(f"from {axis.translation:g}")
    return ", ".join(parts)


def _levels(levels: Sequence[LevelFacts]) -> Iterator[str]:
    if not levels:
        return
    listed = any(level.stored is not None for level in levels)
    head = ["level", "shape", "chunks", "shards", "codec", "bytes"]
    rows = [[*head, "stored"] if listed else head]
    for level in levels:
        row = [
            str(level.number),
            times(level.shape) or "missing",
            times(level.chunks or ()) or "-",
            times(level.shards or ()) or "-",
            printable(" ".join(level.codecs)) or "-",
            readable(level.nbytes) if level.shape else "-",
        ]
        rows.append(
            [*row, "-" if level.stored is None else readable(level.stored)] if listed else row
        )
    yield from columns(rows)


def _channel(number: int, channel: Channel) -> str:
    settings: Mapping[str, object] = {
        "color": channel.color,
        "active": channel.active,
        **vars(channel.window),
    }
    told = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in settings.items()
        if value is not None
    )
    name = str(number) if channel.label is None else printable(channel.label)
    return f"{name}: {told}" if told else name


def _names(names: Sequence[str]) -> str:
    told = " ".join(printable(name) for name in names[:_MOST])
    more = len(names) - _MOST
    return f"properties {told}" + (f" and {more:,} more" if more > 0 else "")


def _listed(lines: Sequence[str], head: str, what: str, indent: str) -> Iterator[str]:
    yield from (head + line for line in lines[:_MOST])
    yield from _more(len(lines), what, indent)


def _more(count: int, what: str, indent: str) -> Iterator[str]:
    if count > _MOST:
        yield f"{indent}and {count - _MOST:,} more {what}"


def _plate(plate: PlateFacts) -> Iterator[str]:
    """Tell of a plate as a table: the number of fields of each well."""
    wells = len(plate.wells)
    told = f"{wells:,} of {len(plate.rows) * len(plate.columns):,} wells, {plate.fields:,} fields"
    if plate.acquisitions:
        told += f", {plate.acquisitions} acquisition{'s' * (plate.acquisitions != 1)}"
    yield f"{'plate':9}{told}"
    counts = {(well.row, well.column): len(well.fields) for well in plate.listed}
    shown = plate.columns[:_WIDEST]
    rows = [["fields", *map(printable, shown)]]
    rows += [
        [printable(row), *(str(counts.get((row, column), ".")) for column in shown)]
        for row in plate.rows[:_MOST]
    ]
    yield from columns(rows)
    yield from _more(len(plate.rows), "rows", "")
    if len(plate.columns) > _WIDEST:
        yield f"and {len(plate.columns) - _WIDEST:,} more columns"


def _values(values: Sequence[ValueFacts], whose: str | None) -> Iterator[str]:
    if not values:
        return
    several = any(one.image is not None for one in values)
    mixed = len({one.level for one in values}) > 1
    head = ["image"] * several + ["level"] * mixed
    rows = [[*head, "channel", "minimum", "maximum", "mean", "values", "NaN"]]
    rows += [
        [
            *([printable(one.image or "")] if several else []),
            *([str(one.level)] if mixed else []),
            "all" if one.channel is None else printable(one.name or str(one.channel)),
            *map(_number, (one.minimum, one.maximum, one.mean)),
            f"{one.count:,}",
            f"{one.missing:,}" if one.missing else "-",
        ]
        for one in values
    ]
    yield f"{'values':9}of {whose}"
    yield from columns(rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def _tree(nodes: Sequence[NodeFacts]) -> Iterator[str]:
    for node in nodes:
        depth = node.path.count("/") + bool(node.path)
        name = printable(node.path.rpartition("/")[2]) or "."
        yield f"{'  ' * depth}{name}  {node.kind}{': ' if node.about else ''}{node.about}"
