"""Images and labels drawn by Matplotlib: which pixels are where, and what is said of them.

A picture is drawn for real, and looked at where the coordinates say that something is.
"""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from zarr.storage import LocalStore

from tests.helpers import WatchedStore, image, level_array, opened, opened_tree, put_sample
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples, views

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.offsetbox import TextArea
    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def _drawn_in_memory() -> Iterator[None]:
    before = mpl.get_backend()
    mpl.use("Agg")
    plt.close("all")  # examples leave theirs open
    with mpl.rc_context({"figure.dpi": 100}):
        yield
    plt.close("all")
    mpl.use(before)


def seen(ax: Axes, x: float, y: float) -> tuple[int, ...]:
    """Tell the colour on the canvas at a position of the data."""
    canvas: Any = ax.figure.canvas
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    right, up = ax.transData.transform((x, y))
    return tuple(pixels[round(pixels.shape[0] - 1 - up), round(right), :3].tolist())


def spot(where: dict[str, int], **scale: float) -> xr.Dataset:
    """Make a dark image with one bright pixel."""
    pixels = np.zeros((4, 6), np.uint8)
    pixels[where["y"], where["x"]] = 255
    ds = xr.Dataset({"image": (("y", "x"), pixels)})
    ds = ds.omezarr.assign_channels(windows=[(0, 255)])
    placed: xr.Dataset = ds.omezarr.assign_scale(
        scale, translation={"y": 10, "x": -20}, units="micrometer"
    )
    return placed


# ── where pixels are ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("x", [2.0, -2.0])
@pytest.mark.parametrize("y", [0.5, -0.5])
def test_a_pixel_is_drawn_where_its_coordinates_are(x: float, y: float) -> None:
    ds = spot({"y": 1, "x": 4}, x=x, y=y)
    drawn = ds.omezarr.plot(scale_bar=False)
    right, down = ds.x[4].item(), ds.y[1].item()
    assert seen(drawn.axes, right, down) == (255, 255, 255)
    for aside in (right - 1.2, right + 1.2):
        assert seen(drawn.axes, aside, down) == (0, 0, 0)
    for aside in (down - 0.3, down + 0.3):
        assert seen(drawn.axes, right, aside) == (0, 0, 0)
    # Half a pixel beyond the centres; to the right and down, whatever the order of pixels is.
    first, last = sorted((ds.x[0].item(), ds.x[-1].item()))
    top, bottom = sorted((ds.y[0].item(), ds.y[-1].item()))
    assert drawn.get_extent() == [first - 1, last + 1, bottom + 0.25, top - 0.25]
    assert drawn.axes.get_xlim() == (first - 1, last + 1)
    assert drawn.axes.get_ylim() == (bottom + 0.25, top - 0.25)
    # Pixels are oblong: twelve units are six times as long as two.
    assert drawn.axes.get_aspect() == 1


def test_the_size_of_a_single_pixel() -> None:
    ds = spot({"y": 1, "x": 4}, x=2.0, y=0.5).isel(x=[4], y=[1])
    assert ds.omezarr.plot().get_extent() == [-13, -11, 10.75, 10.25]


def test_axes_have_names_and_units() -> None:
    ax = samples.coins().omezarr.plot().axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x [µm]", "y [µm]")
    assert ax.get_title() == ""
    ax = image((1, 20, 30), "zyx").drop_vars(["y", "x"]).omezarr.plot(ax=plt.figure().gca()).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x [pixel]", "y [pixel]")
    assert ax.get_title() == "z = 0 µm"


def test_sides_of_unlike_units_are_not_to_scale() -> None:
    ds = samples.coins().omezarr.assign_scale(units={"y": "nanometer"})
    assert ds.omezarr.plot().axes.get_aspect() == "auto"


def test_a_plane_of_other_axes() -> None:
    ds = samples.fluorescence((5, 8, 9), "zyx").isel(y=3)
    ax = ds.omezarr.plot().axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x [µm]", "z [µm]")
    assert ax.get_title() == "y = 0.975 µm"
    assert ax.images[0].get_extent()[2:] == [4.5, -0.5]


