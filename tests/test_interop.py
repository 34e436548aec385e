"""Others agree: what is written here they read, and what they write opens here.

Where another package's reader or writer departs from the specification, the test says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from tests.helpers import VERSIONS, document_of, level_array, level_paths, opened
from tests.strategies import Picture, opened_tree, pixels, stored_levels
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.helpers import Document, Option, Pixels

READS = "reads what this package writes"
WRITES = "writes what this package reads"

GRID = {
    "t": (0.5, 2.0, "second"),
    "z": (2.0, -7.5, "micrometer"),
    "y": (0.325, 1000.1, "micrometer"),
    "x": (0.65, 0.0, "nanometer"),
}
FULL = {"t": 2, "c": 3, "z": 5, "y": 34, "x": 41}


def picture(dims: str, dtype: str, *, named: bool = False) -> xr.Dataset:
    placed = [dim for dim in dims if dim in GRID]
    return Picture(
        {dim: FULL[dim] for dim in dims},
        np.dtype(dtype),
        {dim: GRID[dim][0] for dim in placed},
        {dim: GRID[dim][1] for dim in placed},
        {dim: GRID[dim][2] for dim in placed},
        names=("DAPI", "GFP", "mCherry") if named else (),
        colors=("0000FF", "00FF00", "FF0000") if named else (),
        windows=((0.0, 100.0), (5.0, 200.0), (0.0, 4000.5)) if named else (),
    ).dataset()


def wild(dims: str, dtype: str) -> xr.Dataset:
    """Make a crop of every third line, upside down."""
    return picture(dims, dtype).isel(y=slice(30, 2, -3), x=slice(7, None))


@dataclasses.dataclass(frozen=True)
class Case:
    """An image and how it is written."""

    make: Callable[[], xr.Dataset]
    version: str
    arguments: Document = dataclasses.field(default_factory=dict)
    warning: type[Warning] | None = None


HALF = {"y": 2, "x": 2}
CASES = {
    "yx of 0.4": Case(lambda: picture("yx", "uint8"), "0.4"),
    "yx of 0.5": Case(lambda: picture("yx", "uint8"), "0.5"),
    "channels, 0.4": Case(lambda: picture("czyx", "uint16", named=True), "0.4"),
    "channels, 0.5": Case(lambda: picture("czyx", "uint16", named=True), "0.5"),
    "five axes, 0.4": Case(lambda: picture("tczyx", "float32", named=True), "0.4"),
    "five axes, 0.5": Case(lambda: picture("tczyx", "float32"), "0.5"),
    "time, big-endian": Case(lambda: picture("tyx", ">i2"), "0.5"),
    "nearest of int64": Case(lambda: picture("zyx", "int64"), "0.5", {"method": "nearest"}),
    "sharded": Case(
        lambda: picture("zyx", "uint16"),
        "0.5",
        {"chunks": {"z": 2, "y": 8, "x": 8}, "shards": {"z": 4, "y": 16, "x": 16}},
    ),
    "a crop, turned, 0.4": Case(lambda: wild("zyx", "uint16"), "0.4", {}, OmeZarrWarning),
    "a crop, turned, 0.5": Case(lambda: wild("zyx", "uint16"), "0.5", {}, OmeZarrWarning),
    "a sample": Case(samples.astronaut, "0.5"),
    "yx of 0.6": Case(lambda: picture("yx", "uint8"), "0.6"),
    "channels, 0.6": Case(lambda: picture("czyx", "uint16", named=True), "0.6"),
    "five axes, 0.6": Case(lambda: picture("tczyx", "float32"), "0.6"),
    "sharded, 0.6": Case(
        lambda: picture("zyx", "int64"),
        "0.6",
        {"chunks": {"z": 2, "y": 8, "x": 8}, "shards": {"z": 4, "y": 16, "x": 16}},
    ),
    "a crop, 0.6": Case(lambda: picture("zyx", ">i2").isel(y=slice(2, 30, 3)), "0.6"),
    "a sample, 0.6": Case(samples.astronaut, "0.6"),
}


@pytest.fixture(params=CASES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write an image with one further level, and return where."""
    case = CASES[request.param]
    target = tmp_path / "image.ome.zarr"
    arguments: Document = {"levels": [HALF], "version": case.version, **case.arguments}
    ds = case.make()
    if case.warning is None:
        ds.omezarr.to_zarr(target, **arguments)
    else:
        with pytest.warns(case.warning):
            ds.omezarr.to_zarr(target, **arguments)
    first = opened(target)
    np.testing.assert_array_equal(first.image, ds.image)
    return target


