"""Image files as Datasets: their pixels, their geometry, and what is no image."""

from __future__ import annotations

import builtins
import itertools
import pickle
import re
import struct
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import xarray as xr
from PIL import Image
from skimage import io

from tests.tiffing import patched, pixels, put, put_parts
from xarray_omezarr import OmeZarrError, OmeZarrWarning, files, open_image, scale, strips

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tiffing import Pixels


def same(path: Path, expected: Pixels, dims: str, **options: Any) -> xr.Dataset:  # noqa: ANN401
    """Open a file, and compare its pixels: all, and of parts."""
    ds = open_image(path, **options)
    assert ds.image.dims == tuple(dims)
    assert ds.image.dtype == expected.dtype.newbyteorder("=")
    for part in (slice(None), slice(3, 11), slice(None, None, -3), slice(1, None, 2), 5):
        index = (*([0] * (expected.ndim - 2)), part, part)
        np.testing.assert_array_equal(open_image(path, **options).image[index], expected[index])
    np.testing.assert_array_equal(ds.image, expected)
    return ds


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", True)])
def test_ome_tiff(
    tmp_path: Path, tile: tuple[int, int] | None, compression: str | None, byteorder: str,
    bigtiff: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    data = pixels((2, 3, 4, 70, 83))
    path = put(
        tmp_path / "a.ome.tif", data, tile=tile, compression=compression, byteorder=byteorder,
        bigtiff=bigtiff, rowsperstrip=None if tile else 7,
        metadata={
            "axes": "TCZYX", "Name": "cells", "PhysicalSizeX": 0.25, "PhysicalSizeY": 250.0,
            "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 1.0, "TimeIncrement": 30.0,
            "Channel": {"Name": ["DAPI", "GFP", "RFP"], "Color": [65535, 16711935, -16776961]},
        },
    )  # fmt: skip
    ds = same(path, data, "tczyx")
    assert ds.omezarr.scale == {"t": 30.0, "z": 1.0, "y": 250.0, "x": 0.25}
    assert ds.omezarr.units == {
        "t": "second",
        "z": "micrometer",
        "y": "nanometer",
        "x": "micrometer",
    }
    assert ds.c.values.tolist() == ["DAPI", "GFP", "RFP"]
    assert ds.c_color.values.tolist() == ["0000FF", "00FF00", "FF0000"]
    assert ds.attrs == {"name": "cells"}
    assert ds.image.encoding["preferred_chunks"] == {
        "t": 1,
        "c": 1,
        "z": 1,
        "y": 70 if tile is None else 32,
        "x": 83 if tile is None else 48,
    }


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("predictor", [False, True])
def test_types(tmp_path: Path, dtype: str, predictor: bool) -> None:  # noqa: FBT001
    if predictor and dtype[0] == "f":
        pytest.importorskip("imagecodecs")
    data = pixels((20, 30), dtype)
    path = put(tmp_path / "a.tif", data, compression="zlib", predictor=predictor)
    same(path, data, "yx")


@pytest.mark.parametrize(
    ("compression", "options"),
    [
        ("lzw", {"predictor": True}),
        ("zstd", {}),
        ("jpeg", {"photometric": "ycbcr", "subsampling": (2, 2)}),
        ("jpeg2000", {}),
        ("zlib", {"predictor": True, "dtype": "f4"}),
    ],
)
def test_codecs_of_imagecodecs(tmp_path: Path, compression: str, options: dict[str, Any]) -> None:
    pytest.importorskip("imagecodecs")
    data = pixels((64, 80, 3), options.pop("dtype", "u1"))
    options = {"photometric": "rgb", "tile": (32, 48), **options}
    path = put(tmp_path / "a.tif", data, compression=compression, **options)
    expected = np.moveaxis(tifffile.imread(path), -1, 0)
    ds = same(path, expected, "cyx")
    # In another process it is decoded the same, by a file that is opened anew.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).image, expected)  # noqa: S301
    scale(path, tmp_path / "a.ome.zarr")
    scaled = xr.open_dataset(tmp_path / "a.ome.zarr", engine="omezarr")
    np.testing.assert_array_equal(scaled.image, expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("samples", [3, 4])
def test_colours_are_channels(
    tmp_path: Path, planar: str, tile: tuple[int, int] | None, compression: str | None, samples: int
) -> None:
    data = pixels((samples, 40, 50), "u1")
    stored = data if planar == "separate" else np.moveaxis(data, 0, -1)
    path = put(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, tile=tile,
        compression=compression, extrasamples=["unassalpha"] * (samples - 3),
    )  # fmt: skip
    ds = same(path, data, "cyx")
    assert ds.c.values.tolist() == ["Red", "Green", "Blue", "Alpha"][:samples]
    assert ds.image.encoding["preferred_chunks"]["c"] == (samples if planar == "contig" else 1)
    same(path, data, "cyx", axes="cyx" if planar == "separate" else "yxc")


def test_channels_of_colours(tmp_path: Path) -> None:
    data = pixels((2, 3, 5, 40, 50), "u1")
    path = put(
        tmp_path / "a.ome.tif", data.transpose(0, 2, 3, 4, 1), photometric="rgb",
        metadata={"axes": "CZYXS", "Channel": {"Name": ["a", "b"]}},
    )  # fmt: skip
    ds = same(path, data.reshape(6, 5, 40, 50), "czyx")
    assert ds.c.values.tolist()[2:4] == ["a Blue", "b Red"]


@pytest.mark.parametrize("truncate", [False, True])
def test_imagej(tmp_path: Path, truncate: bool) -> None:  # noqa: FBT001
    data = pixels((3, 4, 2, 16, 20))
    path = put(
        tmp_path / "a.tif", data, imagej=True, resolution=(5.0, 2.5),
        metadata={"axes": "TZCYX", "spacing": 0.7, "unit": "um", "finterval": 2.5,
                  "Ranges": (0.0, 9.0, 1.0, 8.0), **({"truncate": True} if truncate else {})},
    )  # fmt: skip
    ds = same(path, data.transpose(0, 2, 1, 3, 4), "tczyx")
    assert ds.omezarr.scale == {"t": 2.5, "z": 0.7, "y": 0.4, "x": 0.2}
    assert set(ds.omezarr.units.values()) == {"second", "micrometer"}
    assert ds.c_window_end.values.tolist() == [9.0, 8.0]


def test_first_page_tells_of_all_that_follow_it(tmp_path: Path) -> None:
    data = pixels((6, 16, 20))
    with tifffile.TiffWriter(tmp_path / "a.tif", imagej=True) as tif:
        tif.write(data, truncate=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.pages) == 1
    same(tmp_path / "a.tif", data, "zyx")


def test_plain_tiff_of_pages_needs_its_axes(tmp_path: Path) -> None:
    data = pixels((5, 16, 20))
    path = put(tmp_path / "a.tif", data, metadata=None)
    same(path, data, "zyx", axes="zyx")
    same(path, data, "tyx", axes=["t", "y", "x"])
    with pytest.raises(OmeZarrError, match=r"does not say what its axes I are, of 'Iyx'"):
        open_image(path)
    for wrong in ("yx", "tzyx", "zxy", "yyx", "zyw", ""):
        with pytest.raises(OmeZarrError, match="axes"):
            open_image(path, wrong)


def test_axes_that_the_file_knows_are_checked(tmp_path: Path) -> None:
    path = put(tmp_path / "a.ome.tif", pixels((5, 16, 20)), metadata={"axes": "ZYX"})
    assert open_image(path, "zyx").image.sizes["z"] == 5
    with pytest.raises(OmeZarrError, match=r"has the axes 'zyx', and not 'tyx'"):
        open_image(path, "tyx")


def test_resolution_tags(tmp_path: Path) -> None:
    data = pixels((16, 20))
    path = put(tmp_path / "a.tif", data, resolution=(20000, 10000), resolutionunit="CENTIMETER")
    ds = open_image(path)
    assert ds.omezarr.scale == {"y": 1.0, "x": 0.5}
    assert ds.omezarr.units == {"y": "micrometer", "x": "micrometer"}
    path = put(tmp_path / "b.tif", data, resolution=(300, 300), resolutionunit="INCH")
    with pytest.warns(OmeZarrWarning, match="300 pixels per inch is taken for that of a print"):
        assert open_image(path).omezarr.units == {"y": None, "x": None}


def test_series_are_chosen(tmp_path: Path) -> None:
    one, two = pixels((4, 16, 20)), pixels((30, 25), "u1")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(one, metadata={"axes": "ZYX", "Name": "cells", "PhysicalSizeX": 2.0})
        tif.write(two, metadata={"axes": "YX", "Name": "overview", "PhysicalSizeX": 3.0})
    path = tmp_path / "a.ome.tif"
    assert same(path, one, "zyx", series=0).attrs == {"name": "cells"}
    assert same(path, two, "yx", series=-1).omezarr.scale["x"] == 3.0
    for wrong in (None, 2, -3):
        with pytest.raises(OmeZarrError, match=r"0: cells, 4 × 16 × 20 \(ZYX\), uint16\n  1: over"):
            open_image(path, series=wrong)
    with pytest.raises(OmeZarrError, match="expected the number of an image"):
        open_image(path, series="1")  # type: ignore[arg-type]


def test_levels_below_the_first_are_no_images(tmp_path: Path) -> None:
    data = pixels((4, 64, 64))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(data, subifds=1, tile=(32, 32), metadata={"axes": "ZYX"})
        tif.write(data[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    same(tmp_path / "a.ome.tif", data, "zyx")


def test_several_files_are_one_image(tmp_path: Path) -> None:
    data = put_parts(tmp_path)
    ds = same(tmp_path / "a.ome.tif", data, "zyx")
    assert ds.omezarr.scale == {"z": 2.0, "y": 1.0, "x": 0.5}
    assert ds.c.item() == "GFP"
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(OmeZarrError, match=r"a part of an image, and others are missing.*b\.ome"):
        open_image(tmp_path / "a.ome.tif")


def test_planes_that_were_not_taken_are_zeros_with_a_word(tmp_path: Path) -> None:
    data = pixels((4, 16, 20))
    path = put(tmp_path / "a.ome.tif", data, metadata={"axes": "ZYX"}, compression="zlib")
    content = path.read_bytes().replace(b'SizeZ="4"', b'SizeZ="6"', 1)
    path.write_bytes(content)
    with pytest.warns(OmeZarrWarning) as told:
        ds = open_image(path)
    assert any("2 of 6 planes are missing, and read as zeros" in str(w.message) for w in told)
    np.testing.assert_array_equal(ds.image[:4], data)
    assert not ds.image[4:].any()


def test_volumes_in_tiles(tmp_path: Path) -> None:
    data = pixels((20, 40, 50))
    path = put(
        tmp_path / "a.tif", data, volumetric=True, tile=(16, 32, 32), compression="zlib",
        metadata=None,
    )  # fmt: skip
    ds = same(path, data, "zyx")
    assert ds.image.encoding["preferred_chunks"] == {"z": 16, "y": 32, "x": 32}


def test_empty_tiles_hold_nothing(tmp_path: Path) -> None:
    data = pixels((64, 64))
    path = put(tmp_path / "a.tif", data, tile=(32, 32), compression="zlib")
    patched(path, 325, struct.pack("<I", 0))
    ds = open_image(path)
    assert not ds.image[:32, :32].any()
    np.testing.assert_array_equal(ds.image[32:], data[32:])


def test_opening_reads_no_pixel_and_reading_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pixels((3, 64, 96))
    path = put(
        tmp_path / "a.tif", data, tile=(32, 32), compression="zlib", photometric="minisblack",
        metadata={"axes": "ZYX"},
    )  # fmt: skip
    reads: list[int] = []
    original = strips._content

    def counted(file: Any, start: int, size: int) -> bytearray:  # noqa: ANN401
        reads.append(start)
        return original(file, start, size)

    monkeypatch.setattr(strips, "_content", counted)
    ds = open_image(path)
    assert not reads
    ds.image[1, :40, 32:64].values.sum()
    assert len(reads) == 2
    reads.clear()
    ds.chunk(ds.image.encoding["preferred_chunks"]).image.sum().compute(scheduler="threads")
    assert len(reads) == len(set(reads)) == 18


def test_it_is_pickled_by_where_its_pixels_lie(tmp_path: Path) -> None:
    data = pixels((3, 64, 96))
    path = put(
        tmp_path / "a.tif", data, tile=(32, 32), compression="zlib", photometric="minisblack",
        metadata={"axes": "ZYX"},
    )  # fmt: skip
    content = pickle.dumps(open_image(path))
    assert len(content) < data.nbytes / 3
    np.testing.assert_array_equal(pickle.loads(content).image, data)  # noqa: S301


def test_a_file_that_changes_is_not_read_on(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tif", pixels((64, 96)))
    ds = open_image(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OmeZarrError, match="has changed since it was opened"):
        ds.image.load()


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def test_gif_of_one_picture(tmp_path: Path) -> None:
    data = pixels((40, 50), "u1")
    frames = [Image.fromarray(data), Image.fromarray(data[::-1])]
    frames[0].save(tmp_path / "a.gif")
    red = open_image(tmp_path / "a.gif").image.sel(c="Red")
    np.testing.assert_array_equal(red, data)
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(OmeZarrError, match="several pictures"):
        open_image(tmp_path / "b.gif")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg"])
@pytest.mark.parametrize("samples", [1, 3])
def test_pictures(tmp_path: Path, name: str, samples: int) -> None:
    data = pixels((40, 50, samples), "u1").squeeze()
    io.imsave(tmp_path / name, data, check_contrast=False)
    expected = io.imread(tmp_path / name)
    ds = open_image(tmp_path / name)
    if expected.ndim == 3:
        expected = np.moveaxis(expected, -1, 0)
        assert ds.c.values.tolist() == ["Red", "Green", "Blue"]
    assert ds.image.dims == ("c", "y", "x")[-expected.ndim :]
    np.testing.assert_array_equal(ds.image, expected)
    if not name.endswith("jpg"):
        np.testing.assert_array_equal(ds.image.transpose("y", "x", ...), data)


def test_png_of_16_bits(tmp_path: Path) -> None:
    data = pixels((40, 50)) * 300
    io.imsave(tmp_path / "a.png", data, check_contrast=False)
    np.testing.assert_array_equal(open_image(tmp_path / "a.png").image, data)


def test_colours_of_16_bits_are_not_cut_to_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io.imsave(tmp_path / "a.png", pixels((4, 5, 3), "u1"), check_contrast=False)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[24] = 16
    (tmp_path / "a.png").write_bytes(content)
    original = builtins.__import__

    def without(name: str, *args: Any) -> Any:  # noqa: ANN401
        if name == "imagecodecs":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OmeZarrError, match="pip install imagecodecs"):
        open_image(tmp_path / "a.png")


# ── what is no image ─────────────────────────────────────────────────────────────────────────────


def test_what_is_no_image_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name in ("a.txt", "empty.tif"):
        with pytest.raises(OmeZarrError, match="neither TIFF, PNG, JPEG"):
            open_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        open_image(tmp_path / "none.tif")
    with pytest.raises(OmeZarrError, match="is a folder; expected an image file"):
        open_image(tmp_path)
    with pytest.raises(OmeZarrError, match="Download it first"):
        open_image("https://host/a.tif")


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (259, 5, r"LZW.*imagecodecs.*pip install imagecodecs"),
        (258, 12, r"12 bits in a sample.*pip install imagecodecs"),
    ],
)
def test_a_missing_codec_is_named(tmp_path: Path, tag: int, value: int, message: str) -> None:
    path = patched(put(tmp_path / "a.tif", pixels((16, 20))), tag, struct.pack("<H", value))
    code = f"""
        import sys
        sys.modules["imagecodecs"] = None
        from xarray_omezarr import open_image
        open_image({str(path)!r})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False, text=True
    )
    assert re.search(message, done.stderr)


TAGS = {"width": 256, "length": 257, "rows per strip": 278, "offsets": 273, "sizes": 279}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_hostile_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: int, value: int, compression: str | None
) -> None:
    path = put(tmp_path / "a.tif", pixels((16, 20), "u1"), compression=compression, rowsperstrip=16)
    monkeypatch.setattr(files, "warn", lambda _: None)
    try:
        found = open_image(patched(path, tag, struct.pack("<I", value))).image
        assert found.size <= 2**20
        found.load()
    except OmeZarrError as error:
        assert "a.tif" in str(error)  # noqa: PT017 - others are harmless


def test_a_page_that_follows_itself(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tif", pixels((16, 20)), metadata=None)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[first : first + 2])
    content[first + 2 + 12 * count : first + 6 + 12 * count] = content[4:8]
    path.write_bytes(content)
    with pytest.warns(OmeZarrWarning, match="circular"):
        assert open_image(path).image.sizes == {"y": 16, "x": 20}


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_truncated_files(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None
) -> None:
    data = pixels((3, 40, 50))
    path = put(
        tmp_path / "a.ome.tif", data, metadata={"axes": "ZYX"}, compression=compression, tile=tile
    )
    content = path.read_bytes()
    for size in range(0, len(content), len(content) // 12):
        path.write_bytes(content[:size])
        with pytest.raises(OmeZarrError):
            open_image(path).load()
    path.write_bytes(content)
    np.testing.assert_array_equal(open_image(path).image, data)


def test_damaged_pixels_are_told(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tif", pixels((64, 64)), compression="zlib", tile=(32, 32))
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[1]
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(OmeZarrError, match=r"page 0 of series 0 cannot be decoded"):
        open_image(path).load()


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(files, "warn", lambda _: None)
    rng = np.random.default_rng(seed)
    data = pixels((3, 40, 50))
    path = put(
        tmp_path / "a.ome.tif", data, metadata={"axes": "ZYX"}, compression="zlib", tile=(16, 16)
    )
    content = path.read_bytes()
    for _ in range(40):
        changed = bytearray(content)
        for place in rng.integers(0, 1200, 4):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            open_image(path).load()
        except OmeZarrError as error:
            assert str(error)  # noqa: PT017 - what can be read is
    assert list(itertools.islice(tmp_path.iterdir(), 2)) == [path]