def test_a_transposed_image_is_the_same_one() -> None:
    ds = samples.fluorescence((2, 3, 20, 30), "czyx")
    expected = drawn_pixels(ds.omezarr.plot())
    drawn = ds.transpose("x", "y", "c", "z").omezarr.plot(ax=plt.figure().gca())
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    assert drawn.axes.get_xlabel() == "x [µm]"


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────


def drawn_pixels(drawn: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - an AxesImage
    pixels: NDArray[np.uint8] = np.asarray(drawn.get_array())[..., :3]
    return pixels


def test_pixels_are_those_of_to_rgb() -> None:
    ds = samples.fluorescence((3, 2, 4, 30, 40))
    arguments: dict[str, Any] = {"windows": (0, 900), "colors": ["red", "cyan"]}
    expected = ds.omezarr.to_rgb(**arguments)
    drawn = ds.omezarr.plot(**arguments)
    # The first time, and the middle of the stack.
    np.testing.assert_array_equal(drawn_pixels(drawn), expected.isel(t=0, z=2))
    assert drawn.axes.get_title() == "t = 0 s, z = 2 µm"
    drawn = ds.isel(t=2).sel(z=1).omezarr.plot(**arguments)
    np.testing.assert_array_equal(drawn_pixels(drawn), expected.isel(t=2, z=1))
    assert drawn.axes.get_title() == "t = 60 s, z = 1 µm"
    drawn = ds.isel(t=1).omezarr.plot(project={"z": "max"}, **arguments)
    projected = ds.omezarr.to_rgb(project={"z": "max"}, **arguments)
    np.testing.assert_array_equal(drawn_pixels(drawn), projected.isel(t=1))
    assert drawn.axes.get_title() == "t = 30 s, max over z"


@pytest.mark.parametrize("overlay", ["outlines", "filled"])
def test_labels_over_the_image(overlay: Any) -> None:  # noqa: ANN401
    ds = samples.astronaut().omezarr.color_labels("circles", {1: "#FF0000", 2: "#00FF0080"})
    drawn = ds.omezarr.plot(labels="circles", overlay=overlay)
    expected = ds.omezarr.to_rgb(labels="circles", overlay=overlay)
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    assert (drawn_pixels(drawn) != ds.omezarr.to_rgb()).any()


def test_a_stack_from_the_side() -> None:
    ds = samples.fluorescence((2, 4, 20, 30), "czyx")
    drawn = ds.omezarr.plot(project={"y": "max"})
    np.testing.assert_array_equal(drawn_pixels(drawn), ds.omezarr.to_rgb(project={"y": "max"}))
    assert (drawn.axes.get_xlabel(), drawn.axes.get_ylabel()) == ("x [µm]", "z [µm]")


def test_an_image_of_another_name() -> None:
    ds = samples.coins().rename(image="pixels", coins="cells")
    drawn = ds.omezarr.plot(labels="cells")
    assert drawn_pixels(drawn).shape == (303, 384, 3)


def test_windows_are_those_of_the_whole_image() -> None:
    ds = image((3, 30, 40), "zyx", dtype="float32")
    ds["image"][0] /= 1000
    expected = ds.omezarr.to_rgb().isel(z=0)
    np.testing.assert_array_equal(drawn_pixels(ds.omezarr.plot(col="z").axs[0, 0].images[0]),
                                  expected)  # fmt: skip


# ── which level ──────────────────────────────────────────────────────────────────────────────────


def laid_down(tmp_path: Path, *, labels: bool = False) -> None:
    """Write an image of three levels, of 640, 320 and 160 pixels."""
    ds = samples.fluorescence((2, 480, 640), "cyx")
    if labels:
        cells = (ds.image.isel(c=1) > 600).astype("int32").drop_vars(["c", *_settings(ds)])
        cells.encoding["omezarr"] = {"kind": "label"}
        ds["cells"] = cells
    ds.omezarr.to_zarr(tmp_path, levels=[{"y": 2, "x": 2}, {"y": 4, "x": 4}], chunks=64)


def _settings(ds: xr.Dataset) -> list[str]:
    return [str(name) for name in ds.coords if str(name).startswith("c_")]


@pytest.mark.parametrize(("inches", "level"), [(1.5, 2), (3.0, 1), (8.0, 0)])
def test_the_coarsest_level_that_fills_the_screen(
    tmp_path: Path, inches: float, level: int
) -> None:
    laid_down(tmp_path)
    ax = plt.figure(figsize=(inches, inches)).add_axes((0, 0, 1, 1))
    store = WatchedStore(LocalStore(tmp_path))
    ds = opened(store)
    store.log.clear()
    drawn = ds.omezarr.plot(ax=ax)
    # What is drawn to scale is as wide as the axes, and less high.
    assert drawn_pixels(drawn).shape[1] == 640 / 2**level
    expected = opened(tmp_path, level=level).omezarr.to_rgb()
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    assert drawn.get_extent() == pytest.approx([-0.1625, 207.8375, 155.8375, -0.1625])
    chunks = [key for key in store.log.keys("get") if "/c/" in key]
    assert {key[0] for key in chunks} == {str(level)}


def test_a_selection_from_a_lazy_image(tmp_path: Path) -> None:
    laid_down(tmp_path)
    ds = opened(tmp_path).isel(x=slice(320, 640), y=slice(None, 240))
    ax = plt.figure(figsize=(0.8, 0.8)).add_axes((0, 0, 1, 1))
    drawn = ds.omezarr.plot(ax=ax, windows=(0, 900))
    expected = opened(tmp_path, level=2).isel(x=slice(80, 160), y=slice(None, 60))
    np.testing.assert_array_equal(drawn_pixels(drawn), expected.omezarr.to_rgb(windows=(0, 900)))
    assert drawn.get_extent() == pytest.approx([103.8375, 207.8375, 77.8375, -0.1625])


def test_a_level_that_is_asked_for(tmp_path: Path) -> None:
    laid_down(tmp_path)
    ds = opened(tmp_path)
    assert drawn_pixels(ds.omezarr.plot(level=-1)).shape == (120, 160, 3)
    assert drawn_pixels(ds.omezarr.plot(level=0)).shape == (480, 640, 3)
    with pytest.raises(OmeZarrError, match=r"level=1: .* xr.open_dataset\(…, level=1\)"):
        ds.compute().omezarr.plot(level=1)
    with pytest.raises(OmeZarrError, match="has no level 3; there are 3"):
        ds.omezarr.plot(level=3)


def test_labels_come_from_the_level_of_the_image(tmp_path: Path) -> None:
    laid_down(tmp_path, labels=True)
    store = WatchedStore(LocalStore(tmp_path))
    ds = opened(store, labels=True)
    store.log.clear()
    drawn = ds.omezarr.plot(labels="cells", level=2)
    coarse = opened(tmp_path, labels=True, level=2)
    expected = coarse.omezarr.to_rgb(labels="cells", overlay="outlines")
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    chunks = {key.partition("/c/")[0] for key in store.log.keys("get") if "/c/" in key}
    assert chunks == {"2", "labels/cells/2"}


def test_labels_in_memory_over_a_coarse_level(tmp_path: Path) -> None:
    laid_down(tmp_path, labels=True)
    ds = opened(tmp_path, labels=True)
    ds["cells"].load()
    drawn = ds.omezarr.plot(labels="cells", overlay="filled", level=2)
    coarse = opened(tmp_path, level=2)
    # The nearest of each four by four pixels; of two that are equally near, the first.
    coarse["cells"] = (("y", "x"), ds.cells.values[1::4, 1::4])
    expected = coarse.omezarr.to_rgb(labels="cells")
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)


