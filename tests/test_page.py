"""Pages in a real browser: what they ask for, what they show, and whether all can read it."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tests.browsing import CONTRASTS, chromium
from tests.helpers import document_of, opened, put_document
from tests.pictures import by_hand
from xarray_omezarr import samples
from xarray_omezarr.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xarray_omezarr.serving import Server

SHAPE = (2, 3, 4, 120, 160)
COLORS = ("0000FF", "00FF00", "FF0000")
WINDOWS = ((0.0, 3000.0), (100.0, 2000.0), (0.0, 4000.0))

#: Gives the pixels of the layers of a drawing, as the browser has decoded them.
DECODED = """
const done = arguments[arguments.length - 1];
Promise.all([...document.querySelectorAll('.drawing image')].map(async one => {
    const picture = new Image();  // the page may fetch nothing
    picture.src = one.getAttribute('href');
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext('2d');
    context.drawImage(picture, 0, 0);
    const data = context.getImageData(0, 0, picture.width, picture.height).data;
    return [picture.height, picture.width, [...data]];
})).then(done, error => done(String(error)));
"""
#: Says whether all pictures have come.
LOADED = """
return [...document.querySelectorAll('img')].every(one => one.complete && one.naturalWidth > 0);
"""


def pixels_of(path: str) -> Any:  # noqa: ANN401 - an image of many axes
    rng = np.random.default_rng(len(path))
    return rng.integers(0, 4000, SHAPE).astype("uint16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    pixels = pixels_of("image")
    ds = xr.Dataset({"image": (("t", "c", "z", "y", "x"), pixels)}, attrs={"name": "cells"})
    ds["nuclei"] = ("y", "x"), np.arange(120 * 160).reshape(120, 160) // 4000
    ds = ds.omezarr.assign_scale(t=30.0, z=1.0, y=0.5, x=0.5, units="micrometer")
    ds = ds.omezarr.assign_channels(["DAPI", "GFP", "RFP"], colors=list(COLORS), windows=WINDOWS)
    ds.omezarr.to_zarr(root / "cells.ome.zarr", levels=1, labels=["nuclei"])
    samples.plate(rows=2, columns=3, fields=2).omezarr.to_zarr(root / "plate.ome.zarr")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(1440, 1000) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.set_script_timeout(30)
        yield driver


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve(folder / "cells.ome.zarr", port=0) as found:
        yield found


def until(said: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not said():
        assert time.monotonic() < end
        time.sleep(0.02)


def go(browser: Any, server: Server, path: str = "/") -> None:  # noqa: ANN401
    browser.get_log("browser")
    browser.get(f"{server.url}{path}")
    until(lambda: bool(browser.execute_script("return document.readyState === 'complete'")))


def texts(browser: Any, selector: str) -> list[str]:  # noqa: ANN401
    return [one.text for one in browser.find_elements("css selector", selector)]


def layers(browser: Any) -> list[np.ndarray[Any, Any]]:  # noqa: ANN401
    found = browser.execute_async_script(DECODED)
    assert isinstance(found, list), found
    return [np.array(data, np.uint8).reshape(height, width, 4) for height, width, data in found]


def expected(t: int, z: int, channels: tuple[int, ...] = (0, 1, 2)) -> np.ndarray[Any, Any]:
    shades = [tuple(bytes.fromhex(COLORS[c])) for c in channels]
    planes = pixels_of("image")[t, list(channels), z]
    return by_hand(planes, shades, [WINDOWS[c] for c in channels])


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def test_a_page_asks_nobody_else_and_has_no_error(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
    )
    paths = {urlsplit(url).path for url in asked}
    assert {"/style.css", "/picture/", "/mask/"} <= paths
    assert {f"http://{urlsplit(url).netloc}" for url in asked} == {server.url}
    assert browser.get_log("browser") == []
    assert browser.find_elements("css selector", "script") == []


def test_it_says_what_the_image_is(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    assert browser.title == "cells · OME-Zarr"
    assert texts(browser, "h1") == ["cells"]
    assert texts(browser, ".tags span")[:4] == ["image", "OME-Zarr 0.5", "2 × 3 × 4 × 120 × 160",
                                                "uint16"]  # fmt: skip
    assert texts(browser, ".oz-axes td:first-child") == ["t", "c", "z", "y", "x"]
    assert texts(browser, ".oz-axes tr:last-child td")[1:4] == ["160", "0.5 µm", "80 µm"]
    assert texts(browser, ".oz-levels td:nth-child(2)") == ["2 × 3 × 4 × 120 × 160"]
    assert texts(browser, "fieldset .name") == ["DAPI", "GFP", "RFP", "nuclei"]
    assert texts(browser, ".color") == [f"#{color}" for color in COLORS]
    assert texts(browser, ".window") == ["0 to 3000", "100 to 2000", "0 to 4000"]
    fills = [
        one.value_of_css_property("fill")
        for one in browser.find_elements("css selector", ".swatch circle")
    ]
    assert fills == ["rgb(0, 0, 255)", "rgb(0, 255, 0)", "rgb(255, 0, 0)"]
    assert texts(browser, ".drawing .bar text") == ["20 µm"]
    bar = browser.find_element("css selector", ".drawing .bar rect").rect["width"]
    whole = browser.find_element("css selector", ".drawing .pixels").rect["width"]
    assert bar / whole == pytest.approx(20 / 80, rel=0.02)


def test_its_picture_is_the_one_that_is_computed(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    picture, mask = layers(browser)
    np.testing.assert_array_equal(picture[..., :3], expected(0, 2))
    labels = np.arange(120 * 160).reshape(120, 160) // 4000
    np.testing.assert_array_equal(mask[..., 3] > 0, labels > 0)


def test_what_is_drawn_is_the_picture(browser: Any, folder: Path) -> None:  # noqa: ANN401
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0, 0], pixels[2, 3] = 100, 200
    ds = xr.Dataset({"image": (("y", "x"), pixels)}).omezarr.assign_scale(y=1.0, x=1.0)
    ds = ds.omezarr.assign_channels(["a"], colors=["FF0000"], windows=[(0, 255)])
    ds.omezarr.to_zarr(folder / "four.ome.zarr", levels=1)
    with serve(folder / "four.ome.zarr", port=0) as server:
        go(browser, server)
        drawing = browser.find_element("css selector", ".drawing")
        shot = np.asarray(Image.open(io.BytesIO(drawing.screenshot_as_png)).convert("RGB"))
        box = browser.find_element("css selector", ".drawing .pixels").rect
    left = (shot.shape[1] - box["width"]) / 2
    side = box["width"] / 4
    for y, x, red in ((0, 0, 100), (2, 3, 200), (1, 1, 0), (0, 3, 0)):
        seen = shot[int((y + 0.3) * side), int(left + (x + 0.5) * side)]
        np.testing.assert_allclose(seen, (red, 0, 0), atol=2)


def test_planes_and_channels_are_chosen_without_scripts(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.find_element("css selector", "button[aria-label='next z']").click()
        until(lambda: "at.z=3" in browser.current_url)
        assert "step" not in browser.current_url
        assert browser.find_element("id", "at-1").get_attribute("value") == "3"
        assert not browser.find_element("css selector", "button[aria-label='next z']").is_enabled()
        browser.find_element("css selector", "input[name=c][value='1']").click()
        field = browser.find_element("id", "at-0")
        field.clear()
        field.send_keys("1")
        browser.find_element("css selector", "button.main").click()
        until(lambda: "at.t=1" in browser.current_url)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    go(browser, server, browser.current_url.removeprefix(server.url))
    np.testing.assert_array_equal(layers(browser)[0][..., :3], expected(1, 3, (0, 2)))
    assert texts(browser, ".where") == ["30", "3 µm"]
    assert "t = 30" in texts(browser, "figcaption")[0]


def test_labels_are_switched_off_and_stay_so(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    mask = browser.find_element("css selector", ".drawing .label-0")
    assert mask.value_of_css_property("display") != "none"
    browser.find_element("id", "label-0").click()
    assert mask.value_of_css_property("display") == "none"
    browser.find_element("css selector", "button.main").click()
    until(lambda: "labels=" in browser.current_url)
    assert not browser.find_element("id", "label-0").is_selected()
    mask = browser.find_element("css selector", ".drawing .label-0")
    assert mask.value_of_css_property("display") == "none"
    browser.find_element("link text", "Show as outlines").click()
    until(lambda: "overlay=outlines" in browser.current_url)
    assert not browser.find_element("id", "label-0").is_selected()
    mask_pixels = layers(browser)[1]
    assert 0 < (mask_pixels[..., 3] == 255).sum() < mask_pixels[..., 3].size / 4


def test_a_label_image(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    browser.find_element("link text", "All label images").click()
    until(lambda: texts(browser, "h1") == ["labels"])
    browser.find_element("css selector", ".member a").click()
    until(lambda: "label image" in texts(browser, ".tags span"))
    assert texts(browser, "nav li") == ["cells.ome.zarr", "labels", "nuclei"]
    (picture,) = layers(browser)
    labels = np.arange(120 * 160).reshape(120, 160) // 4000
    np.testing.assert_array_equal(picture[..., :3].any(-1), labels > 0)


# ── plates ───────────────────────────────────────────────────────────────────────────────────────


def test_a_plate_is_gone_through(browser: Any, folder: Path) -> None:  # noqa: ANN401
    with serve(folder / "plate.ome.zarr", port=0) as server:
        go(browser, server)
        assert texts(browser, ".plate thead th") == ["1", "2", "3"]
        assert texts(browser, ".plate tbody th") == ["A", "B"]
        assert len(browser.find_elements("css selector", ".plate img[loading=lazy]")) == 6
        until(lambda: bool(browser.execute_script(LOADED)))
        browser.find_element("css selector", "img[alt='well B2']").click()
        until(lambda: texts(browser, "h1") == ["B/2"])
        assert texts(browser, ".member strong") == ["field 0", "field 1"]
        until(lambda: bool(browser.execute_script(LOADED)))
        browser.find_element("css selector", ".member:nth-child(2) a").click()
        until(lambda: texts(browser, "nav li") == ["plate.ome.zarr", "B/2", "1"])
        image = opened(folder / "plate.ome.zarr/B/2/1")
        shades = [tuple(bytes.fromhex(color)) for color in image.c_color.values.tolist()]
        windows = list(zip(image.c_window_start.values, image.c_window_end.values, strict=True))
        found = by_hand(image.image.values, shades, windows)
        np.testing.assert_array_equal(layers(browser)[0][..., :3], found)
        browser.find_element("link text", "plate.ome.zarr").click()
        until(lambda: texts(browser, "h1") == ["plate"])
        assert browser.get_log("browser") == []


def test_pictures_of_384_wells_come_as_they_are_seen(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    rows = [chr(65 + i) for i in range(16)]
    wells = [
        {"path": f"{row}/{c}", "rowIndex": i, "columnIndex": c - 1}
        for i, row in enumerate(rows)
        for c in range(1, 25)
        if (row, c) != ("A", 2)
    ]
    plate = {
        "name": "<b>screen</b>",
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": str(c)} for c in range(1, 25)],
        "wells": wells,
    }
    put_document(tmp_path / "plate", {"plate": plate}, version="0.5")
    browser.set_window_size(1200, 400)
    try:
        with serve(tmp_path / "plate", port=0) as server:
            go(browser, server)
            assert texts(browser, "h1") == ["<b>screen</b>"]
            assert "383 of 384 wells" in texts(browser, ".tags span")
            assert len(browser.find_elements("css selector", ".plate img")) == 383
            assert len(browser.find_elements("css selector", ".plate .none")) == 1
            before = len(browser.execute_script("return performance.getEntriesByType('resource')"))
            assert before < 383
            # Not one of the wells is there: each picture says so, and none is an error.
            assert browser.get_log("browser") == []
    finally:
        browser.set_window_size(1440, 1000)


# ── other sites ──────────────────────────────────────────────────────────────────────────────────

#: Asks for something in all ways that a page has, and says which of them came to anything.
REACHED = """
const [url, done] = arguments;
const picture = new Promise(said => {
    const one = new Image();
    one.onload = () => said(true);
    one.onerror = () => said(false);
    one.src = url;
});
const read = fetch(url).then(() => true, () => false);
const blind = fetch(url, {mode: 'no-cors'}).then(() => true, () => false);
Promise.all([picture, read, blind]).then(done);
"""


@pytest.mark.parametrize("viewer", ["page", "validator"])
def test_another_site_reaches_nothing(browser: Any, folder: Path, viewer: Any) -> None:  # noqa: ANN401
    with (
        serve(folder / "cells.ome.zarr", port=0, viewer=viewer) as server,
        serve(folder / "plate.ome.zarr", port=0) as other,
    ):
        for path in ("/icon.svg", "/picture/", "/data/cells.ome.zarr/zarr.json"):
            # The policy of a page of ours would not let it ask anyone.
            browser.get("data:text/html,<title>evil</title>")
            found = browser.execute_async_script(REACHED, f"{server.url}{path}")
            assert found == [False, False, False]
        go(browser, other)
        assert browser.execute_async_script(REACHED, f"{server.url}/icon.svg") == [False] * 3
    browser.get_log("browser")


# ── what files can say ───────────────────────────────────────────────────────────────────────────

HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(1)</script>'{{7*7}}&amp;\u202e"


def test_hostile_names(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    samples.coins().omezarr.to_zarr(tmp_path / "a&b '<i>.zarr")
    path = tmp_path / "a&b '<i>.zarr"
    document = json.loads(json.dumps(document_of(path)))
    document["multiscales"][0]["name"] = HOSTILE
    document["omero"] = {"channels": [{"label": HOSTILE, "color": "FF0000", "active": True}]}
    put_document(path, document, version="0.5")
    with serve(path, port=0) as server:
        go(browser, server)
        assert browser.find_elements("css selector", "img, script, i, b > img") == []
        assert "<script>alert(1)</script>" in texts(browser, "h1")[0]
        assert browser.get_log("browser") == []
        assert [one.shape for one in layers(browser)] == [(303, 384, 4)] * 2
        go(browser, server, "/show/%3Cscript%3Ealert(1)%3C/script%3E")
        assert texts(browser, "h1") == ["Not to be shown"]
        assert browser.find_elements("css selector", "script") == []


def test_a_broken_image_is_told_of(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    samples.coins().omezarr.to_zarr(tmp_path / "coins.ome.zarr", levels=1)
    (chunk,) = (tmp_path / "coins.ome.zarr/0/c").rglob("0/0")
    chunk.write_bytes(b"nonsense")
    with serve(tmp_path / "coins.ome.zarr", port=0) as server:
        go(browser, server)
        assert "no picture" in texts(browser, ".stage.empty")[0]
        assert texts(browser, ".oz-axes td:first-child") == ["y", "x"]


# ── for all ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 700])
def test_all_can_be_read(browser: Any, folder: Path, scheme: str, width: int) -> None:  # noqa: ANN401
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.set_window_size(width, 1000)
    try:
        for name, paths in {
            "cells.ome.zarr": ["/", "/show/labels", "/show/none"],
            "plate.ome.zarr": ["/", "/show/A/1"],
        }.items():
            with serve(folder / name, port=0) as server:
                for path in paths:
                    go(browser, server, path)
                    found = [
                        one
                        for one in browser.execute_script(CONTRASTS)
                        if one["left"] >= 0 and one["width"] > 1
                    ]
                    # Steps there is nothing behind are pale, and the bar lies on the picture.
                    shown = [
                        one for one in found if len(one["text"]) > 1 and one["text"] != "20 µm"
                    ]
                    assert len(shown) > 2
                    assert [one for one in shown if one["contrast"] < 4.5] == []
                    assert [one for one in shown if one["size"] < 10] == []
                    # Nothing makes the page wider than the window.
                    over = browser.execute_script(
                        "return document.documentElement.scrollWidth - window.innerWidth"
                    )
                    assert over <= 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.set_window_size(1440, 1000)


def test_all_can_be_told(browser: Any, server: Server) -> None:  # noqa: ANN401
    go(browser, server)
    unnamed = browser.execute_script(
        """return [...document.querySelectorAll('a, button, input:not([type=hidden]), [role=img]')]
        .filter(one => !(one.getAttribute('aria-label') || one.textContent.trim()
            || (one.labels && one.labels.length))).map(one => one.outerHTML)"""
    )
    assert unnamed == []
    assert browser.execute_script("return document.documentElement.lang") == "en"
    assert [one.tag_name for one in browser.find_elements("css selector", "main, header, nav")] == [
        "header", "nav", "main",
    ]  # fmt: skip
    browser.find_element("css selector", "body").send_keys("\ue004")
    assert browser.execute_script("return document.activeElement.className") == "skip"
