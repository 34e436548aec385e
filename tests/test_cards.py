"""Cards of images in a real browser: on pages as JupyterLab, Visual Studio Code and others have."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tests.browsing import CONTRASTS, chromium
from tests.helpers import opened, opened_tree
from xarray_omezarr import samples
from xarray_omezarr.cards import plate_map, safe
from xarray_omezarr.facts import PlateFacts
from xarray_omezarr.thumbnails import Looking, thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What pages have around a card: their colours, in the variables of their programs.
THEMES = {
    "jupyter light": "body{background:#fff;--jp-content-font-color1:rgba(0,0,0,.87);"
    "--jp-brand-color1:#1976d2}",
    "jupyter dark": "body{background:#111;--jp-content-font-color1:rgba(255,255,255,1);"
    "--jp-brand-color1:#2196f3}",
    "vscode light": "body{background:#fff;--vscode-foreground:#616161;"
    "--vscode-textLink-foreground:#006ab1}",
    "vscode dark": "body{background:#1e1e1e;--vscode-foreground:#cccccc;"
    "--vscode-textLink-foreground:#3794ff}",
    "plain": "",
    "plain dark": "body{background:#14181e;color:#ced6dd}",
}
#: What JupyterLab has for all tables in outputs.
JUPYTER = (
    ".jp-RenderedHTMLCommon table{border-collapse:collapse;table-layout:fixed;font-size:12px}"
    ".jp-RenderedHTMLCommon td,.jp-RenderedHTMLCommon th{text-align:right;padding:.5em}"
    ".jp-RenderedHTMLCommon tbody tr:nth-child(odd){background:#f5f5f5}"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give cards of all kinds, by what they are of."""
    folder = tmp_path_factory.mktemp("cards")
    shape = (2, 3, 4, 300, 400)
    ds = samples.fluorescence(shape, ("t", "c", "z", "y", "x"))
    ds.omezarr.to_zarr(folder / "image", levels=3)
    samples.plate().omezarr.to_zarr(folder / "plate")
    image = opened(folder / "image")
    narrow = xr.DataArray(np.zeros((2000, 100), np.uint8), dims=("y", "x"))
    objects = {
        "lazy": image,
        "tree": opened_tree(folder / "image"),
        "labels": samples.coins().omezarr.measure("coins", ["area", "centroid"]),
        "plate": opened_tree(folder / "plate"),
        "stack": opened(folder / "plate", stack="well"),
        "dask": image.chunk(),
        "off": image.omezarr.assign_channels(active=[True, False, True]),
        "narrow": narrow,
        "nothing": xr.Dataset(),
    }
    return {name: one.omezarr._repr_html_() for name, one in objects.items()}


def visit(browser: Any, folder: Path, css: str, body: str) -> None:  # noqa: ANN401
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><style>{css}{JUPYTER}</style>"
        f'<body><div class="jp-RenderedHTMLCommon">{body}</div></body>',
        encoding="utf-8",
    )
    browser.get(page.as_uri())


@pytest.mark.parametrize("theme", THEMES)
def test_all_parts_can_be_read(
    browser: Any,  # noqa: ANN401
    shown: dict[str, str],
    tmp_path: Path,
    theme: str,
) -> None:
    visit(browser, tmp_path, THEMES[theme], "".join(shown.values()))
    found = browser.execute_script(CONTRASTS)
    assert len(found) > 150
    faint = [one for one in found if one["contrast"] < 4.5]
    assert not faint
    small = [one for one in found if one["size"] < 9 or not (one["width"] and one["height"])]
    assert not small
    outside = [one for one in found if one["left"] < 0 or one["right"] > 1000]
    assert not outside
    assert browser.get_log("browser") == []
    # Nothing comes from anywhere else.
    entries = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert [name for name in browser.execute_script(entries) if not name.startswith("data:")] == []


def test_what_there_is_to_see(
    browser: Any,  # noqa: ANN401
    shown: dict[str, str],
    tmp_path: Path,
) -> None:
    visit(browser, tmp_path, THEMES["jupyter dark"], shown["lazy"])

    def one(selector: str) -> Any:  # noqa: ANN401
        (found,) = browser.find_elements("css selector", selector)
        assert found.is_displayed()
        return found

    assert one(".oz-name").text == "fluorescence"
    head = one(".oz-head").text.split("\n")
    assert {"OME-Zarr 0.5", "uint16", "not read yet"} <= set(head)
    picture = one(".oz-picture img")
    assert (picture.size["width"], picture.size["height"]) == (256, 192)
    assert browser.execute_script("return arguments[0].naturalWidth", picture) == 256
    bar = one(".oz-bar i")
    # 20 µm of 130.
    assert one(".oz-bar").text == "20 µm"
    assert bar.size["width"] == pytest.approx(256 * 20 / 130, abs=1)
    assert one("figcaption").text == "level 0 · t = 0 s · z = 2 µm · DAPI · GFP · RFP"
    rows = [row.text for row in browser.find_elements("css selector", ".oz-axes tbody tr")]
    assert rows[0] == "t 2 30 s 30 s 0 to 30 s 1"
    assert rows[4] == "x 400 0.325 µm 130 µm -0.1625 to 129.838 µm 400"
    levels = [row.text for row in browser.find_elements("css selector", ".oz-levels tbody tr")]
    assert levels[1].startswith("1 2 × 3 × 4 × 150 × 200 1.373 MiB")
    swatches = browser.find_elements("css selector", ".oz-swatch")
    colors = [one.value_of_css_property("background-color") for one in swatches]
    assert colors == ["rgba(0, 0, 255, 1)", "rgba(0, 255, 0, 1)", "rgba(255, 0, 0, 1)"]
    chips = [one.text for one in browser.find_elements("css selector", ".oz-channels li")]
    assert chips == ["DAPI 63 to 2047", "GFP 63 to 2047", "RFP 63 to 2047"]
    assert one(".oz-source").text.endswith("image")
    assert one(".oz-card").size["width"] > 700