def affine(
    path: Path, level: int, dims: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return scale and translation as the engine under test gives them."""
    ds = opened(path, level=level)
    start = {dim: float(ds[dim][0]) for dim in dims if dim in GRID}
    step = {dim: float(ds[dim][1]) - start[dim] for dim in start}
    return step, start


def assert_agrees(
    path: Path,
    level: int,
    found: Pixels,
    scale: Mapping[str, float],
    translation: Mapping[str, float],
) -> None:
    """Compare with what another reader found."""
    ds = opened(path, level=level)
    np.testing.assert_array_equal(found, ds.image.values)
    step, start = affine(path, level, [str(dim) for dim in ds.image.dims])
    assert {dim: scale[dim] for dim in step} == pytest.approx(step, rel=1e-9)
    assert {dim: translation[dim] for dim in start} == pytest.approx(start, rel=1e-9, abs=1e-12)


def version_of(path: Path) -> str:
    version: str = opened(path).image.encoding["omezarr"]["version"]
    return version


def skip_from_0_6(path: Path, name: str) -> None:
    """Skip where an image is of a version that a package has never heard of."""
    if version_of(path) == "0.6":
        pytest.skip(f"{name} knows versions up to 0.5")


@contextlib.contextmanager
def complaints_about(path: Path) -> Iterator[None]:
    """Expect none, but of a turned axis: validators take -2 for a finer scale than -1."""
    if min(opened(path).omezarr.scale.values()) > 0:
        yield
    else:
        with pytest.raises((RuntimeError, ValueError), match=r"lower resolution|highest to lowest"):
            yield


def attributes(path: Path) -> str:
    """Return the file of attributes as text."""
    old = path / ".zattrs"
    if old.exists():
        return old.read_text()
    text: str = json.dumps(json.loads((path / "zarr.json").read_text())["attributes"]["ome"])
    return text


# ── written here ─────────────────────────────────────────────────────────────────────────────────


def test_ome_zarr_models_finds_nothing_wrong(written: Path) -> None:
    models = pytest.importorskip("ome_zarr_models", reason="ome-zarr-models validates images")
    version = version_of(written)
    if version == "0.6":
        pytest.importorskip("ome_zarr_models.v06", reason="newer releases know 0.6")
    with complaints_about(written):
        group = models.open_ome_zarr(str(written), version=version)
        assert type(group).__name__ == "Image"


def test_yaozarrs_finds_nothing_wrong(written: Path) -> None:
    yaozarrs = pytest.importorskip("yaozarrs", reason="yaozarrs validates images")
    skip_from_0_6(written, "yaozarrs")
    assert type(yaozarrs.validate_ome_json(attributes(written))).__name__ == "Image"
    if not (written / ".zattrs").exists():  # of 0.4 it knows the attributes, not the store
        with complaints_about(written):
            yaozarrs.validate_zarr_store(str(written))


def test_ome_zarr_py_reads_the_same(written: Path) -> None:
    pytest.importorskip("ome_zarr", reason=f"ome-zarr-py {READS}")
    skip_from_0_6(written, "the Reader of ome-zarr-py")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    node = next(iter(Reader(parse_url(str(written)))()))
    dims = [axis["name"] for axis in node.metadata["axes"]]
    assert dims == list(opened(written).image.dims)
    assert len(node.data) == 2
    for level, data in enumerate(node.data):
        steps = node.metadata["coordinateTransformations"][level]
        found = {step["type"]: dict(zip(dims, step[step["type"]], strict=True)) for step in steps}
        translation = found.get("translation", dict.fromkeys(dims, 0.0))
        assert_agrees(written, level, np.asarray(data), found["scale"], translation)
    units = {axis["name"]: axis["unit"] for axis in node.metadata["axes"] if "unit" in axis}
    ours = opened(written).omezarr.units
    assert units == {dim: unit for dim, unit in ours.items() if unit is not None}


def test_the_classes_of_ome_zarr_py_read_the_same(written: Path) -> None:
    pytest.importorskip("ome_zarr_models.v06", reason="newer releases of ome-zarr-py know 0.6")
    from ome_zarr import OMEZarrMultiscale

    if min(opened(written).omezarr.scale.values()) < 0:
        pytest.skip("ome-zarr-py takes -2 for a finer scale than -1")
    found = OMEZarrMultiscale.from_ome_zarr(str(written))
    assert len(found.images) == 2
    for level, image in enumerate(found.images):
        step = found.metadata.datasets[level].coordinateTransformations[0]
        shifts = getattr(step, "transformations", ())[1:]
        shift = shifts[0].translation if shifts else [0.0] * len(image.axes)
        translation = dict(zip(image.axes, shift, strict=True))
        assert_agrees(written, level, np.asarray(image.data), image.scale or {}, translation)
    ours = opened(written).omezarr.units
    assert (found.images[0].axes_units or {}) == {d: u for d, u in ours.items() if u is not None}


def test_ngff_zarr_reads_the_same(written: Path) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", reason=f"ngff-zarr {READS}")
    images = ngff_zarr.from_ngff_zarr(str(written)).images
    assert len(images) == 2
    for level, image in enumerate(images):
        ds = opened(written, level=level)
        assert tuple(image.dims) == ds.image.dims
        assert_agrees(written, level, np.asarray(image.data), image.scale, image.translation)
        for dim, unit in ds.omezarr.units.items():
            assert image.axes_units[dim] == unit


def test_tensorstore_reads_the_same(written: Path) -> None:
    tensorstore = pytest.importorskip("tensorstore", reason=f"TensorStore {READS}")
    for level, path in enumerate(level_paths(written)):
        old = (written / path / ".zarray").exists()
        spec = {
            "driver": "zarr" if old else "zarr3",
            "kvstore": {"driver": "file", "path": str(written / path)},
        }
        array = tensorstore.open(spec).result()
        ds = opened(written, level=level)
        np.testing.assert_array_equal(array.read().result(), ds.image.values)
        if not old:
            assert array.domain.labels == ds.image.dims


@pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning:bioio")
def test_bioio_ome_zarr_reads_the_same(written: Path) -> None:
    bioio = pytest.importorskip("bioio_ome_zarr", reason=f"bioio-ome-zarr {READS}")
    skip_from_0_6(written, "bioio-ome-zarr")
    reader = bioio.Reader(str(written))
    ds = opened(written)
    found = reader.xarray_dask_data
    assert tuple(dim.lower() for dim in found.dims) == ds.image.dims
    np.testing.assert_array_equal(found.values, ds.image.values)
    if "DAPI" in ds.coords.get("c", ()):
        assert list(reader.channel_names) == ds.c.values.tolist()


@pytest.mark.parametrize("version", VERSIONS)
def test_channels_read_the_same(version: str, tmp_path: Path) -> None:
    pytest.importorskip("ome_zarr", reason=f"ome-zarr-py {READS}")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    picture("czyx", "uint16", named=True).omezarr.to_zarr(tmp_path / "image", version=version)
    metadata = next(iter(Reader(parse_url(str(tmp_path / "image")))())).metadata
    assert metadata["channel_names"] == ["DAPI", "GFP", "mCherry"]
    assert metadata["contrast_limits"] == [[0, 100], [5, 200], [0, 4000.5]]


# ── written elsewhere ────────────────────────────────────────────────────────────────────────────

PIXELS = pixels((3, 5, 33, 42), "uint16")
UNITS = dict.fromkeys("zyx", "micrometer")
SCALE = {"c": 1.0, "z": 0.5, "y": 0.325, "x": 0.65}
#: What the classes of ome-zarr-py have pydantic say of themselves.
PYDANTIC = "ignore:Pydantic serializer warnings:UserWarning"


def skip_0_6(version: str) -> None:
    if version == "0.6":
        pytest.skip("writes versions up to 0.5")


def image_by_ome_zarr(**labels: Pixels) -> Any:  # noqa: ANN401 - ome-zarr-py's own
    """Make an image of ome-zarr-py, of releases that know 0.6, with label images."""
    pytest.importorskip("ome_zarr_models.v06", reason="newer releases of ome-zarr-py know 0.6")
    from ome_zarr import OMEZarrImage, OMEZarrLabels, OMEZarrMultiscale

    def one(values: Pixels, dims: str, name: str) -> Any:  # noqa: ANN401
        scale, units = {dim: SCALE[dim] for dim in dims}, {d: UNITS[d] for d in dims if d in UNITS}
        return OMEZarrImage(values, dims, scale=scale, axes_units=units, name=name)

    return OMEZarrMultiscale(
        one(PIXELS, "czyx", "cells"),
        scale_factors=[2],
        labels=[
            OMEZarrLabels(one(values, "zyx", name), scale_factors=[2])
            for name, values in labels.items()
        ],
    )


def by_ome_zarr(path: Path, version: str) -> None:
    pytest.importorskip("ome_zarr", reason=f"ome-zarr-py {WRITES}")
    if version == "0.6":
        image_by_ome_zarr().to_ome_zarr(str(path), version=version)
        return
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_image

    write_image(
        PIXELS,
        str(path),
        scale_factors=[2, 4],
        axes=list("czyx"),
        fmt=format_from_version(version),
        scale=SCALE,
        axes_units=UNITS,
    )


def image_by_ngff_zarr() -> Any:  # noqa: ANN401 - ngff-zarr's own
    ngff_zarr = pytest.importorskip("ngff_zarr", reason=f"ngff-zarr {WRITES}")
    image = ngff_zarr.to_ngff_image(
        PIXELS,
        dims=list("czyx"),
        scale={dim: SCALE[dim] for dim in "zyx"},
        translation={"z": 1.0, "y": 10.1, "x": -3.25},
        axes_units=UNITS,
        name="cells",
    )
    return ngff_zarr.to_multiscales(
        image,
        scale_factors=[{"z": 1, "y": 2, "x": 2}],
        method=ngff_zarr.Methods.DASK_BIN_SHRINK,
    )


def by_ngff_zarr(path: Path, version: str) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", reason=f"ngff-zarr {WRITES}")
    ngff_zarr.to_ngff_zarr(str(path), image_by_ngff_zarr(), version=version)


def by_bioio(path: Path, version: str, **options: Option) -> None:
    writers = pytest.importorskip(
        "bioio_ome_zarr.writers",
        reason=f"bioio-ome-zarr {WRITES}",
    )
    skip_0_6(version)
    writer = writers.OMEZarrWriter(
        store=str(path),
        level_shapes=[PIXELS.shape, (3, 5, 17, 21)],
        dtype="uint16",
        zarr_format=2 if version == "0.4" else 3,
        axes_names=list("czyx"),
        axes_types=["channel", "space", "space", "space"],
        axes_units=[None, *UNITS.values()],
        physical_pixel_size=list(SCALE.values()),
        image_name="cells",
        channels=[
            writers.Channel(label=label, color=color)
            for label, color in (("DAPI", "0000FF"), ("GFP", "00FF00"), ("mCherry", "FF0000"))
        ],
        **options,
    )
    writer.write_full_volume(PIXELS)


def by_bioio_with_an_outer_transformation(path: Path, version: str) -> None:
    outer = {"type": "scale", "scale": [1.0, 2.0, 10.0, 0.1]}
    by_bioio(path, version, root_transform=outer)


def by_yaozarrs(path: Path, version: str) -> None:
    v05 = pytest.importorskip("yaozarrs.v05", reason=f"yaozarrs {WRITES}")
    if version != "0.5":
        pytest.skip("yaozarrs writes 0.5 only")
    from yaozarrs.write.v05 import write_image

    axes = [v05.ChannelAxis(name="c")]
    axes += [v05.SpaceAxis(name=dim, unit=unit) for dim, unit in UNITS.items()]
    steps = [
        v05.ScaleTransformation(scale=list(SCALE.values())),
        v05.TranslationTransformation(translation=[0.0, 1.0, 10.1, -3.25]),
    ]
    dataset = v05.Dataset(path="full", coordinateTransformations=steps)
    image = v05.Multiscale(name="cells", axes=axes, datasets=[dataset])
    write_image(
        path, v05.Image(multiscales=[image]), [PIXELS], shards=(3, 5, 64, 64), chunks=(1, 5, 32, 32)
    )


def by_tensorstore(path: Path, version: str) -> None:
    """Write the array; the document is the test's own."""
    tensorstore = pytest.importorskip("tensorstore", reason=f"TensorStore {WRITES}")
    skip_0_6(version)
    document: Document = {
        "multiscales": [
            {
                "axes": [
                    {"name": "c", "type": "channel"},
                    *({"name": dim, "type": "space", "unit": UNITS[dim]} for dim in "zyx"),
                ],
                "datasets": [
                    {
                        "path": "a",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(SCALE.values())},
                        ],
                    },
                ],
            },
        ],
    }
    if version == "0.4":
        metadata: Document = {
            "shape": PIXELS.shape,
            "chunks": (2, 3, 16, 16),
            "dtype": ">u2",
            "order": "F",
            "dimension_separator": "/",
            "compressor": {"id": "zlib", "level": 1},
        }
        path.mkdir()
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        document["multiscales"][0]["version"] = "0.4"
        (path / ".zattrs").write_text(json.dumps(document))
    else:
        inner: Document = {
            "chunk_shape": (1, 1, 16, 16),
            "codecs": [
                {"name": "transpose", "configuration": {"order": [3, 2, 1, 0]}},
                {"name": "bytes", "configuration": {"endian": "big"}},
                {"name": "gzip", "configuration": {"level": 1}},
            ],
        }
        metadata = {
            "shape": PIXELS.shape,
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (2, 3, 32, 32)}},
            "codecs": [{"name": "sharding_indexed", "configuration": inner}],
            "dimension_names": list("czyx"),
        }
        path.mkdir()
        group = {"zarr_format": 3, "node_type": "group"}
        ome = {"ome": {"version": "0.5", **document}}
        (path / "zarr.json").write_text(json.dumps({**group, "attributes": ome}))
    spec = {
        "driver": "zarr" if version == "0.4" else "zarr3",
        "kvstore": {"driver": "file", "path": str(path / "a")},
        "metadata": metadata,
    }
    tensorstore.open(spec, create=True).result().write(PIXELS).result()


