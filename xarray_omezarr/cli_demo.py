"""The subcommand ``demo``: go the whole way on real images."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from xarray_omezarr.cli_support import examples
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import xarray as xr


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


@click.command(epilog=examples("omezarr demo", "omezarr demo somewhere/else"))
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
