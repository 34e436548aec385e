"""OME-Zarr below folders: what is found, where nothing is looked for, and the page of it."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import json
import os
import re
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from tests.browsing import chromium
from xarray_omezarr import OmeZarrError, OmeZarrWarning, catalogues, cli, find, finder, samples

if TYPE_CHECKING:
    from tests.servers import S3, Site


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with some of all that there can be."""
    root = tmp_path_factory.mktemp("found")
    samples.coins().omezarr.to_zarr(root / "b/coins.ome.zarr", version="0.4")
    samples.fluorescence((2, 2, 3, 32, 32)).omezarr.to_zarr(root / "a/deep/cells.ome.zarr")
    samples.circle().omezarr.to_zarr(root / "circle.ozx")
    samples.plate(rows=1, columns=2, fields=1).omezarr.to_zarr(root / "plate.zarr")
    samples.circle().omezarr.to_zarr(root / "group.zarr/one")
    zarr.open_group(root / "group.zarr", mode="a")
    zarr.create_array(root / "array.zarr", data=np.ones((4, 4)), chunks=(1, 1))
    zarr.create_array(root / "old.zarr", data=np.ones((4, 4)), zarr_format=2)
    (root / "notes.txt").write_text("nothing")
    with zipfile.ZipFile(root / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return root


@pytest.fixture
def data(_data: Path, here: Path) -> Path:
    return Path(shutil.copytree(_data, here / "data", symlinks=True))


EXPECTED = {
    "a/deep/cells.ome.zarr": "image",
    "b/coins.ome.zarr": "image",
    "circle.ozx": "image",
    "group.zarr/one": "image",
    "plate.zarr": "plate",
}


def test_all_is_found_and_nothing_inside_of_it(data: Path) -> None:
    before = contents(data)
    table = find(data)
    assert dict(zip(table.path, table.kind, strict=True)) == EXPECTED
    rows = table.set_index("path")
    cells = rows.loc["a/deep/cells.ome.zarr"]
    assert [cells[f"{axis}_size"] for axis in "tczyx"] == [2, 2, 3, 32, 32]
    assert (cells.z_scale, cells.z_unit, cells.t_unit) == (1.0, "micrometer", "second")
    assert (cells["dtype"], cells.levels, cells["bytes"]) == ("uint16", 1, 2 * 2 * 3 * 32 * 32 * 2)
    assert rows.loc["plate.zarr"].thumbnail == "plate.zarr/A/1/0"
    assert rows.loc["b/coins.ome.zarr"].version == "0.4"
    assert rows.loc["b/coins.ome.zarr"].labels == 1
    assert table.problem.isna().all()
    assert table.modified.notna().all()
    assert table.attrs["skipped"] == []
    assert contents(data) == before


def test_an_image_itself_is_the_only_one() -> None:
    samples.coins().omezarr.to_zarr("a.zarr")
    assert list(find("a.zarr").path) == ["."]
    assert find("a.zarr").thumbnail[0] == "."


def test_bytes_are_added_up(data: Path) -> None:
    stored = find(data, stored=True).set_index("path").stored
    assert stored["circle.ozx"] > 0
    for path in ("plate.zarr", "b/coins.ome.zarr"):
        assert stored[path] == sum(map(len, contents(data / path).values()))


def test_links_are_not_gone_into(data: Path, here: Path) -> None:
    samples.circle().omezarr.to_zarr(here / "elsewhere/circle.zarr")
    (data / "loop").symlink_to(data)
    (data / "b/up").symlink_to("..")
    (data / "self").symlink_to("self")
    (data / "gone").symlink_to("nowhere")
    (data / "again.zarr").symlink_to(data / "b/coins.ome.zarr")
    (data / "linked.zarr").symlink_to(here / "elsewhere/circle.zarr")
    (data / "outside").symlink_to(here / "elsewhere")
    with pytest.warns(OmeZarrWarning, match="link"):
        table = find(data)
    assert dict(zip(table.path, table.kind, strict=True)) == EXPECTED | {"linked.zarr": "image"}
    skipped = {one.split()[0] for one in table.attrs["skipped"]}
    assert skipped == {"loop", "b/up", "outside"}


def test_what_is_broken_is_told_and_nothing_else_is_harmed(data: Path) -> None:
    (data / "b/coins.ome.zarr/.zattrs").write_text("{")
    (data / "circle.ozx").write_bytes(b"PK no archive")
    (data / "half.zarr").mkdir()
    (data / "half.zarr/.omezarr.json").write_text("{}")
    (data / "plate.zarr/zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"plate": 7}}})
    )
    rows = find(data).set_index("path")
    assert "no valid JSON" in rows.loc["b/coins.ome.zarr"].problem
    assert rows.loc["circle.ozx"].problem
    assert "unfinished" in rows.loc["half.zarr"].problem
    assert "'plate' is 7" in rows.loc["plate.zarr"].problem
    assert rows.loc["group.zarr/one"].kind == "image"


def test_folders_that_may_not_be_listed_are_left_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may list everything, so that the system is asked for this one on its behalf.
    listing = os.scandir

    def scandir(path: Any) -> Any:  # noqa: ANN401
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.warns(OmeZarrWarning, match=r"'a' cannot be listed \(Permission denied\)"):
        table = find(data)
    assert set(table.path) == set(EXPECTED) - {"a/deep/cells.ome.zarr"}


def test_hostile_folders(here: Path) -> None:
    root = here / "data"
    deep = root.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    samples.circle().omezarr.to_zarr(root / "wide" / "a\nb\x1b[2J.zarr")
    (root / os.fsdecode(b"\xff.zarr")).mkdir()
    (root / "zarr.json").mkdir()
    os.mkfifo(root / "wide/pipe.zip")
    for number in range(500):
        (root / f"wide/{number}").mkdir()
    with pytest.warns(OmeZarrWarning, match="too deep"):
        table = find(root)
    assert list(table.path) == ["wide/a\nb\x1b[2J.zarr"]
    with pytest.warns(OmeZarrWarning, match="too deep"):
        result = CliRunner().invoke(finder_command(), [str(root)], catch_exceptions=False)
    assert "\x1b" not in result.stdout
    assert "wide/a\\nb\\x1b[2J.zarr" in result.stdout


def finder_command() -> Any:  # noqa: ANN401
    from xarray_omezarr.cli_finder import finder

    return finder


def test_a_search_has_an_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_MOST", 5)
    for number in range(20):
        (here / f"data/{number}").mkdir(parents=True)
    with pytest.warns(OmeZarrWarning, match="first 5 folders"):
        assert find("data").empty


def test_what_is_no_folder_is_told(here: Path) -> None:
    (here / "file").write_text("")
    for path, told in {"nothing": "is not there", "file": "is a file"}.items():
        with pytest.raises(OmeZarrError, match=f"{path} {told}; expected a folder"):
            find(path)


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


def test_a_bucket_is_searched_by_few_requests(s3: S3, data: Path) -> None:
    import s3fs

    files = s3fs.S3FileSystem(**s3.storage_options)
    files.put(str(data), s3.url.removeprefix("s3://") + "/data", recursive=True)
    before = len(s3.server.asked)
    table = find(f"{s3.url}/data", storage_options=s3.storage_options)
    assert dict(zip(table.path, table.kind, strict=True)) == EXPECTED
    assert table.modified.isna().all()
    assert len(s3.server.asked) - before < 120
    assert table.set_index("path").loc["circle.ozx"].y_size == 64


def test_a_server_that_lists_its_folders_is_searched(data: Path) -> None:
    (data / "circle.ozx").unlink()  # this server knows no ranges
    loop = data / "loop"
    loop.mkdir()
    (loop / "again").symlink_to(loop)  # which it goes into, as deep as anybody asks
    handler = functools.partial(Quiet, directory=str(data))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.warns(OmeZarrWarning, match="too deep"):
                table = find(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
    expected = {path: kind for path, kind in EXPECTED.items() if path != "circle.ozx"}
    assert dict(zip(table.path, table.kind, strict=True)) == expected


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that lists its folders, and says nothing of what it is asked for."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_that_lists_nothing_is_told(web: Site) -> None:
    with pytest.raises(OmeZarrError):
        find(f"{web.url}/data")


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def run(*arguments: str) -> Any:  # noqa: ANN401
    return CliRunner().invoke(cli.main, ["finder", *arguments], catch_exceptions=False)


def test_the_command_prints_a_table(data: Path) -> None:
    before = contents(data)
    lines = run("data").stdout.splitlines()
    assert lines[0].split()[:3] == ["path", "kind", "version"]
    assert [line.split()[0] for line in lines[1:]] == list(EXPECTED)
    assert "z 1 µm, yx 0.325 µm" in lines[1]
    told = json.loads(run("data", "--json").stdout)
    assert {row["path"]: row["kind"] for row in told} == EXPECTED
    rows = list(csv.DictReader(io.StringIO(run("data", "--csv", "-").stdout)))
    assert [row["path"] for row in rows] == list(EXPECTED)
    assert rows[0]["y_size"] == "32"
    assert contents(data) == before


def test_nothing_found_is_an_exit_code_and_files_are_kept(here: Path, data: Path) -> None:
    (here / "empty").mkdir()
    result = run("empty")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no OME-Zarr below empty" in result.stderr
    (here / "mine.csv").write_text("mine")
    assert run("data", "--csv", "mine.csv").exit_code == 2
    assert (here / "mine.csv").read_text() == "mine"
    assert run("data", "--csv", "new.csv", "--html", "new.html").exit_code == 0
    assert (here / "new.csv").read_text().startswith("path,kind,")
    assert (here / "new.html").read_text().startswith("<!doctype html>")
    assert data.is_dir()


@pytest.mark.usefixtures("data")
def test_what_is_printed_for_programs_is_nothing_else(here: Path) -> None:
    told = json.loads(run("data", "--json", "--csv", "a.csv", "--html", "a.html").stdout)
    assert [row["path"] for row in told] == list(EXPECTED)
    assert run("data", "--csv", "-", "--html", "b.html").stdout == (here / "a.csv").read_text()
    for both in (["--json", "--csv", "-"], ["--csv", "-", "--html", "-"]):
        assert run("data", *both).exit_code == 2


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def test_a_page_has_a_picture_of_each(data: Path) -> None:
    text = catalogues.page(find(data))
    assert text.count("<tr>") == 1 + len(EXPECTED)
    sources = re.findall(r'<img [^>]*src="([^"]+)"', text)
    assert len(sources) == len(EXPECTED)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    # Nothing is asked for, and nothing runs.
    assert not re.search(r"https?:|<script|<link|url\(|@import", text)


def test_a_page_is_safe_from_what_files_say(here: Path) -> None:
    name = '"><script>document.title="hacked"</script><img src=x onerror=alert(1)>'
    samples.circle().omezarr.to_zarr("data/a.zarr")
    file = here / "data/a.zarr/zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"]["multiscales"][0]["name"] = name
    file.write_text(json.dumps(document))
    (here / "data/b.zarr").mkdir()
    (here / "data/b.zarr/zarr.json").write_text('{"attributes": ["<script>"]}')
    table = find("data")
    table.loc[0, "path"] = "<script>.zarr"
    text = catalogues.page(table)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.skipif(sys.platform != "linux", reason="the browser is Debian's")
def test_a_page_is_shown_without_a_request_or_an_error(data: Path, here: Path) -> None:
    (here / "page.html").write_text(catalogues.page(find(data)))
    with chromium() as driver:
        driver.get((here / "page.html").as_uri())
        sizes = driver.execute_script(
            "return [...document.images].map(i => [i.naturalWidth, i.clientWidth])"
        )
        asked = driver.execute_script(
            "return performance.getEntriesByType('resource').map(e => e.name)"
        )
        errors = [one for one in driver.get_log("browser") if one["level"] == "SEVERE"]
        title = driver.title
    assert len(sizes) == len(EXPECTED)
    assert all(natural > 0 and 0 < shown <= 128 for natural, shown in sizes)
    assert [name for name in asked if not name.startswith("data:")] == []
    assert errors == []
    assert title == str(data)
