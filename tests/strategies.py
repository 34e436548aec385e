"""Generated images, how they are written, and files written by hand."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr.storage
from hypothesis import strategies as st

import xarray_omezarr  # noqa: F401 - registers the accessor
from tests.helpers import (
    axis,
    document_of,
    level_array,
    level_paths,
    put_array,
    put_document,
)
from xarray_omezarr.compounds import Bijection, ByDimension, Part
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    MapAxis,
    Rotation,
    Scale,
    ScaleTranslation,
    Transform,
    Translation,
)
from xarray_omezarr.transforms import Sequence as Chain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tests.helpers import Document, Option, Pixels, Place

SPACE_UNITS = ("micrometer", "nanometer", "millimeter", "angstrom", "inch")
TIME_UNITS = ("second", "millisecond", "hour")
DTYPES = tuple(
    np.dtype(order + code)
    for code in ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
    for order in ("<>" if code[1] != "1" else "|")
)
AXES = tuple(
    time + channel + space
    for time, channel, space in itertools.product(("", "t"), ("", "c"), ("yx", "zyx", "zx"))
)


# ── images ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Picture:
    """What an image is made of; hypothesis prints it when a test fails."""

    shape: dict[str, int]
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("uint16"))
    scale: dict[str, float] = field(default_factory=dict)
    translation: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    windows: tuple[tuple[float, float], ...] = ()
    active: tuple[bool, ...] = ()
    seed: int = 0

    def pixels(self) -> Pixels:
        return pixels(tuple(self.shape.values()), self.dtype, self.seed)

    def dataset(self) -> xr.Dataset:
        ds = xr.Dataset({"image": (tuple(self.shape), self.pixels())})
        if self.scale:
            ds = ds.omezarr.assign_scale(
                self.scale,
                translation=self.translation or None,
                units=self.units or None,
            )
        if self.names:
            ds = ds.omezarr.assign_channels(
                self.names,
                colors=self.colors or None,
                windows=self.windows or None,
                active=self.active or None,
            )
        return ds


def pixels(shape: Sequence[int], dtype: npt.DTypeLike, seed: int = 0) -> Pixels:
    """Draw values from the whole range of `dtype`; for floats with NaN, infinity and minus zero."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        values = rng.normal(scale=1000.0, size=shape)
        odd = rng.choice([np.nan, np.inf, -np.inf, -0.0], size=shape)
        return np.where(rng.random(shape) < 0.05, odd, values).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    native = dtype.newbyteorder("=")
    return rng.integers(limits.min, limits.max, shape, native, endpoint=True).astype(dtype)


def decimals(digits: int, exponents: tuple[int, int] = (-4, 3)) -> st.SearchStrategy[float]:
    """Positive numbers whose shortest representation has up to `digits` digits."""

    def number(length: int, mantissa: int, exponent: int) -> float:
        lowest = 10 ** (length - 1)
        return float(f"{lowest + mantissa % (9 * lowest)}e{exponent - length + 1}")

    return st.builds(
        number,
        st.integers(1, digits),
        st.integers(0, 10**digits),
        st.integers(*exponents),
    )


def origins(scale: float, within: float = 1e7) -> st.SearchStrategy[float]:
    """Draw translations of up to `within` pixels, with 1 to 17 digits."""

    def number(places: float, digits: int) -> float:
        return float(f"{places * scale:.{digits}g}")

    magnitudes = [limit for limit in (1.0, 1e3, 1e5, 1e7) if limit <= within]
    places = st.one_of([st.floats(-limit, limit) for limit in magnitudes])
    return st.one_of(st.just(0.0), st.builds(number, places, st.integers(1, 17)))


@st.composite
def lattices(draw: st.DrawFn, digits: int = 16, within: float = 1e7) -> tuple[float, float]:
    """Draw a scale and a translation."""
    scale = draw(decimals(digits))
    return scale, draw(origins(scale, within))


