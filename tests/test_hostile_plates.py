"""Hostile plates, series and scenes: refused with an `OmeZarrError`, or survived at small cost.

What one file says decides which others are asked for, so each place where a path can stand is
tried with all that can lead astray, in a store that counts, on a disk, and on a server.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore, StorePath, WrapperStore

from tests.helpers import Log, served
from tests.test_hostile import (
    ABOVE,
    HOME,
    IMAGE,
    MEBI,
    Mutant,
    Reads,
    accepted,
    attributes_of,
    bounded,
    check_requests,
    check_text,
    group,
    hierarchy,
    to_bytes,
)
from xarray_omezarr import (
    OmeZarrError,
    csv_to_labels,
    map_fields,
    plates,
    transform_points,
    update_metadata,
    upgrade,
    validate,
    verdict,
    wells,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from tests.helpers import Document, Place

    Json = Any
    """What `json` reads."""

VERSIONS = ("0.4", "0.5", "0.6")
#: The hierarchies here are of one image of two levels and a label image: nothing needs more.
MOST_REQUESTS = 400

#: What leads out of a group: in some store, on some system, behind some server.
ASTRAY = (
    "..", "../secret", "../../secret", "A/../../../secret", "A/1/../../../secret", "./../secret",
    "/", "//", "/secret", "//secret", "/etc/passwd", "A//1", "./A/1", "A/./1", "", " ", ".", "...",
    ".. /secret", ". ./secret", "A/ /1", "..\\secret", "A\\..\\..\\secret", "\\\\host\\secret",
    "C:\\secret", "C:secret", "file:///etc/passwd", "http://127.0.0.1:1/secret",
    "s3://bucket/secret", "memory://secret", "simplecache::memory://secret", "%2e%2e/secret",
    "%2E%2E%2Fsecret", "..%2fsecret", "A/%2e%2e/%2e%2e/%2e%2e/secret", "%252e%252e/secret",
    "%25252e%25252e%25252fsecret", "..%5csecret", "%00", "A\0/1", "A/1\0/../../secret",
    "..\x1b/secret", ".\n./secret", "A\r/1", "\x7f", "A\x9b31m", "\u202eterces", "\ud800",
)  # fmt: skip
#: Names of their own, as odd as they are: nothing is taken for something else, or expanded.
ODD = (
    "\uff0e\uff0e/secret", "\u2024\u2024/secret", "..\u2215secret", "..\uff0fsecret",
    "~/secret", "~root", "$HOME/secret", "${HOME}", "%HOME%", "*", "A/*", "[A]/1", "{A,B}/1", "?",
    "A/1?versionId=1", "A/1#secret", "A/1;secret", "A:1/x", "zip::A", "A/1 ", "a" * 300,
    "A/" * 9 + "1", "<b>A</b>/1", "'\"`", "zarr.json", "labels", ".zattrs", "c/0/0", "-rf", "CON",
)  # fmt: skip


# ── where a path can stand ───────────────────────────────────────────────────────────────────────


def plate_wells(files: Document, path: Json) -> None:
    attributes_of(files, "")["plate"]["wells"][0]["path"] = path


def well_images(files: Document, path: Json) -> None:
    attributes_of(files, "A/1")["well"]["images"][0]["path"] = path


def series_list(files: Document, path: Json) -> None:
    old = ".zattrs" in files
    version = "0.4" if old else files["zarr.json"]["attributes"]["ome"]["version"]
    made = group(version, {"series": [path, IMAGE]})
    files |= {f"OME/{name}": content for name, content in made.items()}


def scene_input(files: Document, path: Json) -> None:
    scene = attributes_of(files, "")["scene"]
    scene["coordinateTransformations"][0]["input"]["path"] = path


def scene_output(files: Document, path: Json) -> None:
    scene = attributes_of(files, "")["scene"]
    scene["coordinateTransformations"][0]["output"] = {"path": path, "name": "physical"}


def scene_parameter(files: Document, path: Json) -> None:
    scene = attributes_of(files, "")["scene"]
    step = scene["coordinateTransformations"][0]
    step |= {"type": "affine", "path": path}


def scene_field(files: Document, path: Json) -> None:
    scene = attributes_of(files, "")["scene"]
    step = scene["coordinateTransformations"][0]
    step |= {"type": "displacements", "path": path}


def labels_list(files: Document, path: Json) -> None:
    attributes_of(files, f"{IMAGE}/labels")["labels"][0] = path


def dataset_path(files: Document, path: Json) -> None:
    attributes_of(files)["multiscales"][0]["datasets"][0]["path"] = path


def image_parameter(files: Document, path: Json) -> None:
    step = attributes_of(files)["multiscales"][0]["coordinateTransformations"][0]
    step.pop("affine", None)
    step.pop("scale", None)
    step |= {"type": "affine" if "output" in step else "scale", "path": path}


def label_source(files: Document, path: Json) -> None:
    about = attributes_of(files, f"{IMAGE}/labels/cells")["image-label"]
    about["source"]["image"] = path


#: Each with the kind of hierarchy that it stands in, and the versions that have it.
PLACES: dict[Callable[[Document, Json], None], tuple[str, tuple[str, ...]]] = {
    plate_wells: ("plate", VERSIONS),
    well_images: ("plate", VERSIONS),
    series_list: ("series", VERSIONS),
    scene_input: ("scene", ("0.6",)),
    scene_output: ("scene", ("0.6",)),
    scene_parameter: ("scene", ("0.6",)),
    scene_field: ("scene", ("0.6",)),
    labels_list: ("plate", VERSIONS),
    dataset_path: ("plate", VERSIONS),
    image_parameter: ("plate", VERSIONS),
    label_source: ("plate", VERSIONS),
}


def at_a_place(
    place: Callable[[Document, Json], None], version: str, path: Json
) -> dict[str, bytes]:
    """Give the files of a hierarchy with a path where one can stand."""
    files = hierarchy(version, PLACES[place][0])
    place(files, path)
    return {name: to_bytes(content) for name, content in files.items()}


# ── whatever follows paths ───────────────────────────────────────────────────────────────────────


def shown(tree: xr.DataTree) -> None:
    """Look at a tree."""
    assert repr(tree)
    for node in tree.subtree:
        check_text(node.name or "")


def tables(place: Place, at: str | None) -> None:
    for by_field in (False, True):
        with accepted():
            table = wells(place, group=at, positions=by_field, shapes=by_field)
            assert repr(table.head())


def trees(place: Place, at: str | None) -> None:
    with accepted():
        shown(xr.open_datatree(place, engine="omezarr", group=at))


def stacks(place: Place, at: str | None) -> None:
    ways: list[Document] = [{"stack": "well"}, {"stack": ("row", "column"), "fill_value": 0}]
    for options in ways:
        with accepted():
            ds = xr.open_dataset(place, engine="omezarr", group=at, **options)
            assert repr(ds)
    with accepted():
        ds = xr.open_dataset(place, engine="omezarr", group=at, stack="well", verify=False)
        ds.image.isel(dict.fromkeys(ds.image.dims, 0)).load()


def runs(place: Place, at: str | None) -> None:
    with accepted():
        map_fields(lambda ds: pd.DataFrame({"n": [ds.image.size]}), place, group=at, workers=1)


def images(place: Place, at: str | None) -> None:
    inside = f"{at}/{IMAGE}" if at else IMAGE
    with accepted():
        assert repr(xr.open_dataset(place, engine="omezarr", group=inside))
    with accepted():
        shown(xr.open_datatree(place, engine="omezarr", group=inside))


def verdicts(place: Place, at: str | None) -> None:
    with accepted():
        report = validate(place, group=at)
        assert len(str(report)) < MEBI
        check_text(
            "".join(
                f"{finding.place}{finding.rule}{finding.found}" for finding in report.findings[:20]
            )
        )


def notebooks(place: Place, at: str | None) -> None:
    """Show everything as HTML."""
    with accepted():
        tree: Any = xr.open_datatree(place, engine="omezarr", group=at, level=0)
        assert "<script" not in tree._repr_html_()
    with accepted():
        stack: Any = xr.open_dataset(place, engine="omezarr", group=at, stack="well")
        assert "<script" not in stack._repr_html_()
    with accepted():
        assert "<script" not in wells(place, group=at).to_html()


def points(place: Place, at: str | None) -> None:
    ends = (((IMAGE, "physical"), "world"), ("world", (IMAGE, "0")))
    for source, target in ends:
        with accepted():
            transform_points(place, np.ones((1, 3)), source, target, group=at)
    with accepted():
        inside = f"{at}/{IMAGE}" if at else IMAGE
        transform_points(place, np.ones((1, 3)), "0", "physical", group=inside)


def joins(place: Place, at: str | None) -> None:
    table = pd.DataFrame({"nr": [1, 2], "size": [3.5, 4.5]})
    with accepted():
        csv_to_labels(place, table, on="nr", group=at)


def edits(place: Place, at: str | None) -> None:
    with accepted():
        str(update_metadata(place, group=at, name="other", dry_run=True))
    with accepted():
        update_metadata(place, group=at, scale={"y": 2.0}, repair=True)


LOOKERS: tuple[Callable[[Place, str | None], None], ...] = (
    tables, trees, stacks, runs, images, verdicts, points, joins, edits,
)  # fmt: skip


WRITERS = (joins, edits)


def upgraded(place: Place) -> None:
    for version in ("0.5", "0.6"):
        with accepted():
            upgrade(place, MemoryStore(), version=version, lossy=True)


# ── nothing outside is asked for ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", PLACES)
def test_paths_that_lead_astray(place: Callable[[Document, Json], None]) -> None:
    # The rule is one for all versions, which take turns.
    versions = itertools.cycle(PLACES[place][1])
    whole = place in (plate_wells, well_images, series_list)
    lookers = LOOKERS if whole else (trees, images, verdicts, points, joins, edits)
    if whole or PLACES[place][0] == "scene":
        # No path above an image is read with it; on a disk it is opened all the same.
        lookers = tuple(look for look in lookers if look is not images)
    for path, version in zip((*ASTRAY, *ODD) if whole else ASTRAY, versions, strict=False):
        mutant = Mutant(at_a_place(place, version, path), None)
        for look in lookers:
            log = Log()
            look(mutant.store(log), HOME)
            check_requests(log, above=ABOVE if look in WRITERS else ())
        log = Log()
        upgraded(StorePath(mutant.store(log, astray=False), HOME))
        check_requests(log)


@pytest.mark.parametrize("path", ASTRAY)
def test_groups_that_lead_astray(path: str) -> None:
    files = {name: to_bytes(content) for name, content in hierarchy("0.5", "plate").items()}
    for look in LOOKERS:
        log = Log()
        store = Mutant(files, None).store(log)
        look(store, f"{HOME}/{path}")
        check_requests(log, above=ABOVE if look in WRITERS else ())


@pytest.mark.parametrize("path", [*ASTRAY, *ODD])
def test_wells_and_fields_are_chosen_among_those_that_are_there(path: str) -> None:
    files = {name: to_bytes(content) for name, content in hierarchy("0.5", "plate").items()}
    asked: list[Document] = [{"wells": path}, {"wells": [path, "A/1"]}, {"fields": [path]}]
    for options in asked:
        log = Log()
        store: Any = Mutant(files, None).store(log)
        with accepted():
            shown(xr.open_datatree(store, engine="omezarr", group=HOME, **options))
        check_requests(log)
        # Else pandas itself refuses halves of pairs.
        table = pd.DataFrame({"well": pd.Series([path], dtype=object), "row": ["A"]})
        with accepted():
            xr.open_datatree(store, engine="omezarr", group=HOME, wells=table)
        check_requests(log)


@pytest.fixture(scope="module")
def reads() -> Reads:
    return Reads()


def lay_down(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a hierarchy beside secrets that look like groups of it."""
    for name in ("secret", "data/secret", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "zarr.json").write_text('{"node_type": "group"}')
    home = folder / HOME
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    return home


