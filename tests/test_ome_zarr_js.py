"""Pictures held against those that ome-zarr.js, in Node, makes of the same files.

Of channels whose colours have a component in common, version 0.0.19 shows the brighter one, where
OMERO adds them up: the colours here have none, or there is one channel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from tests.helpers import opened

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PACKAGE = "ome-zarr.js@0.0.19"
SCRIPT = """
import { writeFileSync } from "node:fs";
import { NgffImage } from "ome-zarr.js";
import { FileSystemStore } from "@zarrita/storage";

const [path, level, target] = process.argv.slice(2);
const image = await NgffImage.load(new FileSystemStore(path));
const { data } = await image.renderRgba({ arrayPathOrIndex: Number(level) });
writeFileSync(target, data);
"""
WINDOWS: dict[str, tuple[float, float]] = {
    "uint8": (10, 200),
    "uint16": (100, 50_000),
    "float32": (-0.1, 0.9),
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install ome-zarr.js into a folder of its own, with a script that renders by it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}')
    command = [str(shutil.which("npm")), "install", "--no-audit", "--no-fund", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=120)
    except subprocess.SubprocessError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{PACKAGE} cannot be installed: {error}")
    (folder / "render.js").write_text(SCRIPT)
    return folder / "render.js"


def rendered(
    script: Path, image: Path, shape: tuple[int, ...], level: int = 0
) -> NDArray[np.int64]:
    target = script.with_name("picture.bin")
    command = ["node", str(script), str(image), str(level), str(target)]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.fromfile(target, np.uint8).reshape(*shape, 4)[..., :3].astype(np.int64)


def image(count: int, dtype: str, colors: list[str]) -> xr.DataArray:
    random = np.random.default_rng(count)
    shape = (count, 3, 96, 80)
    if dtype == "float32":
        pixels = random.normal(0.4, 0.4, shape).astype(dtype)
    else:
        pixels = random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    start, end = WINDOWS[dtype]
    made: xr.DataArray = xr.DataArray(pixels, dims=("c", "z", "y", "x")).omezarr.assign_channels(
        colors=colors, windows=[(start, end * (1 - i / 10)) for i in range(count)]
    )
    return made


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", WINDOWS)
@pytest.mark.parametrize(
    "colors",
    [["FFFFFF"], ["F08214"], ["FF00C8", "006400"], ["FF0000", "00FF00", "0000FF"]],
    ids="-".join,
)
def test_pictures_agree_with_those_of_ome_zarr_js(
    script: Path, tmp_path: Path, colors: list[str], dtype: str, version: str
) -> None:
    array = image(len(colors), dtype, colors)
    array.omezarr.to_zarr(tmp_path / "image.zarr", version=version, levels=2, chunks={"z": 1})

    for level in (0, 1):
        # It shows the plane in the middle.
        ours = opened(tmp_path / "image.zarr", level=level).isel(z=1).omezarr.to_rgb()
        theirs = rendered(script, tmp_path / "image.zarr", ours.shape[:2], level)
        assert theirs.max() > 200
        assert abs(ours.values - theirs).max() <= 1


def test_channels_that_are_not_active_are_left_out_by_both(script: Path, tmp_path: Path) -> None:
    array = image(3, "uint16", ["FF0000", "00FF00", "0000FF"])
    array = array.omezarr.assign_channels(active=[True, False, True])
    array.omezarr.to_zarr(tmp_path / "image.zarr", levels=1)

    ours = opened(tmp_path / "image.zarr").isel(z=1).omezarr.to_rgb()
    theirs = rendered(script, tmp_path / "image.zarr", ours.shape[:2])
    assert not theirs[..., 1].any()
    assert abs(ours.values - theirs).max() <= 1


def test_light_of_the_same_colour_is_the_sum_of_what_it_makes_of_each(
    script: Path, tmp_path: Path
) -> None:
    array = image(2, "uint16", ["FF8000", "FFFFFF"])
    parts = []
    for i in range(2):
        one = array.omezarr.assign_channels(active=[i == 0, i == 1])
        one.omezarr.to_zarr(tmp_path / f"{i}.zarr", levels=1)
        parts.append(rendered(script, tmp_path / f"{i}.zarr", (96, 80)))

    ours = array.isel(z=1).omezarr.to_rgb().values
    # Each of the two is within one.
    assert abs(ours - np.minimum(sum(parts), 255)).max() <= 2
