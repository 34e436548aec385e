from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import xarray_omezarr  # noqa: F401 - the accessor
from tests.helpers import (
    WatchedStore,
    multiscales,
    opened,
    opened_tree,
    put_array,
    put_document,
    put_sample,
)
from tests.picturing import channels, put_huge
from tests.servers import site
from xarray_omezarr import samples
from xarray_omezarr.display import to_html, to_text, view
from xarray_omezarr.summaries import ImageFacts
from xarray_omezarr.viewers import dataset_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3, Asked


# ── requests, bytes, time, memory ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_100_gb_at_50_ms(tmp_path: Path, version: str) -> None:
    shape, chunks = (3, 131072, 131072), (1, 512, 512)
    extra = channels(3)
    put_huge(tmp_path / "huge", shape, "cyx", chunks=chunks, version=version, extra=extra)
    sent: dict[str, int] = {}

    def note(asked: Asked) -> None:
        file = tmp_path / asked.path
        sent[asked.path] = file.stat().st_size if file.is_file() else 0

    with site(tmp_path, latency=0.05, answer=note) as web:
        start = time.monotonic()
        ds = opened(f"{web.url}/huge")
        assert ds.image.nbytes > 100e9
        html = ds.omezarr._repr_html_()
        # No more than six requests wait for one another.
        assert time.monotonic() - start < 1.5
        assert len(web.asked) <= 12
        assert sum(sent.values()) <= 2e6
        asked = len(web.asked)
        text = repr(ds.omezarr)
        assert len(web.asked) == asked
    assert "data:image/png;base64," in html
    assert "level 4" in html
    assert "3 × 131,072 × 131,072" in html
    assert "96 GiB" in html
    assert "level 0   3 × 131,072 × 131,072, 96 GiB, chunks 1 × 512 × 512" in text
    assert "level 4   ≈ 3 × 512 × 512, 1.5 MiB" in text


def test_levels_beyond_the_budget_are_told_by_their_pixel_sizes(memory: MemoryStore) -> None:
    put_huge(memory, (262144, 262144), levels=11, factor=2)
    store = WatchedStore(memory)
    found = view(opened(store))
    assert len(store.log.requests) <= 12
    assert isinstance(found.facts, ImageFacts)
    levels = found.facts.levels
    assert [level.shape for level in levels] == [(262144 >> n, 262144 >> n) for n in range(11)]
    guessed = [level.number for level in levels if level.expected]
    assert guessed
    assert len(guessed) < 10
    assert found.skipped == (
        f"the shapes of level {', '.join(map(str, guessed))}, told by pixel sizes (≈)",
    )


def test_a_tree_asks_for_pixels_alone(memory: MemoryStore) -> None:
    put_huge(memory, (65536, 65536))
    store = WatchedStore(memory)
    tree = opened_tree(store)
    store.log.clear()
    html = tree.omezarr._repr_html_()
    assert "data:image/png" in html
    assert "≈" not in html
    assert all(key.startswith("4/c/") for key in store.log.keys())  # noqa: SIM118


def test_a_plate_asks_for_one_field(memory: MemoryStore) -> None:
    samples.plate().omezarr.to_zarr(memory)
    store = WatchedStore(memory)
    for shown in (opened_tree(store), opened(store, stack="well"), opened(store, stack="well")):
        store.log.clear()
        repr(shown.omezarr)
        assert store.log.requests == []
        assert "data:image/png" in shown.omezarr._repr_html_()
        paths = {key.rpartition("/c/")[0] or key for key in store.log.keys()}  # noqa: SIM118
        assert paths == {"A/1/0/0"}
        assert len(store.log.requests) <= 12


def test_a_server_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xarray_omezarr.thumbnails.SECONDS", 0.5)
    put_huge(tmp_path / "huge", (65536, 65536))
    with site(tmp_path) as web:
        ds = opened(f"{web.url}/huge", labels=False)
        web.answer = lambda _: "silence"
        start = time.monotonic()
        html = ds.omezarr._repr_html_()
        assert time.monotonic() - start < 4
    assert "did not answer within 0.5 s" in html
    assert "65,536 × 65,536" in html