WRITERS = (
    by_ome_zarr,
    by_ngff_zarr,
    by_bioio,
    by_bioio_with_an_outer_transformation,
    by_yaozarrs,
    by_tensorstore,
)


def positions(path: Path, level: int, group: str | None = None) -> dict[str, list[float]]:
    """Return the positions that the specification gives, by exact arithmetic on the file."""
    image = document_of(path, group)["multiscales"][0]
    shape = level_array(path, level, group).shape
    steps = image["datasets"][level]["coordinateTransformations"]
    if "coordinateSystems" in image:
        # "exactly one": a scale, or a sequence, to the intrinsic coordinate system.
        (step,) = steps
        (system,) = (s for s in image["coordinateSystems"] if s["name"] == step["output"]["name"])
        axes, lists = system["axes"], [step.get("transformations", steps)]
    else:
        axes, lists = image["axes"], [steps, image.get("coordinateTransformations", [])]
    found = {}
    for index, axis in enumerate(axes):
        if axis["type"] == "channel":
            continue
        places = [Fraction(place) for place in range(shape[index])]
        for step in (step for steps in lists for step in steps):
            number = Fraction(repr(float(step[step["type"]][index])))
            places = [p * number if step["type"] == "scale" else p + number for p in places]
        found[axis["name"]] = [float(place) for place in places]
    return found