def test_a_level_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="cyx")
    ds = opened(str(tmp_path))
    (tmp_path / "s5" / "zarr.json").unlink()
    ax = plt.figure(figsize=(0.1, 0.1)).add_axes((0, 0, 1, 1))
    with pytest.warns(OmeZarrWarning, match="A finer level is drawn"):
        drawn = ds.omezarr.plot(ax=ax)
    assert drawn_pixels(drawn).shape == (20, 24, 3)


def test_no_more_pixels_than_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_PIXELS", 100)
    ds = image((400, 600))
    ax = plt.figure(figsize=(0.5, 0.5)).add_axes((0, 0, 1, 1))
    drawn = ds.omezarr.plot(ax=ax, windows=(0, 2**15))
    # At most four times those of the screen: every fifth.
    expected = ds.isel(y=slice(2, None, 5), x=slice(2, None, 5)).omezarr.to_rgb(windows=(0, 2**15))
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    assert drawn.get_extent() == [-0.25, 299.75, 199.75, -0.25]


def test_of_a_side_of_few_pixels_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_PIXELS", 4)
    ds = samples.coins().isel(y=slice(4, 6))
    view = views.view_of(ds, "image", plane=("y", "x"), screen=(1, 1))
    assert view.ds.y.values.tolist() == [ds.y[0].item()]
    assert view.y.length == pytest.approx(2 * 0.65)