_MEMORY = """
    import gc, sys
    from pathlib import Path
    import xarray as xr
    from xarray_omezarr import samples

    def peak():
        (line,) = [l for l in open("/proc/self/status") if l.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def held():
        (line,) = [l for l in open("/proc/self/status") if l.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    # What is imported on the way is imported here.
    samples.coins().omezarr.to_zarr("small")
    with xr.open_dataset("small", engine="omezarr") as small:
        small.omezarr._repr_html_(), repr(small.omezarr)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = held()
    ds = xr.open_dataset(sys.argv[1], engine="omezarr")
    html = ds.omezarr._repr_html_()
    assert "data:image/png" in html
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_opened_and_displayed_is_small(tmp_path: Path) -> None:
    put_huge(tmp_path / "huge", (100_000, 100_000))
    code = [sys.executable, "-c", textwrap.dedent(_MEMORY), str(tmp_path / "huge")]
    done = subprocess.run(code, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert int(done.stdout) < 30 * 2**20


def test_the_accessor_keeps_nothing(tmp_path: Path) -> None:
    put_sample(tmp_path)
    ds = opened(tmp_path)
    accessor = ds.omezarr
    accessor._repr_html_()
    assert vars(accessor) == {"_obj": ds}
    assert not ds.image.variable._in_memory
    assert "omezarr" not in ds._repr_html_().replace(str(tmp_path), "")


# ── hostile metadata ─────────────────────────────────────────────────────────────────────────────

#: Text that would become something else, were it not escaped. Each is found again by its number.
EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "</style><script>alert(4)</script>",
    "<!-- 5",
    "&lt;6&#x22;",
    "javascript:alert(7)",
    "a\u202eb\x008\x1b]0;x\x07",
    "]]>9<svg/onload=alert(9)>",
    "{{10}}${10}",
)


class Reader(html.parser.HTMLParser):
    """Collects elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.comments: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


#: All that a card consists of.
ELEMENTS = set(
    "div style span i b ul li table thead tbody tr th td figure img figcaption p svg path text "
    "details summary".split()
)
ATTRIBUTES = set(
    "class style scope src alt title aria-label role width height viewbox d x y text-anchor".split()
)


def check(html: str) -> None:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.elements <= ELEMENTS
    assert reader.attributes <= ATTRIBUTES
    assert reader.comments == []
    for evil in EVIL:
        if "<" in evil or '"' in evil or "'" in evil:
            assert evil not in html
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    assert style.count("{") == style.count("}")


@pytest.mark.parametrize("evil", EVIL, ids=range(1, len(EVIL) + 1))
@pytest.mark.filterwarnings("ignore::xarray_omezarr.OmeZarrWarning")
def test_hostile_images(evil: str) -> None:
    store = MemoryStore()
    window = {"min": 0, "max": 9, "start": 0, "end": 9}
    put_huge(
        store,
        (2, 300, 300),
        "cyx",
        levels=2,
        extra={
            "omero": {
                "channels": [
                    {"label": evil, "color": evil, "window": window, "family": evil},
                    {"label": f"{evil}2", "color": "FF0000", "window": {**window, "start": evil}},
                ],
                "rdefs": {"defaultZ": evil, "model": evil},
            },
        },
    )
    group = zarr.open_group(store)
    ome: Any = group.attrs["ome"]
    (image,) = ome["multiscales"]
    axes = [{**axis, "unit": evil, "long_name": evil, "longName": evil} for axis in image["axes"]]
    image |= {"name": evil, "axes": axes, "type": evil}
    group.attrs["ome"] = ome
    ds = opened(store)
    ids = ("evil_id", np.array([1, 2]))
    ds = ds.assign_coords(evil_id=ids).assign(evil=(("y", "x"), np.ones((300, 300), np.uint8)))
    ds.evil.encoding["omezarr"] = {"kind": "label"}
    ds[f"evil_{evil}"] = ("evil_id", np.array([evil, evil]))
    ds.encoding["source"] = f"/data/{evil}"
    check(ds.omezarr._repr_html_())
    assert "data:image/png" in ds.omezarr._repr_html_()
    text = repr(ds.omezarr)
    assert all(part.isprintable() for part in text.split("\n"))
    ds = ds.drop_vars([name for name in ds.data_vars if "/" in str(name)])
    tree = xr.DataTree.from_dict({"/0": ds, "/1": opened(store, level=1)})
    check(tree.omezarr._repr_html_())


