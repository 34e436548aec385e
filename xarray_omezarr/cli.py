"""The command ``omezarr``: write a sample, tell what is at a path, show the whole way.

There is nothing here that a notebook could not do: the command reads its arguments, calls what the
package offers, and prints. Libraries are imported by the commands that need them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr

METHODS: Final = ("coins", "astronaut", "circle", "fluorescence")
DIMS: Final = {"t": 1, "c": 1, "z": 32, "y": 1024, "x": 1024}


# ── how the command talks ────────────────────────────────────────────────────────────────────────


class Commands(click.Group):
    """Commands whose failures are a sentence and an exit code, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click types it
        """Run a command, and turn its exceptions into messages."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if ctx.params.get("debug") or _is_broken_pipe(error):
                raise
            raise click.ClickException(_sentence(error)) from error


def _is_broken_pipe(error: Exception) -> bool:
    """Say whether the reader of our output has gone, of which click takes care."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _sentence(error: Exception) -> str:
    if isinstance(error, OmeZarrError):
        return str(error)
    if isinstance(error, OSError):
        if error.strerror and error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        return str(error) or type(error).__name__
    return (
        f"{type(error).__name__}: {error}\n"
        "That should not have happened; omezarr --debug shows where it did."
    )


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xarray-omezarr", prog_name="omezarr")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def main(ctx: click.Context, *, debug: bool) -> None:
    """Write and describe OME-Zarr images."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no × shall show another sign, and no error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not debug:
        ctx.with_resource(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", OmeZarrWarning)
        warnings.showwarning = _print_warning


# ── create ───────────────────────────────────────────────────────────────────────────────────────


def _parse_shape(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Read sizes with commas between them."""
    if value is None:
        return None
    try:
        sizes = tuple(int(size) for size in value.split(","))
    except ValueError:
        sizes = ()
    if not 2 <= len(sizes) <= len(DIMS) or min(sizes) < 1:  # noqa: PLR2004 - y,x at the least
        msg = (
            f"{value!r} is not two to five sizes of 1 or more, like 2,2,8,256,256 (t,c,z,y,x) "
            "or 512,512 (y,x)."
        )
        raise click.BadParameter(msg)
    return sizes


@main.command()
@click.argument("path")
@click.option(
    "--method", type=click.Choice(METHODS), default="coins", show_default=True, help="The sample."
)
@click.option(
    "--version",
    type=click.Choice(["0.4", "0.5", "0.6"]),
    default="0.5",
    show_default=True,
    help="The version of OME-Zarr.",
)
@click.option(
    "--shape",
    metavar="T,C,Z,Y,X",
    callback=_parse_shape,
    help="Sizes of the fluorescence image; Y,X at the least.",
)
@click.option("--seed", type=int, help="Another seed is another fluorescence image.")
def create(
    path: str, method: str, version: str, shape: tuple[int, ...] | None, seed: int | None
) -> None:
    """Write a sample image to PATH, where there must be nothing yet."""
    if method != "fluorescence" and not (shape is None and seed is None):
        msg = f"--shape and --seed are for --method fluorescence; {method} is a fixed picture."
        raise click.UsageError(msg)

    from xarray_omezarr import samples

    if method == "fluorescence":
        shape = shape or (2, 2, 8, 256, 256)
        dims = tuple(DIMS)[-len(shape) :]
        # Made and written in blocks, so that the size is bounded by the disk alone.
        chunks = {dim: DIMS[dim] for dim in dims}
        ds = samples.fluorescence(shape, dims, seed=seed or 0, chunks=chunks)
    else:
        ds = getattr(samples, method)()
    ds.omezarr.to_zarr(path, version=version)
    sizes_text = " × ".join(f"{dim} {size}" for dim, size in ds.image.sizes.items())
    click.echo(f"Wrote {method} ({sizes_text}, {ds.image.dtype}) as OME-Zarr {version}: {path}")


# ── info ─────────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def info(path: str, *, as_json: bool) -> None:
    """Say what the image at PATH is."""
    facts = describe(path)
    click.echo(json.dumps(facts, indent=2) if as_json else _table(facts))