def test_much_that_is_read_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_down(tmp_path)
    monkeypatch.setattr(views, "MOST_BYTES", 2**20)
    with pytest.warns(OmeZarrWarning, match=r"0.0 GiB of 'image' are read for a picture. .*level="):
        opened(tmp_path, chunks={}).omezarr.plot()
    opened(tmp_path).omezarr.plot(figsize=(3, 3))


# ── several pictures ─────────────────────────────────────────────────────────────────────────────


def titles(grid: Any) -> list[str]:  # noqa: ANN401 - a FacetGrid
    return [ax.get_title() for ax in grid.axs.flat]


def test_a_picture_for_each_time() -> None:
    ds = samples.fluorescence((3, 2, 20, 30), "tcyx")
    grid = ds.omezarr.plot(col="t", col_wrap=2)
    assert grid.axs.shape == (2, 2)
    assert titles(grid)[:3] == ["t = 0 s", "t = 30 s", "t = 60 s"]
    for t, ax in enumerate(grid.axs.flat[:3]):
        np.testing.assert_array_equal(drawn_pixels(ax.images[0]), ds.omezarr.to_rgb().isel(t=t))
        assert ax.images[0].get_extent() == [-0.1625, 9.5875, 6.3375, -0.1625]
    assert not grid.axs[1, 1].images


def test_a_picture_for_each_channel_in_its_colour() -> None:
    ds = samples.fluorescence((2, 3, 20, 30), "tcyx")
    grid = ds.omezarr.plot(row="c", col="t", channels=["RFP", "DAPI"], windows={"RFP": (0, 500)})
    assert grid.axs.shape == (2, 2)
    expected = ds.isel(t=1).omezarr.to_rgb(channels="RFP", windows=(0, 500))
    np.testing.assert_array_equal(drawn_pixels(grid.axs[0, 1].images[0]), expected)
    expected = ds.isel(t=0).omezarr.to_rgb(channels="DAPI")
    np.testing.assert_array_equal(drawn_pixels(grid.axs[1, 0].images[0]), expected)
    assert [label.get_text() for label in grid.row_labels] == ["c = RFP", "c = DAPI"]
    assert [label.get_text() for label in grid.col_labels] == ["t = 0 s", "t = 30 s"]
    # They say which is which, so that nothing else has to.
    assert all(ax.get_legend() is None for ax in grid.axs.flat)


def test_channels_without_names() -> None:
    ds = image((2, 20, 30), "cyx").drop_vars("c")
    assert titles(ds.omezarr.plot(col="c")) == ["c = 0", "c = 1"]


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    """Write two wells of two fields."""
    samples.plate(rows=1, columns=2).omezarr.to_zarr(tmp_path / "plate", levels=1)
    return tmp_path / "plate"


def test_a_picture_for_each_well(screen: Path) -> None:
    stack = opened(screen, stack="well", labels=True)
    grid = stack.omezarr.plot(col="well", labels="nuclei")
    assert titles(grid) == ["well = A/1", "well = A/2"]
    field = opened(screen, group="A/2/0", labels=True)
    expected = field.omezarr.to_rgb(labels="nuclei", overlay="outlines")
    np.testing.assert_array_equal(drawn_pixels(grid.axs[0, 1].images[0]), expected)
    assert grid.fig.get_suptitle() == "field = 0"