@pytest.mark.parametrize("evil", EVIL, ids=range(1, len(EVIL) + 1))
def test_hostile_plates(evil: str) -> None:
    field = samples.coins()[["image"]].isel(y=slice(64), x=slice(64))
    places = {"A": evil, "B": f"{evil}2"}
    nodes = {
        f"/{row}/1/0/0": field.assign_coords(row=name, column=evil, well=evil, field=evil)
        for row, name in places.items()
    }
    plate = xr.DataTree.from_dict(nodes)
    plate.attrs["name"] = evil
    plate.encoding["source"] = evil
    plate.encoding["omezarr"] = {"kind": evil, "version": evil, "document": {"plate": evil}}
    check(plate.omezarr._repr_html_())
    assert all(part.isprintable() for part in repr(plate.omezarr).split("\n"))
    check(xr.Dataset(attrs={"name": evil}).assign({evil: 1}).omezarr._repr_html_())
    several = xr.DataTree.from_dict({"/a/0": field.assign_attrs(name=evil), "/b/0": field})
    check(several.omezarr._repr_html_())


@pytest.mark.parametrize("rows", [5, {"name": "A"}, [5]], ids=["number", "object", "numbers"])
def test_plates_whose_rows_are_none(rows: Any) -> None:  # noqa: ANN401
    field = samples.coins()[["image"]].assign_coords(row="9" * 5000, column="1")
    plate = xr.DataTree.from_dict({"/A/1/0/0": field, "/B/1/0/0": field.assign_coords(row="10")})
    plate.encoding["omezarr"] = {"kind": "plate", "document": {"plate": {"rows": rows}}}
    check(plate.omezarr._repr_html_())
    assert "2 of 2 × 1" in repr(plate.omezarr)


@pytest.mark.parametrize(
    "encoding",
    [
        {"omezarr": 3},
        {"omezarr": {"document": {"ome": 3}, "version": 3, "level": 7, "path": "0"}},
        {"omezarr": {"document": {"multiscales": [None]}, "level": -1}},
        {"preferred_chunks": 3, "chunks": "x"},
        {"source": b"\xff"},
    ],
    ids=range(5),
)
def test_encodings_that_somebody_has_changed(tmp_path: Path, encoding: dict[str, Any]) -> None:
    put_sample(tmp_path)
    ds = opened(tmp_path)
    ds.image.encoding.update(encoding)
    check(ds.omezarr._repr_html_())
    assert repr(ds.omezarr).startswith("<")


@pytest.mark.parametrize("scales", [(1e-300, 1e300), (1.0, 1e200)], ids=["infinite", "endless"])
def test_levels_of_sizes_beyond_all_numbers(
    memory: MemoryStore, scales: tuple[float, float]
) -> None:
    origins = [[0.0, 0.0]] * 2
    document = multiscales("yx", ["0", "1"], [[scale] * 2 for scale in scales], origins)
    put_document(memory, {"multiscales": [document]}, version="0.5")
    for path in ("0", "1"):
        put_array(memory, path, np.eye(8, dtype=np.uint8), version="0.5", dims="yx")
    ds = opened(memory, level=1)
    check(ds.omezarr._repr_html_())
    assert "level 0  ≈ " in repr(ds.omezarr)
    assert ds.omezarr.preview()
    assert ds.omezarr.to_rgb().sizes == {"y": 8, "x": 8, "rgb": 3}


