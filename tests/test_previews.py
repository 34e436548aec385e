from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import xarray_omezarr
from tests.helpers import WatchedStore, opened, opened_tree
from tests.picturing import channels, put_huge
from tests.servers import site
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.thumbnails import Looking, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.storage import MemoryStore


def decoded(content: bytes) -> Any:  # noqa: ANN401
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    return np.asarray(picture)


def test_it_is_the_picture_of_the_card_with_a_bar(tmp_path: Path) -> None:
    levels = put_huge(tmp_path / "huge", (3, 12800, 25600), "cyx", levels=3, extra=channels(3))
    assert levels[2] is not None
    content = xarray_omezarr.preview(tmp_path / "huge", tmp_path / "huge.png", size=800)
    assert (tmp_path / "huge.png").read_bytes() == content
    found = decoded(content)
    assert found.shape == (400, 800, 3)
    image = opened(tmp_path / "huge").image
    expected = thumbnail(image, Looking.at(image), 800).pixels
    assert expected.shape == (400, 800, 3)
    # All of it but the corner with the bar, and that is in a corner.
    differ = (found != expected).any(axis=-1)
    assert differ.any()
    assert not differ[:320].any()
    assert not differ[:, :500].any()
    # 2 mm of 12.8 mm.
    white = (found[320:] == 255).all(axis=-1)
    assert white.sum(axis=1).max() == pytest.approx(800 * 2000 / 12800, abs=1)
    assert image.omezarr.preview(size=800) == content


@pytest.mark.parametrize(
    ("scale", "size", "shape"),
    [((1.0, 1.0), 256, (192, 256)), ((2.0, 1.0), 300, (300, 200)), ((1.0, 1.0), 64, (48, 64))],
)
def test_its_size_and_proportions(
    scale: tuple[float, float], size: int, shape: tuple[int, int]
) -> None:
    image = xr.DataArray(np.arange(1200.0).reshape(30, 40), dims=("y", "x"))
    image = image.omezarr.assign_scale(y=scale[0], x=scale[1], units="micrometer")
    assert decoded(image.omezarr.preview(size=size)).shape == (*shape, 3)


def test_of_everything_that_is_open(tmp_path: Path) -> None:
    ds = samples.coins()
    ds.omezarr.to_zarr(tmp_path / "coins", levels=2)
    tree = opened_tree(tmp_path / "coins")
    same = {
        one.omezarr.preview(size=384)
        for one in (ds, ds.image, opened(tmp_path / "coins"), tree)
    }  # fmt: skip
    assert len(same) == 1
    plate = samples.plate()
    assert plate.omezarr.preview() == plate["A/1/0"].omezarr.preview()
    plate.omezarr.to_zarr(tmp_path / "plate")
    field = xarray_omezarr.preview(tmp_path / "plate", group="A/1/0")
    assert field == plate.omezarr.preview()


def test_it_takes_few_requests(tmp_path: Path, memory: MemoryStore) -> None:
    put_huge(memory, (131072, 131072))
    store = WatchedStore(memory)
    assert xarray_omezarr.preview(store)
    assert len(store.log.requests) <= 12
    put_huge(tmp_path / "huge", (131072, 131072))
    with site(tmp_path) as web:
        url = f"http://{web.url.removeprefix('http://')}/huge"
        assert xarray_omezarr.preview(url, storage_options={}) == xarray_omezarr.preview(
            tmp_path / "huge"
        )


def test_matplotlib_is_not_needed(tmp_path: Path) -> None:
    put_huge(tmp_path / "huge", (8192, 8192))
    code = (
        "import sys; sys.modules['matplotlib'] = None; import xarray_omezarr as o;"
        "o.preview(sys.argv[1], sys.argv[2])"
    )
    target = tmp_path / "huge.png"
    subprocess.run([sys.executable, "-c", code, tmp_path / "huge", target], check=True)
    assert decoded(target.read_bytes()).shape == (512, 512, 3)


@pytest.mark.parametrize("size", [15, 5000, 100.0, "100", None, True])
def test_sizes_that_are_none(size: Any) -> None:  # noqa: ANN401
    for call in (
        samples.coins().omezarr.preview,
        lambda size: xarray_omezarr.preview("a", size=size),
    ):
        with pytest.raises(OmeZarrError, match="expected the pixels along the longer side, 16 to"):
            call(size=size)


def test_what_there_is_no_picture_of(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="There is no picture of 'image': it is a graph of dask"):
        samples.coins().image.chunk().omezarr.preview()
    with pytest.raises(OmeZarrError, match="It is not clear which variable is the image"):
        xr.Dataset().omezarr.preview()
    put_huge(tmp_path / "huge", (262144, 262144), levels=1, chunks=(4096, 4096))
    with pytest.raises(OmeZarrError, match=rf"{tmp_path / 'huge'}: the chunks of level 0 are"):
        xarray_omezarr.preview(tmp_path / "huge", tmp_path / "huge.png")
    assert not (tmp_path / "huge.png").exists()
    samples.plate().omezarr.to_zarr(tmp_path / "plate")
    with pytest.raises(OmeZarrError, match="plate"):
        xarray_omezarr.preview(tmp_path / "plate")


def test_targets_that_are_none(tmp_path: Path) -> None:
    coins = samples.coins()
    for target, said in (
        (tmp_path / "none" / "a.png", f"there is no folder '{tmp_path / 'none'}'"),
        (tmp_path, f"'{tmp_path}' is a folder; expected a PNG file"),
        (tmp_path / "a.jpg", "a.jpg' would be a PNG file; expected a name that ends in .png"),
        (512, "target=512: expected the path of a PNG file; size= is by name"),
    ):
        with pytest.raises(OmeZarrError, match=said):
            coins.omezarr.preview(target)
        # What is wrong is told before anything is opened.
        with pytest.raises(OmeZarrError, match=said):
            xarray_omezarr.preview("not there", target)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "full.png"
    # Whoever runs this: root may write where others may not.
    target.symlink_to("/dev/full")
    with pytest.raises(OmeZarrError, match=rf"cannot be written to '{target}': No space left"):
        samples.coins().omezarr.preview(target)


def test_what_is_there_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    assert samples.coins().omezarr.preview(str(target)) == target.read_bytes()