def test_pictures_on_the_grid_of_a_plate(screen: Path) -> None:
    stack = opened(screen, stack=("row", "column"))
    grid = stack.isel(field=1).omezarr.plot(row="row", col="column")
    assert grid.axs.shape == (1, 2)
    expected = opened(screen, group="A/2/1").omezarr.to_rgb()
    np.testing.assert_array_equal(drawn_pixels(grid.axs[0, 1].images[0]), expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"col": "x"}, "col='x': there can be one picture for each position along t, c, each"),
        ({"row": "q"}, "row='q': there can be one"),
        ({"row": "t", "col": "t"}, "each named once"),
        ({"row": "t", "col_wrap": 2}, "col_wrap=2 says how many pictures of col="),
        ({"labels": "cells"}, "There is no label image 'cells'"),
        ({"channels": "Cy7"}, "there is no channel 'Cy7'"),
        ({"project": {"t": "median"}}, "median"),
        ({"project": {"y": "max"}}, "a picture needs two of space"),
        ({"project": {"c": "max"}}, "project={'c'"),
        ({"project": {"t": "max"}, "col": "t"}, "col='t': .* along c, each"),
        ({"project": "max"}, "project='max': expected how dimensions are brought down"),
        ({"ax": np.array([None, None])}, r"ax=an array of several: expected one .*, like ax\[0\]"),
        ({"ax": 5}, "ax=5: expected one of Matplotlib's Axes"),
        ({"col": "t", "col_wrap": 0}, "col_wrap=0: expected a number of pictures, 1 or more"),
        ({"col": "t", "col_wrap": "2"}, "col_wrap='2': expected a number"),
        ({"col": "t", "figsize": 4}, "figsize=4: expected the width and the height"),
        ({"figsize": "big"}, "figsize='big': expected the width"),
    ],
    ids=[
        "drawn",
        "unknown",
        "twice",
        "wrap",
        "label",
        "channel",
        "how",
        "plane",
        "colours",
        "facets",
        "text",
        "axes",
        "number",
        "wrap-0",
        "wrap-text",
        "size",
        "size-text",
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, Any], said: str) -> None:
    ds = samples.fluorescence((3, 2, 20, 30), "tcyx")
    with pytest.raises(OmeZarrError, match=said):
        ds.omezarr.plot(**arguments)
    assert not plt.get_fignums()


def test_axes_are_for_one_picture() -> None:
    ds = samples.fluorescence((3, 2, 20, 30), "tcyx")
    with pytest.raises(OmeZarrError, match="ax= takes one picture"):
        ds.omezarr.plot(col="t", ax=plt.gca())


def test_what_has_no_plane() -> None:
    with pytest.raises(OmeZarrError, match="'image' has the dimensions y; a picture needs two"):
        samples.coins().isel(x=0).omezarr.plot()


def test_matplotlib_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for draw in (
        samples.coins().omezarr.plot,
        lambda: samples.coins().omezarr.plot_labels("coins"),
    ):
        with pytest.raises(OmeZarrError, match=r'pip install "xarray-omezarr\[plot\]"'):
            draw()


# ── beside the pixels ────────────────────────────────────────────────────────────────────────────


def bar_of(ax: Axes) -> tuple[str, float]:
    """Give the text and the length of a scale bar."""
    found: list[Any] = [artist for artist in ax.artists if hasattr(artist, "size_bar")]
    (box,) = found
    text: TextArea = box.txt_label
    (rectangle,) = box.size_bar.get_children()
    return text.get_text(), rectangle.get_width()


def test_a_scale_bar() -> None:
    # 249.6 µm are shown; a bar takes three tenths at the most.
    ax = samples.coins().omezarr.plot().axes
    assert bar_of(ax) == ("50 µm", 50)
    wide = samples.coins().omezarr.assign_scale(x=100.0)
    assert bar_of(wide.omezarr.plot(ax=plt.figure().gca()).axes) == ("10 mm", 10_000)
    bare = samples.coins().drop_vars(["y", "x"])
    assert bar_of(bare.omezarr.plot(ax=plt.figure().gca()).axes) == ("100 px", 100)
    ax = samples.coins().omezarr.plot(ax=plt.figure().gca(), scale_bar=False).axes
    assert not ax.artists


def test_channels_are_named_in_their_colours() -> None:
    ds = samples.fluorescence((3, 20, 30), "cyx")
    legend = ds.omezarr.plot(channels=["RFP", "DAPI"]).axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["RFP", "DAPI"]
    shown = [f"#{ds.c_color.sel(c=c).item()}" for c in ("RFP", "DAPI")]
    assert [patch.get_facecolor()[:3] for patch in legend.get_patches()] == [
        to_rgb(color) for color in shown
    ]
    for text in legend.get_texts():
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in to_rgb(text.get_color())
        ]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 >= 4.5
    ax = ds.omezarr.plot(ax=plt.figure().gca(), channel_names=False).axes
    assert ax.get_legend() is None
    assert samples.coins().omezarr.plot(ax=plt.figure().gca()).axes.get_legend() is None


