"""The subcommand ``create``: write a sample."""

from __future__ import annotations

from typing import Any, Final

import click

from xarray_omezarr.cli_support import STORE, examples, reads, say, version_option

METHODS: Final = ("coins", "astronaut", "circles", "fluorescence", "plate")
DIMS: Final = {"t": 1, "c": 1, "z": 32, "y": 1024, "x": 1024}


class _Method(click.Choice[str]):
    """A sample by its name; the one picture of circles has one circle."""

    def convert(self, value: Any, *context: Any) -> str:  # noqa: ANN401 - as click types it
        """Read it."""
        return super().convert("circles" if value == "circle" else value, *context)


def _shape(text: str) -> tuple[int, ...]:
    """Read sizes with commas between them."""
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not 2 <= len(sizes) <= len(DIMS) or min(sizes) < 1:  # noqa: PLR2004 - y,x at the least
        msg = (
            f"{text!r} is not two to five sizes of 1 or more, like 2,2,8,256,256 (t,c,z,y,x) "
            "or 512,512 (y,x)."
        )
        raise ValueError(msg)
    return sizes


@click.command(
    epilog=examples(
        "omezarr create coins.ome.zarr",
        "omezarr create cells.ome.zarr --method fluorescence --shape 1,2,16,512,512",
        "omezarr create plate.ome.zarr --method plate --version 0.4",
    )
)
@click.argument("path", type=STORE)
@click.option(
    "--method", type=_Method(METHODS), default="coins", show_default=True, help="The sample."
)
@version_option("0.5")
@click.option(
    "--shape",
    type=reads("shape", _shape),
    metavar="T,C,Z,Y,X",
    help="Sizes of the fluorescence image, Y,X at the least; of a plate's fields, Y,X.",
)
@click.option("--seed", type=int, help="Another seed is another fluorescence image or plate.")
def create(
    path: str, method: str, version: str, shape: tuple[int, ...] | None, seed: int | None
) -> None:
    """Write a sample to PATH, where there must be nothing yet.

    All but fluorescence come with labels.
    """
    fixed = method not in ("fluorescence", "plate")
    if fixed and not (shape is None and seed is None):
        msg = (
            "--shape and --seed are for --method fluorescence and --method plate; "
            f"{method} is a fixed picture."
        )
        raise click.UsageError(msg)
    if method == "plate" and shape is not None and len(shape) != 2:  # noqa: PLR2004 - y, x
        msg = f"--shape: the fields of a plate have two sizes, Y,X, not {len(shape)}."
        raise click.UsageError(msg)

    if method == "plate":
        what = _plate(path, version, shape or (128, 128), seed or 0)
    else:
        what = _image(path, version, method, shape, seed or 0)
    say(f"Wrote {method} ({what}) as OME-Zarr {version}: {path}")


def _image(path: str, version: str, method: str, shape: tuple[int, ...] | None, seed: int) -> str:
    from xarray_omezarr import samples

    if method == "fluorescence":
        shape = shape or (2, 2, 8, 256, 256)
        dims = tuple(DIMS)[-len(shape) :]
        # Made and written in blocks, so that the size is bounded by the disk alone.
        chunks = {dim: DIMS[dim] for dim in dims}
        ds = samples.fluorescence(shape, dims, seed=seed, chunks=chunks)
    else:
        ds = {"coins": samples.coins, "astronaut": samples.astronaut}.get(method, samples.circle)()
    ds.omezarr.to_zarr(path, version=version)
    return (
        f"{' × '.join(f'{dim} {size}' for dim, size in ds.image.sizes.items())}, {ds.image.dtype}"
    )


def _plate(path: str, version: str, shape: tuple[int, ...], seed: int) -> str:
    from xarray_omezarr import samples

    height, width = shape
    tree = samples.plate(shape=(height, width), seed=seed)
    tree.omezarr.to_zarr(path, version=version)
    fields = [node for node in tree.leaves if "image" in node]
    wells = {str(node.parent.path) for node in fields if node.parent}
    sizes = " × ".join(f"{dim} {size}" for dim, size in fields[0]["image"].sizes.items())
    return f"{len(wells)} wells, {len(fields)} fields of {sizes}, {fields[0]['image'].dtype}"