@pytest.mark.parametrize("place", PLACES)
def test_paths_that_lead_astray_on_a_disk(
    place: Callable[[Document, Json], None], reads: Reads, tmp_path: Path
) -> None:
    folder = tmp_path.resolve()
    version = PLACES[place][1][-1]
    home = lay_down(folder, at_a_place(place, version, "x"))
    for path in ("../secret", "../../secret", f"{folder}/secret", "%2e%2e/secret", "..\\secret"):
        for name, content in at_a_place(place, version, path).items():
            (home / name).write_bytes(content)
        with reads.below(folder, home):
            for look in LOOKERS:
                look(str(home), None)
            upgraded(str(home))


def test_paths_that_lead_astray_on_a_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    home = lay_down(tmp_path, at_a_place(plate_wells, "0.5", "x"))
    with served(tmp_path) as (url, asked):
        for place in (plate_wells, well_images, labels_list, dataset_path):
            for path in ("../secret", "%2e%2e/secret", "%252e%252e/secret", "..\\secret", "//h/x"):
                for name, content in at_a_place(place, "0.5", path).items():
                    (home / name).write_bytes(content)
                for look in (tables, trees, images):
                    look(f"{url}/{HOME}", None)
    assert asked
    for request in asked:
        assert unquote(request.path).startswith(f"/{HOME}/"), request.path
        assert ".." not in unquote(unquote(request.path)).split("/"), request.path