def test_what_is_missing_is_said(memory: MemoryStore) -> None:
    put_huge(memory, (1024, 1024), levels=4, factor=2)
    del memory._store_dict["3/zarr.json"]
    memory._store_dict["2/zarr.json"] = memory._store_dict["2/zarr.json"][:40]
    html = opened(WatchedStore(memory)).omezarr._repr_html_()
    check(html)
    assert html.count("⚠") == 2
    assert "is missing, though the metadata name it" in html


# ── credentials ──────────────────────────────────────────────────────────────────────────────────


def test_no_credentials_in_what_is_shown(tmp_path: Path) -> None:
    put_huge(tmp_path / "huge", (8192, 8192))
    with site(tmp_path) as web:
        host = web.url.removeprefix("http://")
        ds = opened(f"http://me:topsecret@{host}/huge?sig=alsosecret", labels=False)
        web.answer = lambda asked: 403 if "/c/" in asked.path else None
        for shown in (ds, ds.image):
            told = shown.omezarr._repr_html_() + repr(shown.omezarr)
            assert "access is denied" in told
            assert "secret" not in told
            assert host in told
    other = xr.Dataset({"image": (("y", "x"), np.zeros((4, 4)))})
    other.encoding["source"] = "s3://key:topsecret@bucket/image?X-Amz-Signature=alsosecret"
    assert "secret" not in other.omezarr._repr_html_() + repr(other.omezarr)


def test_no_credentials_of_a_bucket(s3: S3, tmp_path: Path) -> None:
    put_huge(tmp_path / "huge", (8192, 8192))
    s3.upload(tmp_path)
    ds = opened(f"{s3.url}/huge", storage_options=s3.storage_options)
    told = ds.omezarr._repr_html_() + repr(ds.omezarr)
    assert "data:image/png" in told
    assert s3.server.secret not in told
    assert s3.server.key not in told


# ── what is told ─────────────────────────────────────────────────────────────────────────────────


def test_the_text_of_an_image(tmp_path: Path) -> None:
    put_sample(tmp_path)
    assert repr(opened(tmp_path).omezarr) == textwrap.dedent(f"""\
        <OME-Zarr image 'cells'> uint16, 7.5 KiB, not read yet, version 0.5
          c         2
          y         40 × 0.5 µm = 20 µm
          x         48 × 0.25 µm = 12 µm
          channels  DAPI #0000FF 100 to 2000, GFP #00FF00 50 to 1500 (off)
          level 0   2 × 40 × 48, 7.5 KiB, chunks 2 × 16 × 16
          level 1   ≈ 2 × 20 × 24, 1.875 KiB
          level 2   ≈ 2 × 10 × 12, 480 B
          source    {tmp_path}""")


def test_labels_that_were_segmented_and_measured_here(tmp_path: Path) -> None:
    put_sample(tmp_path)
    ds = opened(tmp_path, labels=False)
    ds = ds.assign(spots=(("y", "x"), np.eye(40, 48, dtype=np.int32)))
    assert "spots" not in repr(ds.omezarr)
    ds = ds.omezarr.measure("spots", "area")
    assert "labels    spots (1: area)" in repr(ds.omezarr)
    assert ">spots<" in to_html(ds)
    (*_, (_, arguments, kind)) = dataset_layers(ds)
    assert (kind, arguments["name"]) == ("labels", "spots")


def test_a_level_taken_from_its_tree(tmp_path: Path) -> None:
    put_sample(tmp_path)
    tree = opened_tree(tmp_path)
    assert (
        repr(tree["1"].omezarr).splitlines()[:2]
        == repr(opened(tmp_path, level=1).omezarr).splitlines()[:2]
    )
    assert "data:image/png" in to_html(tree["1"])


def test_levels_that_say_nothing_of_their_size_are_not_guessed(tmp_path: Path) -> None:
    samples.coins()[["image"]].omezarr.to_zarr(tmp_path, version="0.4", levels=2)
    attributes = json.loads((tmp_path / ".zattrs").read_text())
    (multiscale,) = attributes["multiscales"]
    multiscale |= {"version": "0.3", "axes": ["y", "x"]}
    for level in multiscale["datasets"]:
        del level["coordinateTransformations"]
    (tmp_path / ".zattrs").write_text(json.dumps(attributes))
    lines = repr(opened(tmp_path).omezarr).splitlines()
    assert "  level 0  303 × 384, 113.6 KiB, chunks 303 × 384" in lines
    assert "  level 1  of a size that is known when it is opened" in lines