def test_the_picture_is_the_one_that_was_made(
    browser: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    image = samples.astronaut().image[:, 100:292, 100:356].omezarr.assign_scale(y=1, x=1)
    visit(browser, tmp_path, "", image.omezarr._repr_html_())
    (picture,) = browser.find_elements("css selector", ".oz-picture")
    seen = np.asarray(Image.open(io.BytesIO(picture.screenshot_as_png)).convert("RGB"))
    expected = thumbnail(image, Looking.at(image)).pixels
    assert seen.shape == expected.shape
    # But for the scale bar, and for the corners, which are round.
    np.testing.assert_array_equal(seen[8:150, 8:-8], expected[8:150, 8:-8])


def test_labels_wells_and_what_is_off(
    browser: Any,  # noqa: ANN401
    shown: dict[str, str],
    tmp_path: Path,
) -> None:
    visit(browser, tmp_path, "", shown["labels"])
    (row,) = browser.find_elements("css selector", ".oz-labels tbody tr")
    assert row.text == "coins 22 int32 area, centroid_y, centroid_x"
    visit(browser, tmp_path, "", shown["off"])
    chips = [one.text for one in browser.find_elements("css selector", ".oz-channels li")]
    assert chips[1] == "GFP 63 to 2047 off"
    for kind in ("plate", "stack"):
        visit(browser, tmp_path, "", shown[kind])
        (wells,) = browser.find_elements("css selector", "svg.oz-plate")
        assert wells.is_displayed()
        assert wells.size["width"] > 60
        assert browser.find_element("css selector", ".oz-wells").text == "8 of 8 wells, 16 fields"
    visit(browser, tmp_path, "", shown["dask"])
    assert browser.find_elements("css selector", "img") == []
    (note,) = browser.find_elements("css selector", ".oz-notes li")
    assert note.text == "no picture: it is a graph of dask, which is not computed for a picture"


@pytest.mark.parametrize("width", [420, 600])
def test_narrow_pages(
    browser: Any,  # noqa: ANN401
    shown: dict[str, str],
    tmp_path: Path,
    width: int,
) -> None:
    css = f"body{{width:{width}px;margin:0}}"
    visit(browser, tmp_path, css, "".join(shown.values()))
    cards = browser.find_elements("css selector", ".oz-card")
    assert {card.size["width"] for card in cards} == {width}
    for picture in browser.find_elements("css selector", ".oz-picture"):
        assert picture.location["x"] + picture.size["width"] <= width


# ── as HTML ──────────────────────────────────────────────────────────────────────────────────────


def test_no_script_and_no_address(shown: dict[str, str]) -> None:
    for name, html in shown.items():
        lower = html.lower()
        for banned in (
            "<script",
            "javascript:",
            "http://",
            "https://",
            "onload=",
            "onerror=",
            "url(",
        ):
            assert banned not in lower, name
        assert lower.count("<div") == lower.count("</div"), name
        assert len(html) < 300_000, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>", "&lt;script&gt;"),
        ("a\"b'c&d", "a&quot;b&#x27;c&amp;d"),
        ("a\x00\x1b[31m\u202eb", r"a\x00\x1b[31m\u202eb"),
        ("x" * 300, "x" * 199 + "…"),
        (3, "3"),
    ],
)
def test_text_from_files(text: object, expected: str) -> None:
    assert safe(text) == expected


@pytest.mark.parametrize(
    ("rows", "columns", "drawn"), [(8, 12, True), (32, 48, True), (3, 2000, False), (0, 0, False)]
)
def test_plates_of_all_sizes(rows: int, columns: int, *, drawn: bool) -> None:
    names = tuple(map(str, range(rows))), tuple(map(str, range(columns)))
    wells = frozenset((row, column) for row in names[0][1:] for column in names[1])
    html = plate_map(PlateFacts(*names, wells, len(wells), 2))
    assert ("<svg" in html) is drawn
    assert f"{len(wells):,} of {rows * columns:,} wells" in html
    assert "2 acquisitions" in html
    if drawn:
        assert html.count("M") == rows * columns
        assert html.partition('class="oz-gone"')[2].count("M") == columns