# ── hierarchies that lead back into themselves ───────────────────────────────────────────────────


def check_all(files: Document, most: int = MOST_REQUESTS) -> None:
    """Do everything to a hierarchy, at the root and at each group, within bounds."""
    content = {name: to_bytes(document) for name, document in files.items()}
    for at in (HOME, f"{HOME}/A/1"):
        for look in LOOKERS:
            log = Log()
            look(Mutant(content, None).store(log), at)
            check_requests(log, most, ABOVE if look in WRITERS else ())
    log = Log()
    upgraded(StorePath(Mutant(content, None).store(log, astray=False), HOME))
    check_requests(log, most)


def put(files: Document, at: str, version: str, ome: Document) -> None:
    """Let something else stand at a path."""
    for name, content in group(version, ome).items():
        files[f"{at}/{name}" if at else name] = content


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("at", ["A/1", IMAGE, f"{IMAGE}/labels", f"{IMAGE}/labels/cells"])
def test_a_plate_within_itself(at: str, version: str) -> None:
    files = hierarchy(version, "plate")
    put(files, at, version, attributes_of(files, ""))
    check_all(files)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_that_is_a_well(version: str) -> None:
    files = hierarchy(version, "plate")
    put(files, IMAGE, version, attributes_of(files, "A/1"))
    check_all(files)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_group_that_is_everything(version: str) -> None:
    files = hierarchy(version, "plate")
    everything: Document = {"bioformats2raw.layout": 3, "series": ["A/1", "0"], "labels": ["0"]}
    for at in ("", "A/1", IMAGE):
        everything |= attributes_of(files, at)
    for at in ("", "A/1", IMAGE, "OME", f"{IMAGE}/labels/cells"):
        put(files, at, version, everything)
    check_all(files)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", ["OME", "OME/OME", "A", "A/1", IMAGE])