def test_the_text_of_time() -> None:
    lines = repr(samples.timelapse().omezarr).splitlines()
    # From the first of 24 points to the last, there are 23 steps.
    assert "  t         24 × 300 s, over 6900 s" in lines


def test_the_text_of_labels(tmp_path: Path) -> None:
    ds = samples.coins()
    ds.omezarr.to_zarr(tmp_path, levels=2)
    assert "labels   coins (not counted: no table)" in repr(opened(tmp_path).omezarr)
    assert "labels  coins (22)" in repr(ds.omezarr)
    measured = ds.omezarr.measure("coins", ["area"])
    assert "labels  coins (22: area)" in repr(measured.chunk().omezarr)
    assert repr(ds.coins.omezarr).startswith("<OME-Zarr label image> int32, 454.5 KiB, in memory")
    tree = opened_tree(tmp_path)
    assert "labels   coins (not counted: no table)" in repr(tree.omezarr)
    assert "level 1  152 × 192, 28.5 KiB, chunks 152 × 192" in repr(tree.omezarr)


def test_the_text_of_plates(tmp_path: Path) -> None:
    samples.plate().omezarr.to_zarr(tmp_path)
    assert repr(opened_tree(tmp_path).omezarr) == textwrap.dedent(f"""\
        <OME-Zarr plate 'plate'> 16 images, 1 MiB, version 0.5
          wells     8 of 2 × 4, 16 fields
          c         2
          y         128 × 0.325 µm = 41.6 µm
          x         128 × 0.325 µm = 41.6 µm
          channels  DAPI #0000FF 120 to 2047, GFP #00FF00 120 to 2047
          source    {tmp_path}""")
    stack = opened(tmp_path, stack=("row", "column"), wells=["A/1", "B/2"], fill_value=0)
    lines = repr(stack.omezarr).split("\n")
    assert lines[0] == (
        "<OME-Zarr stack of a plate 'plate'> uint16, 512 KiB, not read yet, version 0.5"
    )
    assert "  wells     2 of 2 × 2, 4 fields" in lines


def test_the_text_of_several_images() -> None:
    images = {f"/{n}/0": samples.coins() for n in range(15)}
    lines = repr(xr.DataTree.from_dict(images).omezarr).split("\n")
    assert lines[0] == "<OME-Zarr group> 15 images, 1.664 MiB"
    assert lines[1] == "  0   y 303, x 384, uint8 'coins'"
    assert lines[-1] == "  …   3 more"


@pytest.mark.parametrize(
    "obj",
    [xr.Dataset(), xr.Dataset({"a": 1}), xr.DataTree(), xr.DataArray(3.0), xr.DataArray([1, 2])],
    ids="empty scalar tree number line".split(),
)
def test_what_is_no_image(obj: Any) -> None:  # noqa: ANN401
    check(to_html(obj))
    assert to_text(obj).startswith("<")


def test_a_plate_of_thousands_of_images_is_told_of_soon() -> None:
    image = xr.Dataset({"image": (("y", "x"), np.zeros((8, 8), np.uint8))})
    nodes = {}
    for n in range(1500):
        row, column = "ABCDEFGHIJKLMNOP"[n % 16], str(n // 16)
        for level in range(2):
            nodes[f"/{row}/{column}/0/{level}"] = image.assign_coords(row=row, column=column)
    tree = xr.DataTree.from_dict(nodes)
    start = time.process_time()
    assert "1,500 of 1,504 wells" in to_html(tree)
    assert time.process_time() - start < 2


def test_a_notebook_shows_the_card() -> None:
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    data, _ = formatter.format(samples.coins().omezarr)
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/plain"].startswith("<OME-Zarr image 'coins'>")
    assert json.dumps(data)