@st.composite
def pictures(
    draw: st.DrawFn,
    *,
    axes: Sequence[str] = AXES,
    dtypes: Sequence[np.dtype[Any]] = DTYPES,
    sizes: tuple[int, int] = (1, 7),
    digits: int = 16,
    within: float = 1e7,
    channels: bool = True,
) -> Picture:
    """Draw images of 2 to 5 axes with positions, units and channels, all of them random."""
    dims = draw(st.sampled_from(axes))
    shape = {dim: draw(st.integers(*sizes)) for dim in dims}
    placed = [dim for dim in dims if dim != "c"]
    grid = {dim: draw(lattices(digits, within)) for dim in placed}
    units = {
        dim: draw(st.sampled_from(TIME_UNITS if dim == "t" else SPACE_UNITS))
        for dim in placed
        if draw(st.booleans())
    }
    settings: dict[str, Any] = {}
    if channels and "c" in dims and draw(st.booleans()):
        count = shape["c"]
        label = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1)
        settings["names"] = tuple(
            draw(st.lists(label, min_size=count, max_size=count, unique=True))
        )
        for key, values in (
            ("colors", st.from_regex(r"[0-9A-F]{6}", fullmatch=True)),
            ("windows", st.tuples(st.floats(-1e6, 0), st.floats(1, 1e6))),
            ("active", st.booleans()),
        ):
            if draw(st.booleans()):
                settings[key] = tuple(draw(st.lists(values, min_size=count, max_size=count)))
    return Picture(
        shape,
        draw(st.sampled_from(dtypes)),
        {dim: scale for dim, (scale, _) in grid.items()},
        {dim: translation for dim, (_, translation) in grid.items()},
        units,
        seed=draw(st.integers(0, 2**16)),
        **settings,
    )


@st.composite
def layouts(draw: st.DrawFn, shape: Mapping[str, int], version: str) -> Document:
    """Draw `chunks` and, where the version has them, `shards` for `to_zarr`."""
    chunks = {dim: draw(st.integers(1, size)) for dim, size in shape.items()}
    layout: Document = {"chunks": draw(st.sampled_from([chunks, None]))}
    if version != "0.4" and layout["chunks"] and draw(st.booleans()):
        counts = {dim: -(-size // chunks[dim]) for dim, size in shape.items()}
        layout["shards"] = {dim: chunks[dim] * draw(st.integers(1, counts[dim])) for dim in shape}
    return layout


@st.composite
def crops(draw: st.DrawFn, shape: Mapping[Any, int]) -> dict[Any, slice]:
    """Draw a part of each axis, perhaps the whole, never nothing."""
    found = {}
    for dim, size in shape.items():
        start = draw(st.integers(0, size - 1))
        found[dim] = slice(start, draw(st.integers(start + 1, size)))
    return found


# ── stores ───────────────────────────────────────────────────────────────────────────────────────


def write(obj: Place, **arguments: Option) -> zarr.storage.MemoryStore:
    """Write into a new store in memory, one level unless asked for more."""
    store = zarr.storage.MemoryStore()
    if not isinstance(obj, xr.DataTree):  # which has its levels
        arguments = {"levels": 1} | arguments
    obj.omezarr.to_zarr(store, **arguments)
    return store


def opened_tree(store: Place) -> xr.DataTree:
    """Open every level by the engine under test."""
    return xr.open_datatree(store, engine="omezarr")


def transform(store: Place, level: int = 0) -> tuple[list[float], list[float] | None]:
    """Return scale and translation of a level as they stand in the file."""
    found = document_of(store)["multiscales"][0]["datasets"][level]["coordinateTransformations"]
    steps = {step["type"]: step[step["type"]] for step in found}
    assert [step["type"] for step in found] == list(steps)
    return steps["scale"], steps.get("translation")


def stored_levels(store: Place, group: str | None = None) -> list[Pixels]:
    """Return the pixels of every level as Zarr reads them."""
    count = len(level_paths(store, group))
    return [np.asarray(level_array(store, level, group)[...]) for level in range(count)]


def handmade(
    arrays: Sequence[Pixels],
    document: Document,
    version: str = "0.5",
    **outside: Option,
) -> zarr.storage.MemoryStore:
    """Lay a document down word for word, with its arrays at the paths that it names."""
    store = zarr.storage.MemoryStore()
    put_document(store, document, version=version)
    if outside:
        zarr.open_group(store).attrs.update(outside)
    image = document["multiscales"][0]
    dims = [axis["name"] for axis in image["axes"]]
    for dataset, values in zip(image["datasets"], arrays, strict=True):
        put_array(store, dataset["path"], values, version=version, dims=dims)
    return store


def document_with(
    axes: str | Sequence[Document],
    *datasets: Sequence[Document],
    **others: Option,
) -> Document:
    """Make a document of one image, from a list of transformations for each level."""
    image: Document = {
        "axes": [axis(entry) if isinstance(entry, str) else entry for entry in axes],
        "datasets": [
            {"path": str(index), "coordinateTransformations": list(steps)}
            for index, steps in enumerate(datasets)
        ],
    }
    return {"multiscales": [image | others]}


def scaling(*values: float) -> Document:
    return {"type": "scale", "scale": list(values)}


def shift(*values: float) -> Document:
    return {"type": "translation", "translation": list(values)}


# ── transformations ──────────────────────────────────────────────────────────────────────────────

#: Small enough that a few of them in turn keep the digits that an inverse needs.
FACTORS = st.one_of(st.floats(0.1, 10), st.sampled_from([0.1, 0.325, 1.0, 2.0]))
LENGTHS = st.one_of(st.floats(-1000, 1000), st.sampled_from([0.0, 0.1, -7.5]))


def rotations(ndim: int) -> st.SearchStrategy[Rotation]:
    """Give rotations of `ndim` axes."""

    def turn(seed: int) -> Rotation:
        turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(ndim, ndim)))
        turned[0] *= np.sign(np.linalg.det(turned))
        return Rotation.of(turned)

    return st.integers(0, 999).map(turn)


