"""Plates laid down key by key, by Zarr alone: small ones by hundreds, or each field its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.storage import MemoryStore

from tests.helpers import (
    MICROMETER,
    OMERO,
    contents,
    dated,
    group_files,
    multiscales,
    pixels,
    put_array,
    put_document,
    put_files,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.helpers import Document, Pixels, Place

    #: The fields of each well, with the acquisition that each is of.
    Wells = Mapping[str, Mapping[str, int | None]]

#: A pixel, exact in float64.
PIXEL = 0.25


def put_field(
    store: Place,
    path: str,
    *,
    version: str = "0.5",
    dims: str = "cyx",
    shape: Sequence[int] = (2, 24, 20),
    dtype: str = "uint16",
    seed: int = 0,
    scale: float = PIXEL,
    origin: Sequence[float] | None = None,
    omero: Document | None = None,
    chunks: Sequence[int] | None = None,
    values: Pixels | None = None,
) -> Pixels:
    """Lay down one image of a single level, and return its pixels."""
    omero = OMERO if omero is None else omero
    scales = [[1.0 if dim in "ct" else scale for dim in dims]]
    origins = [[0.0] * len(dims) if origin is None else list(origin)]
    units = {dim: "micrometer" for dim in dims if dim in "zyx"}
    document: Document = {"multiscales": [multiscales(dims, ["0"], scales, origins, units)]}
    if "c" in dims:
        document["omero"] = omero
    put_document(store, document, version=version, group=path)
    if values is None:
        values = pixels(shape, dtype, seed=seed)
    put_array(store, f"{path}/0", values, version=version, dims=dims, chunks=chunks)
    return values


def put_wells(
    store: Place,
    wells: Wells,
    *,
    version: str = "0.5",
    acquisitions: Sequence[int] = (),
    name: str | None = None,
) -> None:
    """Lay down what a plate and its wells say, and no image."""
    put_files(store, _plate_files(wells, version, acquisitions, name))


def _plate_files(
    wells: Wells, version: str, acquisitions: Sequence[int], name: str | None
) -> dict[str, bytes]:
    """Make the files of the groups of a plate, of its rows and of its wells."""
    rows = list(dict.fromkeys(well.split("/")[0] for well in wells))
    columns = sorted({well.split("/")[1] for well in wells}, key=lambda one: (len(one), one))
    listed = [
        {"path": well, "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
        for well, (row, column) in ((well, well.split("/")) for well in wells)
    ]
    plate: Document = {
        **dated(version),
        **({} if name is None else {"name": name}),
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": listed,
    }
    if acquisitions:
        plate["acquisitions"] = [{"id": number} for number in acquisitions]
    files = group_files(version, {"plate": plate})
    for row in rows:
        files |= group_files(version, {}, row)
    for well, fields in wells.items():
        images = [
            {"path": field} | ({} if number is None else {"acquisition": number})
            for field, number in fields.items()
        ]
        files |= group_files(version, {"well": {**dated(version), "images": images}}, well)
    return files


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlateSample:
    """What has been laid down on a plate."""

    store: Place
    images: dict[str, tuple[Pixels, ...]]
    """The levels of each field, by its path below the plate."""
    origins: dict[str, tuple[float, float]]
    """Where the first pixel of each field is, along y and x."""


def put_plate(
    store: Place,
    wells: Mapping[str, Sequence[str]],
    *,
    version: str = "0.5",
    levels: int = 2,
    shape: tuple[int, int] = (8, 12),
    labels: Sequence[str] = (),
    acquisitions: Mapping[str, int] | None = None,
) -> PlateSample:
    """Lay down a plate with its images: the paths of its wells, each with those of its fields.

    Fields of one well lie beside each other, and differ in their pixels; `acquisitions` says of
    which one each path of a field is. There may be thousands of them: one image is laid down by
    Zarr, and its files are copied.
    """
    chunk = "0/0" if version == "0.4" else "c/0/0"
    sizes = [tuple(max(1, n >> level) for n in shape) for level in range(levels)]
    arrays = _array_files(sizes, version, labels)
    of = acquisitions or {}
    listed = {well: {field: of.get(field) for field in fields} for well, fields in wells.items()}
    files = _plate_files(listed, version, sorted(set(of.values())), "screen")
    images: dict[str, tuple[Pixels, ...]] = {}
    origins: dict[str, tuple[float, float]] = {}
    for well, fields in wells.items():
        for position, name in enumerate(fields):
            path = f"{well}/{name}"
            origins[path] = (10.0, position * 100.0)
            images[path] = tuple(
                pixels(size, seed=len(images) * levels + level) for level, size in enumerate(sizes)
            )
            document = _image_document(version, levels, origins[path])
            files |= group_files(version, document, path)
            if labels:
                files |= group_files(version, {"labels": list(labels)}, f"{path}/labels")
            for label in labels:
                about = {**document, "image-label": dated(version)}
                files |= group_files(version, about, f"{path}/labels/{label}")
            own = arrays | {f"{i}/{chunk}": array.tobytes() for i, array in enumerate(images[path])}
            files |= {f"{path}/{key}": value for key, value in own.items()}
    put_files(store, files)
    return PlateSample(store=store, images=images, origins=origins)


def _array_files(
    sizes: Sequence[tuple[int, ...]], version: str, labels: Sequence[str]
) -> dict[str, bytes]:
    """Make the files of the levels of an image and of its labels, by Zarr."""
    files: dict[str, bytes] = {}
    for folder in ("", *(f"labels/{name}/" for name in labels)):
        made = MemoryStore()
        for level, size in enumerate(sizes):
            values = np.ones(size, "uint8" if folder else "uint16")
            put_array(made, str(level), values, version=version, dims="yx",
                      chunks=size, compressors=None)  # fmt: skip
        files |= {f"{folder}{key}": value for key, value in contents(made).items() if "/" in key}
    return files


def _image_document(version: str, levels: int, origin: tuple[float, float]) -> Document:
    """Describe an image along y and x, of pixels half a micrometre wide."""
    paths = [str(level) for level in range(levels)]
    scales = [(0.5 * 2**level,) * 2 for level in range(levels)]
    starts = [tuple(o + (s[0] - 0.5) / 2 for o in origin) for s in scales]
    one = {**dated(version), **multiscales("yx", paths, scales, starts, MICROMETER)}
    if version == "0.6":
        one["coordinateSystems"] = [{"name": "physical", "axes": one.pop("axes")}]
        for dataset in one["datasets"]:
            steps = dataset["coordinateTransformations"]
            dataset["coordinateTransformations"] = [
                {
                    "type": "sequence",
                    "transformations": steps,
                    "input": {"path": dataset["path"]},
                    "output": {"name": "physical"},
                }
            ]
    return {"multiscales": [one]}


def put_screen(
    store: Place,
    wells: Mapping[str, Sequence[str]],
    *,
    version: str = "0.5",
    different: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,  # noqa: ANN401
) -> dict[str, Pixels]:
    """Lay down a plate with all its fields, each of pixels and at a place of its own.

    Parameters
    ----------
    store
        Where.
    wells
        The fields of each well.
    version
        The version.
    different
        By path, what is different for a field.
    options
        What holds for all fields.
    """
    listed = {well: dict.fromkeys(fields) for well, fields in wells.items()}
    put_wells(store, listed, version=version, name="screen")
    found = {}
    paths = [f"{well}/{field}" for well, fields in wells.items() for field in fields]
    for number, path in enumerate(paths):
        own = {"seed": number, **options, **(different or {}).get(path, {})}
        dims = own.get("dims", "cyx")
        own.setdefault("origin", origin_of(number, dims))
        found[path] = put_field(store, path, version=version, **own)
    return found


def origin_of(number: int, dims: str = "cyx") -> list[float]:
    """Say where the field of a number is."""
    places = {"z": 0.5 * number, "y": 100.0 * number, "x": -7.75 * number}
    return [places.get(dim, 0.0) for dim in dims]


def stacked(
    found: Mapping[str, Pixels], wells: Sequence[str], fields: Sequence[str], fill: float = 0
) -> Pixels:
    """Stack the pixels of fields by NumPy."""
    like = next(iter(found.values()))
    dtype = np.result_type(like.dtype, np.float32) if fill != fill else like.dtype  # noqa: PLR0124
    blank = np.full(like.shape, fill, dtype)
    return np.stack(
        [np.stack([found.get(f"{w}/{f}", blank).astype(dtype) for f in fields]) for w in wells]
    )