def assert_at_its_place(
    ds: xr.Dataset, name: str, path: Path, level: int, group: str | None = None
) -> None:
    """Compare an image with what the file says, by Zarr and by exact arithmetic."""
    np.testing.assert_array_equal(ds[name].values, level_array(path, level, group)[...])
    for dim, expected in positions(path, level, group).items():
        spacing = expected[1] - expected[0]
        np.testing.assert_allclose(ds[dim], expected, rtol=0, atol=1e-6 * spacing)
        assert ds[dim].attrs == {"units": UNITS[dim]}


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:BloscShuffle.bitshuffle is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings(PYDANTIC)
@pytest.mark.parametrize("version", [*VERSIONS, "0.6"])
@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_what_others_write_opens_here(
    writer: Callable[[Path, str], None],
    version: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "image.ome.zarr"
    writer(path, version)
    tree = opened_tree(path)
    arrays = stored_levels(path)
    assert list(tree.children) == [str(level) for level in range(len(arrays))]
    np.testing.assert_array_equal(tree["0"].to_dataset().image.values, PIXELS)
    for level in range(len(arrays)):
        ds = tree[str(level)].to_dataset()
        assert_at_its_place(ds, "image", path, level)
        assert ds.image.dims == tuple("czyx")
        assert ds.image.dtype.isnative
        assert ds.image.encoding["omezarr"]["version"] == version
    first = opened(path)
    if document_of(path).get("omero", {}).get("channels"):
        assert first.sizes["c"] == len(first.c)
    again = tmp_path / "again"
    first.omezarr.to_zarr(again, levels=1)
    xr.testing.assert_identical(opened(again).load(), first.load())


@pytest.mark.filterwarnings("ignore:BloscShuffle.bitshuffle is deprecated:DeprecationWarning")
@pytest.mark.parametrize("version", VERSIONS)
def test_channels_that_others_write_open_here(version: str, tmp_path: Path) -> None:
    by_bioio(tmp_path / "image", version)
    ds = opened(tmp_path / "image")
    assert ds.c.values.tolist() == ["DAPI", "GFP", "mCherry"]
    assert ds.c_color.values.tolist() == ["0000FF", "00FF00", "FF0000"]


LABELS = pixels(PIXELS.shape[1:], "uint8")


@pytest.mark.filterwarnings(PYDANTIC)
def test_labels_that_ome_zarr_py_writes_in_0_6_open_here(tmp_path: Path) -> None:
    path = tmp_path / "image"
    image_by_ome_zarr(nuclei=LABELS).to_ome_zarr(str(path), version="0.6")
    ds = opened(path)
    np.testing.assert_array_equal(ds.image, PIXELS)
    np.testing.assert_array_equal(ds.nuclei, LABELS)
    assert ds.nuclei_id.values.tolist() == np.unique(LABELS).tolist()
    tree = opened_tree(path)
    for level in range(2):
        for name, at in (("image", ""), ("nuclei", "labels/nuclei")):
            opened_level = tree[f"{at}/{level}"].to_dataset()
            assert_at_its_place(opened_level, name, path, level, at or None)


@pytest.mark.filterwarnings(PYDANTIC)
@pytest.mark.parametrize("version", [*VERSIONS, "0.6"])
def test_labels_written_here_open_in_ome_zarr_py(version: str, tmp_path: Path) -> None:
    pytest.importorskip("ome_zarr_models.v06", reason="newer releases of ome-zarr-py know 0.6")
    from ome_zarr import OMEZarrMultiscale

    coins = samples.coins()
    coins.omezarr.to_zarr(tmp_path / "image", version=version)
    labels = OMEZarrMultiscale.from_ome_zarr(str(tmp_path / "image")).labels
    np.testing.assert_array_equal(labels["coins"].images[0].data, coins.coins)


def scene_by_ome_zarr(path: Path) -> None:
    image = image_by_ome_zarr()
    v06 = pytest.importorskip("ome_zarr_models.v06.coordinate_transforms")
    from ome_zarr import OMEZarrScene

    world = v06.CoordinateSystem(name="world", axes=image.metadata.intrinsic_coordinate_system.axes)
    step = v06.Translation(
        type="translation",
        translation=(0.0, 1.0, 2.0, 3.0),
        input=v06.CoordinateSystemIdentifier(path="left", name="physical"),
        output=v06.CoordinateSystemIdentifier(name="world"),
    )
    OMEZarrScene({"left": image}, [step], [world]).to_ome_zarr(str(path))


def scene_by_ngff_zarr(path: Path) -> None:
    v06 = pytest.importorskip("ngff_zarr.scene", reason="newer releases of ngff-zarr know 0.6")
    import ngff_zarr
    from ngff_zarr.v06.zarr_metadata import CoordinateSystemIdentifier, Translation

    image = image_by_ngff_zarr()
    (own,) = image.metadata.to_version("0.6").coordinateSystems
    step = Translation(
        translation=[0.0, 1.0, 2.0, 3.0],
        input=CoordinateSystemIdentifier(path="left", name=own.name),
        output=CoordinateSystemIdentifier(name="world"),
    )
    scene = v06.NgffScene({"left": image}, [step], [dataclasses.replace(own, name="world")])
    ngff_zarr.to_ngff_zarr(str(path), scene, version="0.6")


@pytest.mark.filterwarnings(PYDANTIC)
@pytest.mark.parametrize("writer", [scene_by_ome_zarr, scene_by_ngff_zarr])
def test_the_images_of_a_scene_open_by_their_group(
    writer: Callable[[Path], None], tmp_path: Path
) -> None:
    writer(tmp_path)
    with pytest.raises(OmeZarrError, match=r"is a scene of several images.*group='left'"):
        opened(tmp_path)
    for level in range(2):
        ds = opened(tmp_path, group="left", level=level)
        assert ds.image.encoding["omezarr"]["version"] == "0.6"
        assert_at_its_place(ds, "image", tmp_path, level, "left")
    np.testing.assert_array_equal(opened(tmp_path, group="left").image, PIXELS)


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_the_document_of_a_label_image_validates(version: str, tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models", reason="ome-zarr-models validates images")
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path, version=version)
    if version == "0.6":
        pytest.importorskip("ome_zarr_models.v06", reason="newer releases know 0.6")
    else:
        yaozarrs = pytest.importorskip("yaozarrs", reason="yaozarrs validates images")
        yaozarrs.validate_zarr_store(str(path))
    for group, kind in (("", "Image"), ("labels", "Labels"), ("labels/coins", "ImageLabel")):
        found = models.open_ome_zarr(str(path / group), version=version)
        assert type(found).__name__ == kind