def affines(ndim: int) -> st.SearchStrategy[Affine]:
    """Give affine transformations that have an inverse: turned, stretched, turned, moved."""

    def build(
        one: Rotation, two: Rotation, scale: Sequence[float], moved: Sequence[float]
    ) -> Affine:
        return Affine.of(one.matrix()[0] * scale @ two.matrix()[0], np.array(moved))

    turned, numbers = rotations(ndim), partial(st.lists, min_size=ndim, max_size=ndim)
    return st.builds(build, turned, turned, numbers(FACTORS), numbers(LENGTHS))


@st.composite
def by_dimensions(draw: st.DrawFn, ndim: int) -> ByDimension:
    """Give transformations side by side of `ndim` axes, each of them taken and given once."""
    inputs, outputs = (draw(st.permutations(range(ndim))) for _ in range(2))
    cuts = sorted({0, ndim, *draw(st.lists(st.integers(1, ndim), max_size=2))})
    parts = [
        Part(draw(transforms(b - a)), tuple(inputs[a:b]), tuple(outputs[a:b]))
        for a, b in itertools.pairwise(cuts)
    ]
    return ByDimension(tuple(parts), draw(st.sampled_from([None, ndim])))


def transforms(ndim: int, depth: int = 2) -> st.SearchStrategy[Transform]:
    """Give transformations of `ndim` axes that have an inverse."""
    numbers = partial(st.lists, min_size=ndim, max_size=ndim)
    kinds: list[st.SearchStrategy[Transform]] = [
        st.builds(Identity, st.sampled_from([None, ndim])),
        st.builds(Scale, numbers(FACTORS)),
        st.builds(Translation, numbers(LENGTHS)),
        st.builds(ScaleTranslation, numbers(FACTORS).map(tuple), numbers(LENGTHS).map(tuple)),
        st.builds(MapAxis, st.permutations(range(ndim))),
        rotations(ndim),
        affines(ndim),
    ]
    if depth:
        inner = transforms(ndim, depth - 1)
        kinds += [
            st.builds(Chain, st.lists(inner, min_size=1, max_size=4)),
            st.builds(lambda t: Bijection(t, t.inverse()), inner),
        ]
        if ndim > 1:
            kinds.append(by_dimensions(ndim))
    return st.one_of(kinds)


def matrix_of(transform: Transform, ndim: int) -> Pixels:  # noqa: C901, PLR0912 - a case each
    """Give the homogeneous matrix of an affine transformation, by its definition alone."""
    result = np.eye(ndim + 1)
    match transform:
        case Identity():
            pass
        case Scale(scale):
            result[:-1, :-1] = np.diag(scale)
        case Translation(translation):
            result[:-1, -1] = translation
        case ScaleTranslation(scale, translation):
            result[:-1, :-1] = np.diag(scale)
            result[:-1, -1] = translation
        case MapAxis(order):
            result[:-1, :-1] = [[float(axis == i) for i in range(ndim)] for axis in order]
        case Rotation(values):
            result[:-1, :-1] = np.array(values)
        case Affine(values):
            result[:-1] = np.array(values)
        case Chain(steps):
            for step in steps:
                result = matrix_of(step, ndim) @ result
        case Bijection(forward):
            result = matrix_of(forward, ndim)
        case ByDimension(parts):
            result[:-1] = 0
            for part in parts:
                own = matrix_of(part.transform, len(part.inputs))
                for row, i in enumerate(part.outputs):
                    result[i, -1] = own[row, -1]
                    for column, j in enumerate(part.inputs):
                        result[i, j] = own[row, column]
        case _:
            raise AssertionError(transform)
    return result