def test_a_series_within_itself(path: str, version: str) -> None:
    files = hierarchy(version, "series")
    series_list(files, path)
    put(files, path, version, attributes_of(files, "") | {"series": [path]})
    check_all(files)


@pytest.mark.parametrize("path", ["A", "A/1", IMAGE])
def test_a_scene_within_itself(path: str) -> None:
    files = hierarchy("0.6", "scene")
    scene_input(files, path)
    put(files, path, "0.6", attributes_of(files, ""))
    check_all(files)


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_of_labels(version: str) -> None:
    files = hierarchy(version, "plate")
    at = f"{IMAGE}/labels/cells"
    for name in ("", "/0", "/1"):
        label = {k: v for k, v in files.items() if k.rpartition("/")[0] == f"{at}{name}"}
        for _ in range(20):
            label = {k.replace(at, f"{at}/labels/cells", 1): v for k, v in label.items()}
            files |= label
    for depth in range(1, 20):
        put(files, f"{IMAGE}{'/labels/cells' * depth}/labels", version, {"labels": ["cells"]})
    # What is there is changed, as deep as it may be; and copied, its sizes asked for one by one.
    check_all(files, 5 * MOST_REQUESTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_one_well_listed_as_many(version: str) -> None:
    files = hierarchy(version, "plate")
    plate = attributes_of(files, "")["plate"]
    plate["rows"] = [{"name": f"R{i}"} for i in range(100)]
    plate["columns"] = [{"name": f"{i}"} for i in range(100)]
    plate["wells"] = [
        {"path": path, "rowIndex": i // 100, "columnIndex": i % 100}
        for i in range(10**4)
        for path in (("A/1", "A/1/")[i % 2],)
    ]
    check_all(files)
    plate["wells"] = [{"path": "A", "rowIndex": i // 100, "columnIndex": i % 100}
                      for i in range(10**4)]  # fmt: skip
    put(files, "A", version, {"well": {"images": [{"path": "1/0"}]}})
    check_all(files)


# ── far too much of everything ───────────────────────────────────────────────────────────────────

MILLION = 10**6


def million_wells(version: str) -> dict[str, bytes]:
    listed = ",".join(f'{{"path":"R{i // 1000}/{i % 1000}"}}' for i in range(MILLION))
    return with_a_list(version, "", "wells", listed)


def million_rows(version: str) -> dict[str, bytes]:
    listed = ",".join(f'{{"name":"{i}"}}' for i in range(MILLION))
    return with_a_list(version, "", "rows", listed)


def million_acquisitions(version: str) -> dict[str, bytes]:
    listed = ",".join(f'{{"id":{i}}}' for i in range(MILLION))
    return with_a_list(version, "", "acquisitions", listed)


def million_images(version: str) -> dict[str, bytes]:
    listed = ",".join(f'{{"path":"{i}"}}' for i in range(MILLION))
    return with_a_list(version, "A/1", "images", listed)


def million_broken(version: str) -> dict[str, bytes]:
    return with_a_list(version, "", "wells", ",".join(["null,7"] * (MILLION // 2)))


def with_a_list(version: str, at: str, key: str, listed: str) -> dict[str, bytes]:
    """Give the files of a plate, one list of which is too long to be made of objects first."""
    files = hierarchy(version, "plate")
    about = attributes_of(files, at)["plate" if not at else "well"]
    about[key] = "@list@"
    content = {name: to_bytes(document) for name, document in files.items()}
    return {
        name: text.replace(b'"@list@"', f"[{listed}]".encode()) for name, text in content.items()
    }


MILLIONS: tuple[Callable[[str], dict[str, bytes]], ...] = (
    million_wells, million_rows, million_acquisitions, million_images, million_broken,
)  # fmt: skip


@pytest.mark.parametrize("giant", MILLIONS)
def test_a_million(giant: Callable[[str], dict[str, bytes]]) -> None:
    mutant = Mutant(giant("0.5"), None)
    with bounded(1024 * MEBI):
        for look in (tables, trees, images):
            log = Log()
            look(mutant.store(log), HOME)
            check_requests(log)


@pytest.mark.parametrize("giant", MILLIONS)
def test_many_whose_metadata_are_gone_through(
    giant: Callable[[str], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rules are held against each of them, one after the other.
    monkeypatch.setattr("tests.test_hostile_plates.MILLION", 20_000)
    monkeypatch.setattr(verdict, "_MOST", 1000)
    mutant = Mutant(giant("0.5"), None)
    for look in (verdicts, points, joins, edits):
        log = Log()
        look(mutant.store(log), HOME)
        check_requests(log, above=ABOVE)
    log = Log()
    upgraded(StorePath(mutant.store(log, astray=False), HOME))
    check_requests(log)


class Everything(WrapperStore[MemoryStore]):
    """A store that has whatever it is asked for: at each path one of a few documents."""

    def __init__(self, answers: dict[str, bytes], log: Log) -> None:
        super().__init__(MemoryStore())
        self.answers = answers
        self.log = log

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        del prototype, byte_range
        self.log.requests.append(("get", key))
        assert len(self.log.requests) < 10**6, "it goes on for ever"
        for pattern, content in self.answers.items():
            if re.fullmatch(pattern, key):
                return cpu.Buffer.from_bytes(content)
        return None

    async def exists(self, key: str) -> bool:
        return await self.get(key, cpu.buffer_prototype) is not None


def of_group(version: str, ome: Document) -> bytes:
    (content,) = (json.dumps(one).encode() for one in group(version, ome).values())
    return content


def test_a_million_fields_in_wells_that_are_all_there() -> None:
    fields = [{"path": str(i)} for i in range(1000)]
    pairs = [(row, column) for row in range(40) for column in range(25)]
    listed = [{"path": f"{r}/{c}", "rowIndex": r, "columnIndex": c} for r, c in pairs]
    plate: Document = {
        "rows": [{"name": str(i)} for i in range(40)],
        "columns": [{"name": str(i)} for i in range(25)],
        "wells": listed,
    }
    files = {name: to_bytes(content) for name, content in hierarchy("0.5", "plate").items()}
    answers = {
        "zarr.json": of_group("0.5", {"plate": plate}),
        r"\d+/\d+/zarr.json": of_group("0.5", {"well": {"images": fields}}),
    }
    answers |= {
        rf"\d+/\d+/\d+/{re.escape(name.removeprefix(f'{IMAGE}/'))}": content
        for name, content in files.items()
        if name.startswith(IMAGE) and "labels" not in name
    }
    with bounded(1024 * MEBI):
        log = Log()
        store: Any = Everything(answers, log)
        with pytest.raises(OmeZarrError, match=r"wells=.*fields="):
            xr.open_datatree(store, engine="omezarr")
        assert len(log.requests) <= 1002
        log.clear()
        tree = xr.open_datatree(store, engine="omezarr", wells="7/1?", fields=[3], level=0)
        assert len(log.requests) <= 100
        assert tree["7/12/3/0"].attrs


@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_that_never_ends(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As many are read as there may be of them; and here there are some.
    monkeypatch.setattr(plates, "MOST", 100)
    monkeypatch.setattr(verdict, "_MOST", 1000)
    files = {name: to_bytes(content) for name, content in hierarchy(version, "series").items()}
    answers = {re.escape(name): content for name, content in files.items()}
    answers |= {
        rf"\d+/{re.escape(name.removeprefix(f'{IMAGE}/'))}": content
        for name, content in files.items()
        if name.startswith(IMAGE) and "labels" not in name
    }
    for look in (trees, verdicts, edits):
        log = Log()
        look(Everything(answers, log), None)
        assert 100 <= len(log.requests) < 6000


def test_a_store_that_has_everything() -> None:
    files = {name: to_bytes(content) for name, content in hierarchy("0.5", "plate").items()}
    for name in ("zarr.json", "A/1/zarr.json", f"{IMAGE}/zarr.json", f"{IMAGE}/0/zarr.json"):
        log = Log()
        for look in LOOKERS:
            look(Everything({".*": files[name]}, log), None)
        assert len(log.requests) < 10**4


# ── names of every kind ──────────────────────────────────────────────────────────────────────────

NAMES: tuple[Json, ...] = (
    "", " ", "'", '"', "`", "'; DROP TABLE wells", "a\nb", "a\r\nb", "\t", "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07", "\x9b2J", "\u202eabc", "\u2028", "\ud800", "\0", "&amp;", "x" * 10**6,
    "<script>alert(1)</script>", '<img src=x onerror="alert(1)">', "%s%n", "{0.__class__}",
    "${HOME}", "name", "ü", "細胞", "🔬", "e\u0301", "A/1", "..", "/", "a b", "00", "-1", "1.0",
    "NaN", "None", "True", "image", "labels", "OME", "y", "x", "c", "well", "row", "field",
    "__proto__", "0_mip", ".zattrs", None, True, 0, -1, 1.5, 10**30, float("nan"), [], [1], {},
    {"name": "A"},
)  # fmt: skip


def name_row(plate: Document, name: Json) -> None:
    plate["rows"] = [{"name": name}]
    plate["wells"][0]["path"] = f"{name}/1" if isinstance(name, str) else "A/1"


def name_row_elsewhere(plate: Document, name: Json) -> None:
    # A path that says nothing of rows and columns: the indices do.
    plate["rows"] = [{"name": name}]
    plate["wells"][0]["path"] = "W"


def name_row_by_index(plate: Document, name: Json) -> None:
    plate["rows"] = [{"name": name}]


def name_column(plate: Document, name: Json) -> None:
    plate["columns"] = [{"name": name}]
    plate["wells"][0]["path"] = f"A/{name}" if isinstance(name, str) else "A/1"


def name_plate(plate: Document, name: Json) -> None:
    plate["name"] = name


def name_acquisition(plate: Document, name: Json) -> None:
    plate["acquisitions"] = [{"id": 0, "name": name}, {"id": name}, name]


def name_indices(plate: Document, name: Json) -> None:
    plate["wells"][0] |= {"path": "W", "rowIndex": name, "columnIndex": name}


def name_everything_else(plate: Document, name: Json) -> None:
    plate |= {"field_count": name, "version": name, "wells": [*plate["wells"], name]}


NAMED = (
    name_row, name_row_elsewhere, name_row_by_index, name_column, name_plate, name_acquisition,
    name_indices, name_everything_else,
)  # fmt: skip


@pytest.mark.parametrize("where", NAMED)
def test_names_of_every_kind(where: Callable[[Document, Json], None]) -> None:
    for name, version in zip(NAMES, itertools.cycle(VERSIONS), strict=False):
        files = hierarchy(version, "plate")
        where(attributes_of(files, "")["plate"], name)
        content = {key: to_bytes(document) for key, document in files.items()}
        well = attributes_of(files, "")["plate"]["wells"][0]["path"]
        if isinstance(well, str) and re.fullmatch(r"[^/\ud800-\udfff]{1,200}(/[^/\ud800]*)?", well):
            # The well is there, whatever it is called.
            moved = {k: v for k, v in content.items() if k.startswith("A/1/")}
            content |= {f"{well}/{k.removeprefix('A/1/')}": v for k, v in moved.items()}
        html = (notebooks,) if isinstance(name, str) and set(name) & {*"<&\x1b"} else (trees,)
        for look in (tables, *html, verdicts, joins, edits):
            log = Log()
            look(Mutant(content, None).store(log), HOME)
            check_requests(log, above=ABOVE if look in WRITERS else ())


def test_keys_that_lead_astray_are_not_copied(tmp_path: Path) -> None:
    files = {name: to_bytes(content) for name, content in hierarchy("0.5", "plate").items()}
    place: Any = StorePath(Mutant(files, None).store(Log()), HOME)
    with pytest.raises(OmeZarrError, match=r"holds '../secret.*leads out of it"):
        upgrade(place, tmp_path / "folder" / "plate", version="0.6")
    assert not (tmp_path / "folder" / "secret").exists()