#: Between dollar signs, Matplotlib would find a formula, and that it is broken.
FORMULA = "$\\frac$"


@pytest.mark.filterwarnings("ignore:The unit of")
@pytest.mark.parametrize(
    "arguments", [{}, {"col": "c"}, {"row": "c"}, {"row": "c", "col": "t"}], ids=range(4)
)
def test_names_are_no_formulas(arguments: dict[str, str]) -> None:
    ds = samples.fluorescence((2, 2, 20, 30), "tcyx")
    ds = ds.omezarr.assign_channels([FORMULA, "$a$"])
    for dim in ("y", "x"):
        ds[dim].attrs["units"] = FORMULA
    if "t" not in arguments.values():
        ds = ds.isel(t=0).assign_coords(t=FORMULA)
    drawn = ds.omezarr.plot(**arguments)
    figure = drawn.axes.figure if not arguments else drawn.fig
    figure.canvas.draw()
    assert any(FORMULA in text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("by", ["kind", "area"])
def test_names_of_properties_are_no_formulas(by: str) -> None:
    ds = samples.coins().omezarr.measure("coins", "area")
    ds = ds.assign(coins_kind=("coins_id", np.array([FORMULA, "$b$"] * 11, object)))
    ds.coins_area.attrs.update(units=FORMULA)
    drawn = ds.omezarr.plot_labels("coins", by=by)
    drawn.axes.figure.canvas.draw()


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def test_labels_by_a_number() -> None:
    ds = samples.coins().omezarr.measure("coins", ["area"])
    drawn = ds.omezarr.plot_labels("coins", by="coins_area")
    values = drawn.get_array()
    expected = ds.omezarr.paint("coins_area").values
    np.testing.assert_array_equal(values.filled(np.nan), expected)
    assert drawn.get_clim() == (ds.coins_area.min(), ds.coins_area.max())
    assert drawn.get_cmap().name == "viridis"
    assert drawn.colorbar.ax.get_ylabel() == "coins_area [µm²]"
    # Background is left as it is.
    assert seen(drawn.axes, 40.0, 20.0) == (255, 255, 255)
    assert bar_of(drawn.axes) == ("50 µm", 50)


def test_a_part_of_an_image_has_the_colours_of_the_whole() -> None:
    ds = samples.coins().omezarr.measure("coins", "area")
    part = ds.isel(x=slice(50), y=slice(120, None))
    drawn = part.omezarr.plot_labels("coins", by="area", vmin=0, cmap="magma", alpha=0.5)
    assert drawn.get_clim() == (0, ds.coins_area.max())
    assert (drawn.get_cmap().name, drawn.get_alpha()) == ("magma", 0.5)


def test_labels_by_a_category() -> None:
    kinds = np.array(["obol", "drachma"] * 11, object)
    kinds[4] = None
    ds = samples.coins().omezarr.measure("coins", "count")
    ds = ds.assign(coins_kind=("coins_id", kinds))
    drawn = ds.omezarr.plot_labels("coins", by="kind")
    ticks = [text.get_text() for text in drawn.colorbar.ax.get_yticklabels()]
    assert ticks == ["drachma", "obol"]
    assert drawn.colorbar.ax.get_ylabel() == "coins_kind"
    first, second = (to_rgb(color) for color in mpl.color_sequences["tab10"][:2])
    ax = drawn.axes
    centres = ds.omezarr.measure("coins", "centroid")
    for label, color in ((1, second), (2, first), (5, (1.0, 1.0, 1.0))):
        at = centres.sel(coins_id=label)
        found = seen(ax, at.coins_centroid_x.item(), at.coins_centroid_y.item())
        assert found == tuple(round(255 * part) for part in color)


def test_labels_by_a_flag() -> None:
    ds = samples.coins().omezarr.measure("coins", "count")
    ds["coins_large"] = ds.coins_count > 2000
    drawn = ds.omezarr.plot_labels("coins", by="coins_large", cmap="viridis")
    ticks = [text.get_text() for text in drawn.colorbar.ax.get_yticklabels()]
    assert ticks == ["False", "True"]
    assert set(np.unique(drawn.get_array().compressed())) == {0.0, 1.0}


def test_labels_in_their_colours() -> None:
    ds = samples.astronaut().omezarr.color_labels("circles", {1: "#FF0000", 2: "#00FF0080"})
    pixels = np.asarray(ds.omezarr.plot_labels("circles").get_array())
    labels = ds.circles.values
    assert (pixels[labels == 1] == [255, 0, 0, 255]).all()
    assert (pixels[labels == 2] == [0, 255, 0, 128]).all()
    assert (pixels[labels == 0][:, 3] == 0).all()


def test_labels_over_the_axes_of_the_image() -> None:
    ds = samples.coins().omezarr.measure("coins", "area")
    below = ds.omezarr.plot(scale_bar=False)
    above = ds.omezarr.plot_labels("coins", by="area", alpha=0.4, ax=below.axes)
    assert above.axes is below.axes
    assert above.get_extent() == below.get_extent()
    assert below.axes.get_ylim() == (below.get_extent()[2], below.get_extent()[3])


def test_labels_of_a_lazy_image(tmp_path: Path) -> None:
    laid_down(tmp_path, labels=True)
    ds = opened(tmp_path, labels=True).omezarr.measure("cells", "area")
    ax = plt.figure(figsize=(1.5, 1.5)).add_axes((0, 0, 1, 1))
    drawn = ds.omezarr.plot_labels("cells", by="area", ax=ax)
    expected = np.asarray(level_array(str(tmp_path), 2, "labels/cells")[0]) > 0
    np.testing.assert_array_equal(~np.ma.getmaskarray(drawn.get_array()), expected)


def test_labels_of_wells_share_one_scale(screen: Path) -> None:
    stack = opened(screen, stack="well", labels=True).isel(field=0)
    ids = np.arange(1, 26)
    stack = stack.assign(nuclei_rank=("nuclei_id", ids * 2)).assign_coords(nuclei_id=ids)
    grid = stack.omezarr.plot_labels("nuclei", by="rank", col="well")
    assert [ax.images[0].get_clim() for ax in grid.axs.flat] == [(2, 50), (2, 50)]
    assert grid.cbar.ax.get_ylabel() == "nuclei_rank"
    second = grid.axs[0, 1].images[0].get_array()
    np.testing.assert_array_equal(
        second.filled(0), stack.nuclei.isel(well=1).values.reshape(128, 128) * 2
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"label": "cells"}, "There is no label image 'cells' in this Dataset; there are: coins"),
        ({"label": "coins", "by": "size"}, "by='size' is no property of 'coins'; there are: none"),
        ({"label": "coins", "cmap": "magma"}, "name it by by="),
    ],
    ids=["label", "property", "colormap"],
)
def test_labels_that_cannot_be_drawn(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(OmeZarrError, match=said):
        samples.coins().omezarr.plot_labels(**arguments)


def test_limits_that_are_no_numbers() -> None:
    coins = samples.coins().omezarr.measure("coins", "area")
    with pytest.raises(OmeZarrError, match="vmax='9': expected a number, of the values of 'coins_"):
        coins.omezarr.plot_labels("coins", by="area", vmin=0, vmax="9")


# ── levels of a tree, and labels on them ─────────────────────────────────────────────────────────


def test_a_tree_is_drawn_as_its_image_is(tmp_path: Path) -> None:
    laid_down(tmp_path, labels=True)
    ds, tree = opened(tmp_path, labels=True), opened_tree(tmp_path)
    for arguments in ({}, {"labels": "cells"}, {"level": 2}, {"figsize": (1.0, 1.0)}):
        expected = drawn_pixels(ds.omezarr.plot(**arguments))
        np.testing.assert_array_equal(drawn_pixels(tree.omezarr.plot(**arguments)), expected)
        plt.close("all")


def test_levels_of_a_tree_in_memory_are_those_that_are_drawn(tmp_path: Path) -> None:
    laid_down(tmp_path, labels=True)
    tree = opened_tree(tmp_path).load()
    assert drawn_pixels(tree.omezarr.plot(figsize=(1, 1), labels="cells")).shape == (120, 160, 3)
    crop = tree.omezarr.sel(x=slice(0, 100), y=slice(0, 100))
    extent = crop.omezarr.plot(figsize=(1, 1)).get_extent()
    np.testing.assert_allclose(extent, (-0.5, 100, 100, -0.5), atol=4)
    with pytest.raises(OmeZarrError, match="There is no label image 'none' in this Dataset"):
        tree.omezarr.plot(labels="none")
    with pytest.raises(OmeZarrError, match="has no level 7; there are 3"):
        tree.omezarr.plot(level=7)
    del tree["labels/cells"]["0"]
    drawn = tree.omezarr.plot(labels="cells", figsize=(5, 5))
    # Finer ones have no labels on their pixels.
    assert drawn_pixels(drawn).shape == (240, 320, 3)


def test_of_several_images_one_has_to_be_taken(screen: Path) -> None:
    tree = opened_tree(screen)
    with pytest.raises(OmeZarrError, match=r"Take one of them, like tree\['A/1/0'\].omezarr.plot"):
        tree.omezarr.plot()
    assert tree["A/1/0"].omezarr.plot().axes.get_xlabel()


def test_levels_that_say_nothing_of_their_size_are_not_taken_for_coarse(tmp_path: Path) -> None:
    pixels = np.zeros((1200, 1200), "uint8")
    xr.Dataset({"image": (("y", "x"), pixels)}).omezarr.to_zarr(tmp_path, version="0.4", levels=4)
    attributes = json.loads((tmp_path / ".zattrs").read_text())
    (image,) = attributes["multiscales"]
    image |= {"version": "0.3", "axes": ["y", "x"]}
    for level in image["datasets"]:
        del level["coordinateTransformations"]
    (tmp_path / ".zattrs").write_text(json.dumps(attributes))
    for one in (opened(tmp_path), opened_tree(tmp_path), opened_tree(tmp_path).load()):
        assert one.omezarr.plot(figsize=(1, 1)).get_extent() == [-0.5, 1199.5, 1199.5, -0.5]


@pytest.mark.parametrize("dim", ["y", "x"])
def test_labels_that_lack_a_dimension_hold_for_all_of_it(tmp_path: Path, dim: str) -> None:
    laid_down(tmp_path)
    ds = opened(tmp_path)
    stripes = (np.arange(ds.sizes[dim]) // 40).astype("int32")
    ds = ds.assign(stripes=((dim,), stripes))
    expected = ds.omezarr.to_rgb(labels="stripes", overlay="outlines")
    drawn = ds.omezarr.plot(labels="stripes", level=0)
    np.testing.assert_array_equal(drawn_pixels(drawn), expected)
    assert drawn_pixels(ds.omezarr.plot(labels="stripes", level=2)).shape == (120, 160, 3)


@pytest.mark.parametrize("dim", ["t", "c", "z", "y"])
def test_what_has_no_pixels_is_not_drawn(dim: str) -> None:
    ds = samples.fluorescence((2, 2, 3, 16, 16)).isel({dim: slice(0)})
    with pytest.raises(OmeZarrError, match=rf"'image' has no pixels along {dim}: .* Select"):
        ds.omezarr.plot()


def test_pictures_that_nothing_tells_apart_are_not_drawn() -> None:
    ds = samples.fluorescence((2, 16, 16), "cyx").drop_vars("c_color")
    with pytest.raises(OmeZarrError, match=r"'c': some .* more than once, .*drop_vars\('c'\)"):
        ds.assign_coords(c=["DAPI", "DAPI"]).omezarr.plot(col="c")


def test_a_list_of_labels_has_one_at_the_most() -> None:
    ds = samples.coins()
    shown = {n: drawn_pixels(ds.omezarr.plot(labels=["coins"] * n)) for n in (0, 1)}
    np.testing.assert_array_equal(shown[0], drawn_pixels(ds.omezarr.plot()))
    np.testing.assert_array_equal(shown[1], drawn_pixels(ds.omezarr.plot(labels="coins")))
    with pytest.raises(OmeZarrError, match="one label image is laid over a picture"):
        ds.omezarr.plot(labels=["coins", "others"])