def describe(store: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe an image by its metadata, in values that JSON holds.

    Parameters
    ----------
    store : str or os.PathLike
        A path, or a URL that fsspec knows.

    Returns
    -------
    dict
        ``path``, ``kind``, ``version``, ``name``, ``dtype``, ``axes``, ``levels`` and
        ``channels``. The bytes of a level are those of its pixels, uncompressed.

    Raises
    ------
    OmeZarrError
        Where there is no image.

    Examples
    --------
    >>> from xarray_omezarr import samples
    >>> samples.circle().omezarr.to_zarr("circle.ome.zarr")
    >>> describe("circle.ome.zarr")["axes"][0]
    {'name': 'y', 'size': 64, 'scale': 0.5, 'translation': 10.0, 'unit': 'micrometer'}
    """
    import xarray as xr

    from xarray_omezarr import spec

    with xr.open_datatree(store, engine="omezarr", labels=False) as tree:
        levels = [node.to_dataset() for node in tree.children.values()]
        first = levels[0]
        memory = first.image.encoding["omezarr"]
        ome = spec.ome_attributes(memory["document"], spec.READ_FORMATS[memory["version"]])
        return {
            "path": str(store),
            "kind": "label image" if "image-label" in ome else "image",
            "version": memory["version"],
            "name": first.attrs.get("name"),
            "dtype": str(first.image.dtype),
            "axes": [_axis(first, str(dim)) for dim in first.image.dims],
            "levels": [_level(level) for level in levels],
            "channels": _channels(first),
        }


def _axis(ds: xr.Dataset, dim: str) -> dict[str, Any]:
    axis = {"name": dim, "size": ds.sizes[dim]}
    if dim not in ds.omezarr.scale:
        return axis
    return {
        **axis,
        "scale": ds.omezarr.scale[dim],
        "translation": ds.omezarr.translation[dim],
        "unit": ds.omezarr.units[dim],
    }


def _level(ds: xr.Dataset) -> dict[str, Any]:
    encoding = ds.image.encoding
    memory = encoding["omezarr"]
    shards = memory["shards"]
    return {
        "level": memory["level"],
        "path": memory["path"],
        "shape": list(ds.image.shape),
        "scale": ds.omezarr.scale,
        "chunks": list(encoding["chunks"]),
        "shards": None if shards is None else list(shards.values()),
        "codecs": [_codec(codec) for codec in memory["codecs"]["compressors"]],
        "bytes": ds.image.nbytes,
    }


def _codec(codec: Any) -> str:  # noqa: ANN401 - of Zarr v3, or of numcodecs
    """Name a codec with what matters of its configuration: ``blosc(zstd, 5)``."""
    config = codec.to_dict() if hasattr(codec, "to_dict") else codec.get_config()
    name = config.get("name", config.get("id"))
    config = config.get("configuration", config)
    details = [config[key] for key in ("cname", "clevel", "level") if key in config]
    return f"{name}({', '.join(map(str, details))})" if details else str(name)


def _channels(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Collect what is known of each channel: the coordinates ``c``, ``c_color``, ..."""
    dim = next((str(dim) for dim in ds.image.dims if dim not in ds.omezarr.scale), "c")
    columns = {
        "label" if name == dim else str(name).removeprefix(f"{dim}_"): coordinate
        for name, coordinate in ds.coords.items()
        if name == dim or str(name).startswith(f"{dim}_")
    }
    rows = zip(*(column.values.reshape(-1).tolist() for column in columns.values()), strict=True)
    return [
        {key: None if value != value else value for key, value in zip(columns, row, strict=True)}  # noqa: PLR0124 - NaN
        for row in rows
    ]


def _table(facts: Mapping[str, Any]) -> str:
    """Lay the facts out for people."""
    from xarray_omezarr.plan import readable

    lines = [click.style(facts["path"], bold=True)]
    keys = (key for key in ("kind", "version", "name", "dtype") if facts[key] is not None)
    lines += [f"  {key:9}{facts[key]}" for key in keys]
    for axis in facts["axes"]:
        step = f"{axis['scale']:g} {axis['unit'] or ''}".rstrip() if "scale" in axis else ""
        origin = f"from {axis['translation']:g}" if axis.get("translation") else ""
        text = ", ".join(filter(None, [f"{axis['name']} {axis['size']}", step, origin]))
        lines.append(f"  {'axis':9}{text}")
    rows = [("level", "shape", "chunks", "shards", "codec", "bytes")]
    rows += [
        (
            str(level["level"]),
            _sizes(level["shape"]),
            _sizes(level["chunks"]),
            _sizes(level["shards"]) if level["shards"] else "-",
            " ".join(level["codecs"]) or "-",
            readable(level["bytes"]),
        )
        for level in facts["levels"]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  " + "  ".join(cells).rstrip())
    for number, channel in enumerate(facts["channels"]):
        settings = [
            f"{key.removeprefix('window_')} {value:g}"
            if isinstance(value, float)
            else f"{key} {value}"
            for key, value in channel.items()
            if key != "label" and value is not None
        ]
        lines.append(
            f"  channel  {channel.get('label', number)}: {', '.join(settings)}".rstrip(": ")
        )
    return "\n".join(lines)


def _sizes(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


# ── validate ─────────────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("path")
@click.option("--group", help="The group in it to begin at.")
@click.option("--version", help="The version to hold it against; by default the one that it names.")
@click.option("--deep", is_flag=True, help="Read pixels, too: geometry, labels, decoding.")
@click.option("--chunks", is_flag=True, help="Count chunks that are absent, empty or truncated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def validate(ctx: click.Context, /, path: str, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Say whether the hierarchy at PATH keeps the rules of OME-Zarr.

    The exit code is 0 where no MUST of the specification is broken, else 1.
    """
    from xarray_omezarr import verdict

    report = verdict.validate(path, **options)
    click.echo(report.to_json() if as_json else str(report))
    ctx.exit(0 if report else 1)


# ── upgrade and edit ─────────────────────────────────────────────────────────────────────────────


@main.command()
@click.argument("path")
@click.argument("target", required=False)
@click.option("--version", required=True, help="0.4, 0.5 or 0.6.")
@click.option("--lossy", is_flag=True, help="Drop what that version has no words for.")
@click.option("--reencode", is_flag=True, help="Encode all pixels anew.")
def upgrade(path: str, target: str | None, version: str, *, lossy: bool, reencode: bool) -> None:
    """Bring the hierarchy at PATH to another version, in place or as a new one at TARGET."""
    from xarray_omezarr.upgrades import upgrade

    done = upgrade(path, target, version=version, lossy=lossy, reencode=reencode)
    click.echo(f"{target or path}: {done}")


def _pairs(
    _ctx: click.Context, param: click.Parameter, value: str | None
) -> dict[str, Any] | str | None:
    """Read z=2,y=0.5: numbers, or words; a single word is a unit for all axes of space."""
    if value is None or ("=" not in value and param.name == "units"):
        return value
    try:
        found = dict(item.split("=") for item in value.split(","))
        if param.name in ("scale", "translation"):
            return {dim: float(number) for dim, number in found.items()}
    except ValueError as error:
        msg = f"{value!r} is not like y=0.5,x=0.5 (for each axis its value)."
        raise click.BadParameter(msg) from error
    return found


def _list(_ctx: click.Context, param: click.Parameter, value: str | None) -> list[Any] | None:
    """Read one entry for each channel; windows are like 0:4095."""
    items = None if value is None else value.split(",")
    if items is None or param.name != "windows":
        return items
    try:
        return [tuple(float(end) for end in item.split(":")) for item in items]
    except ValueError as error:
        msg = f"{value!r} is not like 0:4095,100:2000 (for each channel start and end)."
        raise click.BadParameter(msg) from error


@main.command()
@click.argument("path")
@click.option("--group", help="The group of the image or plate within PATH.")
@click.option("--scale", callback=_pairs, help="Pixel sizes, like z=2,y=0.5,x=0.5.")
@click.option("--translation", callback=_pairs, help="Where the first pixel lies, like y=10.")
@click.option("--units", callback=_pairs, help="A unit for all axes of space, or like t=second.")
@click.option("--axis-types", callback=_pairs, help="What axes are, like w=channel.")
@click.option("--names", callback=_list, help="Of the channels, like DAPI,GFP.")
@click.option("--colors", callback=_list, help="Of the channels, like 0000FF,00FF00.")
@click.option("--windows", callback=_list, help="Of the channels, like 0:4095,100:2000.")
@click.option("--name", help="Of the image.")
@click.option("--like", help="An image whose pixel sizes, units, channels and name are taken.")
@click.option("--repair", is_flag=True, help="Mend what the file itself tells to be wrong.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
def edit(path: str, *, like: str | None, dry_run: bool, **options: Any) -> None:  # noqa: ANN401
    """Say what the pixels of the image, or of every field of the plate, at PATH are."""
    import xarray as xr

    from xarray_omezarr.edit import update_metadata

    model = None if like is None else xr.open_dataset(like, engine="omezarr", labels=False)
    changes = update_metadata(path, like=model, dry_run=dry_run, **options)
    click.echo(str(changes))
    if changes and not dry_run:
        click.echo(f"Changed {len(changes.files)} files of {path}.")


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Example:
    """A sample, and what the demo does with it."""

    name: str
    source: str
    region: str
    purpose: str
    formula: str
    version: str = "0.5"
    label: str | None = None


EXAMPLES: Final = (
    Example(
        name="coins",
        source="samples.coins()",
        region="y=slice(60, 150), x=slice(50, 200)",
        purpose="keep the coins alone; the labels find their place by their coordinates",
        formula='region["0"].image.where(labels > 0)',
        label="coins",
    ),
    Example(
        name="astronaut",
        source="samples.astronaut()",
        region="y=slice(110, 140), x=slice(40, 72)",
        purpose="average the colours",
        formula='region["0"].image.mean("c")',
    ),
    Example(
        name="cells",
        source='samples.fluorescence((3, 2, 12, 512, 512), chunks={"t": 1, "c": 1})',
        region="z=slice(2, 9), y=slice(30, 120), x=slice(40, 150)",
        purpose="project along z, and subtract the background of each frame and channel",
        formula='region["0"].image.max("z") - region["0"].image.median(["z", "y", "x"])',
    ),
    Example(
        name="cells-v04",
        source='samples.fluorescence((3, 2, 12, 512, 512), chunks={"t": 1, "c": 1})',
        region="t=slice(0, 30), y=slice(30, 120), x=slice(40, 150)",
        purpose="find what is bright, on the coarser level",
        formula='region["1"].image > 4 * region["1"].image.median()',
        version="0.4",
    ),
)


@dataclass(frozen=True)
class Step:
    """A line of Python, and why."""

    purpose: str
    line: str
    tell: Callable[[Mapping[str, Any]], list[str]] | None = None
    """Describes what has come of it, from the variables that there are then."""


def steps(example: Example) -> Iterator[Step]:
    """Give the way of one image, a line at a time."""
    file, result = f"{example.name}.ome.zarr", f"{example.name}-result.ome.zarr"
    version = "" if example.version == "0.5" else f', version="{example.version}"'
    yield Step("make the image", f"ds = {example.source}", lambda v: _extent(v["ds"].image))
    yield Step(
        f"write it as a pyramid, OME-Zarr {example.version}",
        f'ds.omezarr.to_zarr("{file}"{version})',
    )
    yield Step(
        "open all levels; no pixel is read yet",
        f'tree = xr.open_datatree("{file}", engine="omezarr")',
        lambda v: _levels(v["tree"]),
    )
    yield Step(
        "check that it is what was written",
        'xr.testing.assert_identical(tree["0"].image, ds.image)',
        lambda _: ["every value, coordinate, name and unit is the same"],
    )
    if example.label:
        yield Step(
            "open the label image that was written with it",
            f'labels = xr.open_dataset("{file}", engine="omezarr").{example.label}',
            lambda v: _extent(v["labels"]),
        )
        yield Step(
            "check that it is what was written",
            f"xr.testing.assert_equal(labels, ds.{example.label})",
            lambda _: ["every value and coordinate is the same"],
        )
    yield Step(
        "select a region in micrometres, on all levels at once",
        f"region = tree.sel({example.region})",
        lambda v: _levels(v["region"]),
    )
    yield Step(example.purpose, f"result = {example.formula}", lambda v: _extent(v["result"]))
    yield Step(
        "write the result as an image of its own",
        f'result.omezarr.to_zarr("{result}"{version})',
    )
    yield Step(
        "open that again",
        f'again = xr.open_dataarray("{result}", engine="omezarr")',
        lambda v: _extent(v["again"]),
    )
    yield Step(
        "check that it is what was written",
        "xr.testing.assert_identical(again, result)",
        lambda _: ["every value, coordinate, name and unit is the same"],
    )


@main.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def demo(directory: Path | None) -> None:
    """Go the whole way on real images, and show the Python that does it.

    Writes sample images, opens them, selects regions in micrometres, computes something from
    them, writes the results, opens those again and checks that they are what was written. All
    goes to DIRECTORY, which must be empty or not exist; without it, to a new one here.
    """
    import xarray as xr

    from xarray_omezarr import samples

    directory = _fresh() if directory is None else _empty(directory)
    begin = time.perf_counter()
    click.echo("import xarray as xr\nfrom xarray_omezarr import samples")
    checks = 0
    with contextlib.chdir(directory):
        for example in EXAMPLES:
            click.echo("\n" + click.style(f"── {example.name} ".ljust(80, "─"), bold=True))
            variables = {"xr": xr, "samples": samples}
            for step in steps(example):
                _take(step, variables)
                checks += "assert" in step.line
    click.echo(
        f"\n{click.style('All is well', fg='green', bold=True)}: {checks} checks in "
        f"{time.perf_counter() - begin:.1f} s. The files lie in\n{directory.resolve()}"
    )


def _take(step: Step, variables: dict[str, Any]) -> None:
    """Run a line; say what it is for, what came of it and how long it took."""
    click.echo(f"\n# {step.purpose[0].upper()}{step.purpose[1:]}.")
    click.echo(click.style(step.line, fg="cyan"))
    begin = time.perf_counter()
    try:
        exec(step.line, variables)  # noqa: S102 - so that the line shown is the line run
    except AssertionError as error:
        msg = f"The check failed.\n{error}"
        raise click.ClickException(msg) from error
    seconds = time.perf_counter() - begin
    told = [f"  {line}" for line in step.tell(variables)] if step.tell else []
    click.echo(click.style("\n".join([*told, f"  [{seconds:.3f} s]"]), dim=True))


def _extent(image: xr.DataArray) -> list[str]:
    """Tell the size of an image and of its pixels."""
    scale, units = image.omezarr.scale, image.omezarr.units
    sizes = " × ".join(f"{dim} {size}" for dim, size in image.sizes.items())
    pixel = ", ".join(f"{dim} {step:g} {units[dim] or ''}".rstrip() for dim, step in scale.items())
    return [f"{sizes} ({image.dtype}), pixels of {pixel}"]


def _levels(tree: xr.DataTree) -> list[str]:
    nodes = [(name, node) for name, node in tree.children.items() if "image" in node]
    return [f"level {name}: {line}" for name, node in nodes for line in _extent(node.image)]


def _fresh() -> Path:
    """Make a new directory here, beside those of former runs."""
    for number in range(1, 10_000):
        directory = Path("omezarr-demo" if number == 1 else f"omezarr-demo-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
    msg = "There are ten thousand omezarr-demo directories here; name another one."
    raise OmeZarrError(msg)


def _empty(directory: Path) -> Path:
    """Make a directory, unless there is an empty one."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        msg = f"{directory} is not empty. Name a directory that does not exist yet."
        raise OmeZarrError(msg)
    return directory


if __name__ == "__main__":
    main(prog_name="omezarr")
