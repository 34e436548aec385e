"""Hostile files: they open, or are warned of, or an `OmeZarrError` says what is wrong with them.

Valid hierarchies of each version are broken here in every way that JSON, and what is no JSON, can
be. HOSTILE_MUTANTS says how many of them: 1,000 as a rule, 20,000 before a release.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import resource
import shutil
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore, StorePath

from tests.helpers import Log, WatchedStore, axis
from xarray_omezarr import (
    OmeZarrError,
    OmeZarrWarning,
    spec,
    transform_points,
    update_metadata,
    upgrade,
    validate,
    wells,
)
from xarray_omezarr.guess import peek

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from tests.helpers import Document, Place

    Json = Any
    """What `json` reads, or bytes that stand in its stead."""

MUTANTS = int(os.environ.get("HOSTILE_MUTANTS", "1000"))
#: Where the hierarchy lies in its store: nothing else in there is its business.
HOME = "data/here"
#: No mutant of these small hierarchies needs more.
MOST_REQUESTS = 400
#: How many characters of a failing mutant's files are shown.
LONGEST_REPR = 16_000
MEBI = 2**20

VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.9.dev1")
ROOTS = ("plate", "series", "scene")
IMAGE = "A/1/0"
GROUPS = (IMAGE, IMAGE, IMAGE, f"{IMAGE}/labels/cells", f"{IMAGE}/labels", "A/1", None, None, None)


# ── valid hierarchies ────────────────────────────────────────────────────────────────────────────


def is_old(version: str) -> bool:
    return version in {"0.1", "0.2", "0.3", "0.4"}


def multiscale(version: str, dims: str) -> Document:
    levels = [("0", [1.0] * len(dims)), ("1", [1.0] * (len(dims) - 2) + [2.0, 2.0])]
    entry: Document = {"name": "cells", "type": "mean", "metadata": {"method": "mean"}}
    if version in {"0.1", "0.2", "0.3"}:
        named = {"axes": list(dims)} if version == "0.3" else {}
        return {"version": version, **entry, **named, "datasets": [{"path": p} for p, _ in levels]}
    axes = [axis(dim, None if dim == "c" else "micrometer") for dim in dims]
    steps = [
        [{"type": "scale", "scale": s}, {"type": "translation", "translation": [0.5] * len(dims)}]
        for _, s in levels
    ]
    if version in {"0.4", "0.5"}:
        datasets: list[Document] = [
            {"path": path, "coordinateTransformations": own}
            for (path, _), own in zip(levels, steps, strict=True)
        ]
        outer = [{"type": "scale", "scale": [1.0] * len(dims)}]
        geometry = {"axes": axes, "datasets": datasets, "coordinateTransformations": outer}
        return {**({"version": "0.4"} if version == "0.4" else {}), **entry, **geometry}
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {
                    "type": "sequence",
                    "transformations": own,
                    "input": {"path": path},
                    "output": {"name": "physical"},
                }
            ],
        }
        for (path, _), own in zip(levels, steps, strict=True)
    ]
    world = {
        "type": "affine",
        "affine": [[float(i == j) for j in range(len(dims) + 1)] for i in range(len(dims))],
        "input": {"name": "physical"},
        "output": {"name": "world"},
    }
    return {
        **entry,
        "coordinateSystems": [{"name": n, "axes": axes} for n in ("physical", "world")],
        "datasets": datasets,
        "coordinateTransformations": [world],
    }


def omero() -> Document:
    window = {"min": 0, "max": 255, "start": 1, "end": 100}
    return {
        "channels": [
            {"label": label, "color": "00FF00", "window": window, "active": True}
            for label in ("DAPI", "GFP")
        ],
        "rdefs": {"defaultZ": 0, "model": "color"},
    }


def array(version: str, dims: str, sizes: Sequence[int]) -> Document:
    if is_old(version):
        return {
            "zarr_format": 2,
            "shape": list(sizes),
            "chunks": [min(8, n) for n in sizes],
            "dtype": "<u2",
            "compressor": {"id": "zlib", "level": 1},
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "dimension_separator": "." if version == "0.1" else "/",
        }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(sizes),
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8] * len(sizes)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": 1}},
        ],
        "attributes": {},
        "dimension_names": list(dims),
    }


def group(version: str, ome: Document) -> Document:
    """Give the files of a group with these attributes, as the version has them."""
    if is_old(version):
        return {".zgroup": {"zarr_format": 2}, ".zattrs": ome}
    attributes = {"ome": {"version": version, **ome}, "vendor": {"kept": [1, 2]}}
    return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}


def image(version: str, dims: str, **ome: Document) -> Document:
    """Give the files of an image of two levels, with pixels at the first one's corner."""
    files = group(version, {"multiscales": [multiscale(version, dims)], **ome})
    file = ".zarray" if is_old(version) else "zarr.json"
    full = dict(zip("tczyx", (1, 2, 1, 12, 10), strict=True))
    for level in range(2):
        sizes = [full[dim] // (2**level if dim in "yx" else 1) for dim in dims]
        files[f"{level}/{file}"] = array(version, dims, sizes)
    return files


def hierarchy(version: str, root: str) -> Document:
    """Give the files of a plate, series or scene of one image with a label image: JSON by key."""
    dims = "tczyx" if version in {"0.1", "0.2"} else "cyx"
    scene = {
        "coordinateSystems": [{"name": "world", "axes": [axis(dim) for dim in dims]}],
        "coordinateTransformations": [
            {
                "type": "identity",
                "input": {"path": IMAGE, "name": "physical"},
                "output": {"name": "world"},
            }
        ],
    }
    roots: dict[str, Document] = {
        "plate": {
            "plate": {
                "name": "plate",
                "rows": [{"name": "A"}],
                "columns": [{"name": "1"}],
                "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}],
                "acquisitions": [{"id": 0}],
                "field_count": 1,
            }
        },
        "series": {"bioformats2raw.layout": 3, "series": [IMAGE]},
        "scene": {"scene": scene},
    }
    about = {
        "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
        "properties": [{"label-value": i, "area": 1.5 * i, "class": "round"} for i in (1, 2)],
        "source": {"image": "../../"},
    }
    labels = image(version, dims, **{"image-label": about})
    label = {"labels": ["cells"]}
    parts = {
        "": group(version, roots[root]),
        "A/1/": group(version, {"well": {"images": [{"path": "0", "acquisition": 0}]}}),
        f"{IMAGE}/": image(version, dims, omero=omero()),
        f"{IMAGE}/labels/": group(version, label),
        f"{IMAGE}/labels/cells/": labels,
    }
    files = {f"{at}{key}": content for at, part in parts.items() for key, content in part.items()}
    # So that no two of them share what a mutation changes.
    copied: Document = json.loads(json.dumps(files))
    return copied


# ── what can be done to them ─────────────────────────────────────────────────────────────────────

#: What stands for JSON that `json` would not write: so many levels, or so many digits.
NESTED, DIGITS = "@nested@", "@digits@"
KEYS = (
    "multiscales ome version axes name type unit datasets path coordinateTransformations scale "
    "translation transformations input output coordinateSystems omero channels label color window "
    "labels image-label colors properties label-value rgba plate well wells images scene series "
    "bioformats2raw.layout shape chunks dtype data_type filters codecs dimension_separator "
    "node_type attributes orientation longName"
).split()
NAMES = (
    *KEYS, "", " ", ".", "..", "/", "//", "../..", "../../../secret", "/etc/passwd",
    "%2e%2e/secret", ".\n./secret", "a/../../../secret", "A\\..\\secret", "C:\\secret",
    "file:///etc/passwd", "http://[::1]:1/x", "\0", "\ud800", "\x1b[31m", "\u202e", "a" * 400,
    "<script>alert(1)</script>", "\"'`;", "${HOME}", "{0.__class__}", "%s%n", "0", "1", "image",
    "cells_id", "x", "y", "c", "c_color", "m/z", "uint8", "|O", "<M8[ns]", "|V4", "<U4",
    "object", "string", "complex128", "0.4", "0.5", "0.6", "0.7", "0.6.dev3", "C:secret",
    "identity", "rotation", "sequence", "pickle", "blosc", "sharding_indexed", "none", "NaN",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 255, 256, 2**31, 2**53, 10**12, 2**63 - 1, 2**63, 2**64, -(2**63) - 1,
    10**400, 0.0, -0.0, 0.5, -0.5, 1e-12, 1e12, 1e308, -1e308, 5e-324, float("nan"), float("inf"),
    -float("inf"),
)  # fmt: skip
DEPTHS = (60, 98, 101, 200, 330, 480, 980, 3000, 100_000)
odd = st.one_of(
    st.sampled_from(
        [None, True, False, [], {}, [[]], [None], [{}], {"": None}, [1, 2], ["y", "x"]]
    ),
    st.sampled_from(NUMBERS),
    st.sampled_from(NAMES),
    st.text(max_size=8),
    st.sampled_from(DEPTHS).map(lambda depth: f"{NESTED}{depth}"),
    st.just(f"{DIGITS}5000"),
    st.sampled_from(NAMES).map(lambda name: {"path": name}),
    st.sampled_from(NUMBERS).map(lambda number: [number] * 3),
)


def shortened(text: str, most: int) -> str:
    """Cut what is too long, and say how much of it is gone."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


@dataclass(frozen=True)
class Mutant:
    """A hierarchy with something wrong in it, and the group of it that is opened."""

    files: dict[str, bytes]
    group: str | None

    def __repr__(self) -> str:
        # A failing one is to be read by people, and hypothesis warns of one that is too long.
        most = LONGEST_REPR // max(1, len(self.files))
        files = ", ".join(
            f"{name!r}: {shortened(repr(content), most)}" for name, content in self.files.items()
        )
        return f"Mutant({{{files}}}, {self.group!r})"

    def store(self, log: Log, *, astray: bool = True) -> WatchedStore:
        """Lay it down among files that are none of its business, one of an odd name among them."""
        secrets = ["secret", "data/secret", "data", "", "etc"]
        secrets += [f"{HOME}/../secret"] if astray else []
        foreign = {f"{at}/zarr.json".lstrip("/"): b'{"node_type": "group"}' for at in secrets}
        files = foreign | {f"{HOME}/{key}": content for key, content in self.files.items()}
        return WatchedStore(
            MemoryStore({key: cpu.Buffer.from_bytes(content) for key, content in files.items()}),
            log=log,
        )


def places(document: Json) -> Iterator[tuple[Json, Json]]:
    """Give each container in a document, with each key or index in it."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            yield item, key
            if isinstance(value, (dict, list)):
                waiting.append(value)


def to_bytes(content: Json) -> bytes:
    """Write JSON, with what stands for more than can be written."""
    if isinstance(content, bytes):
        return content

    def nested(found: re.Match[str]) -> str:
        depth = int(found[1])
        opening, closing = ('{"a":', "}") if depth % 2 else ("[", "]")
        return f"{opening * depth}1{closing * depth}"

    text = re.sub(f'"{NESTED}(\\d+)"', nested, json.dumps(content))
    return re.sub(f'"{DIGITS}(\\d+)"', lambda found: "7" * int(found[1]), text).encode()


@st.composite
def mutants(draw: st.DrawFn) -> Mutant:
    """Draw a hierarchy with one to four things wrong in it."""
    files = hierarchy(draw(st.sampled_from(VERSIONS)), draw(st.sampled_from(ROOTS)))
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(list(files)))
        if not isinstance(files[name], (dict, list)) or draw(st.integers(0, 9)) == 0:
            break_file(draw, files, name)
        else:
            change(draw, files, name)
        if not files:
            break
    content = {name: to_bytes(content) for name, content in files.items()}
    return Mutant(content, draw(st.sampled_from(GROUPS)))


def break_file(draw: st.DrawFn, files: Document, name: str) -> None:
    """Do to a file what no JSON needs."""
    content = to_bytes(files[name])
    what = draw(st.sampled_from(["cut", "empty", "bytes", "gone", "other", "value", "utf-16"]))
    if what == "gone":
        del files[name]
    elif what == "other":
        files[name] = copy.deepcopy(files[draw(st.sampled_from(list(files)))])
    elif what == "value":
        files[name] = to_bytes(draw(odd))
    else:
        cut = draw(st.integers(0, len(content)))
        files[name] = {
            "cut": content[:cut],
            "empty": b"",
            "bytes": content[:cut] + b"\xff\x00\xfe" + content[cut:],
            "utf-16": content.decode(errors="replace").encode("utf-16"),
        }[what]


def change(draw: st.DrawFn, files: Document, name: str) -> None:
    """Change one thing in a document."""
    at = list(places(files[name]))
    if not at:
        return
    holder, key = draw(st.sampled_from(at))
    what = draw(
        st.sampled_from(["value", "value", "drop", "swap", "wrap", "repeat", "rename", "add"])
    )
    other_holder, other_key = draw(st.sampled_from(at)) if what == "swap" else (holder, key)
    if what == "value":
        holder[key] = copy.deepcopy(draw(odd))
    elif what == "drop":
        del holder[key]
    elif what == "swap":
        holder[key] = copy.deepcopy(other_holder[other_key])
    elif what == "wrap":
        wrapped = holder[key]
        holder[key] = [wrapped] if draw(st.booleans()) else {draw(st.sampled_from(NAMES)): wrapped}
    elif what == "repeat":
        whole = holder[key] if isinstance(holder[key], list) else [holder[key]]
        holder[key] = whole * draw(st.sampled_from([0, 2, 3, 7, 40, 300]))
    elif isinstance(holder, dict):
        value = holder.pop(key) if what == "rename" else copy.deepcopy(draw(odd))
        holder[draw(st.sampled_from(NAMES))] = value
    else:
        holder.insert(key, copy.deepcopy(draw(odd)))


# ── what may come of it ──────────────────────────────────────────────────────────────────────────


def check_text(text: str) -> None:
    """Check that a message can be shown: short, and without anything that a terminal obeys."""
    assert len(text) < 8000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)


@contextmanager
def accepted(most: int = 100) -> Iterator[None]:
    """Let warnings and errors of this package pass, if they can be shown; and nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except OmeZarrError as error:
            check_text(str(error))
    said = [warning for warning in caught if "xarray_omezarr" in warning.filename]
    assert len(said) <= most
    for warning in said:
        assert warning.category is OmeZarrWarning
        check_text(str(warning.message))


def check_dataset(ds: xr.Dataset) -> None:
    """Check what has been opened."""
    for name, coordinate in ds.coords.items():
        if coordinate.dims == (name,) and coordinate.dtype.kind == "f":
            assert np.isfinite(coordinate.values).all()
    if "image" in ds:
        assert set(ds.image.dims) <= set(ds.sizes)
        assert isinstance(ds.image.encoding["omezarr"]["document"], dict)
    assert repr(ds)


def opened(place: Place, group: str | None, *, labels: bool = True) -> xr.Dataset:
    return xr.open_dataset(place, engine="omezarr", group=group, labels=labels)


def tree(place: Place, group: str | None) -> xr.DataTree:
    return xr.open_datatree(place, engine="omezarr", group=group)


def try_all(place: Place, group: str | None) -> None:
    """Do to a hierarchy whatever reads its metadata."""
    with accepted():
        check_dataset(opened(place, group))
    with accepted():
        for node in tree(place, group).subtree:
            check_dataset(node.to_dataset(inherit=False))


def try_validation(place: Place, group: str | None) -> None:
    """Hold a hierarchy against the specification."""
    with accepted():
        report = validate(place, group=group)
        assert len(str(report)) < MEBI
        assert "<script" not in report._repr_html_()
        json.loads(report.to_json())


def try_screens(place: Place, group: str | None) -> None:
    """Do to a plate, a series or a scene what is done to many images at once."""
    with accepted():
        table = wells(place, group=group, positions=True, shapes=True)
        assert repr(table)
    with accepted():
        few = xr.open_datatree(
            place, engine="omezarr", group=group, wells=wells(place, group=group), level=0,
            labels=True,
        )  # fmt: skip
        assert repr(few)
    ways: list[Document] = [{"stack": "well"}, {"stack": ("row", "column"), "fill_value": 0}]
    for options in ways:
        with accepted():
            check_dataset(xr.open_dataset(place, engine="omezarr", group=group, **options))


def try_points(place: Place, group: str | None) -> None:
    """Bring points from the pixels of a hierarchy's images to wherever it says that they are."""
    for source, target in (
        ("0", "physical"),
        ("1", "world"),
        ((IMAGE, "physical"), "world"),
        ("world", (IMAGE, "0")),
    ):
        with accepted():
            points = transform_points(place, np.ones((2, 3)), source, target, group=group)
            assert points.shape[0] == 2


def try_changes(place: Place, **wanted: Json) -> None:
    """Change what a hierarchy says."""
    with accepted():
        first = update_metadata(place, dry_run=True, **wanted)
        assert str(update_metadata(place, **wanted)) == str(first)
        # What has been changed is so, whatever else there is.
        assert not update_metadata(place, **wanted).files


def try_versions(place: Place, version: str, *, lossy: bool) -> None:
    """Bring a hierarchy to another version, somewhere else and then in place."""
    with accepted():
        upgrade(place, MemoryStore(), version=version, lossy=lossy)
    with accepted():
        upgrade(place, version=version, lossy=lossy)


#: Consolidated metadata of the groups above: they hold a copy of what is changed.
ABOVE = {f"{at}{file}" for at in ("", "data/") for file in (".zmetadata", "zarr.json")}


def check_requests(log: Log, most: int = MOST_REQUESTS, above: Collection[str] = ()) -> None:
    """Check that nothing outside the hierarchy was asked for, and not too much of it."""
    assert len(log.requests) <= most
    for key in {*log.keys()} - {*above}:
        seen = unquote(key)
        assert f"{seen}/".startswith(f"{HOME}/"), key
        assert not re.search(r"(^|/)\.\.?(/|$)|\\|[\x00-\x1f]", seen), key


@contextmanager
def bounded(growth: int) -> Iterator[None]:
    """Expect that the process never takes so many bytes more than it ever did before."""
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < growth


many = settings(
    max_examples=MUTANTS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""The settings of a test of mutants; the profile says whether they are the same each time."""


@many
@given(mutants())
def test_mutants(mutant: Mutant) -> None:
    log = Log()
    with bounded(512 * MEBI):
        group = f"{HOME}/{mutant.group}" if mutant.group else HOME
        try_all(mutant.store(log), group)
        try_validation(mutant.store(log), group)
    check_requests(log)


@settings(many, max_examples=max(1, MUTANTS // 4))
@given(mutants())
def test_mutants_of_plates(mutant: Mutant) -> None:
    log = Log()
    with bounded(512 * MEBI):
        try_screens(mutant.store(log), HOME)
    check_requests(log)


CHANGES: list[Document] = [
    {"repair": True},
    {"name": "other"},
    {"scale": {"y": 2.0}, "units": "nanometer"},
    {"colors": ["00FF00", "FF0000"], "names": ["one", "two"]},
]


@settings(many, max_examples=max(1, MUTANTS // 10))
@given(mutants(), st.sampled_from(CHANGES), st.sampled_from(["0.4", "0.5", "0.6"]), st.booleans())
def test_mutants_are_changed_or_refused(
    mutant: Mutant,
    wanted: Document,
    version: str,
    lossy: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    log = Log()
    with bounded(512 * MEBI):
        try_points(mutant.store(log), f"{HOME}/{mutant.group}" if mutant.group else HOME)
        try_changes(StorePath(mutant.store(log), HOME), **wanted)
        # What no other version has a name for is encoded anew, for as long as there are pixels.
        if not re.search(rb'"shape": \[[^\]]*\d{5}', b" ".join(mutant.files.values())):
            try_versions(StorePath(mutant.store(log, astray=False), HOME), version, lossy=lossy)
    check_requests(log, 8 * MOST_REQUESTS, ABOVE)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_mutation_they_are_opened_without_a_word(version: str) -> None:
    files = {key: to_bytes(content) for key, content in hierarchy(version, "plate").items()}
    store = Mutant(files, None).store(Log())
    if version != "0.9.dev1":
        warnings.simplefilter("error")
    else:
        warnings.simplefilter("ignore", OmeZarrWarning)
    ds = opened(store, f"{HOME}/{IMAGE}")
    assert set(ds.data_vars) == {"image", "cells", "cells_area", "cells_class"}
    assert ds.c.values.tolist() == ["DAPI", "GFP"]
    assert {"labels", "0", "1"} == set(tree(store, f"{HOME}/{IMAGE}").children)


# ── on a disk ────────────────────────────────────────────────────────────────────────────────────


class Reads:
    """The files and folders that this process opens and lists, while it is looked at."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if self.paths is not None and event in {"open", "os.listdir", "os.scandir"}:
            self.paths.append(os.fsdecode(args[0]) if isinstance(args[0], (str, bytes)) else "")

    @contextmanager
    def below(self, root: Path, allowed: Path) -> Iterator[None]:
        """Expect that of what lies in a folder, only this one is read."""
        self.paths = []
        try:
            yield
        finally:
            paths, self.paths = self.paths, None
        inside = [path for path in map(os.path.realpath, paths) if path.startswith(f"{root}/")]
        assert inside
        assert all(f"{path}/".startswith(f"{allowed}/") for path in inside)


@pytest.fixture(scope="module")
def reads() -> Reads:
    return Reads()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile").resolve()


@settings(many, max_examples=max(1, MUTANTS // 10))
@given(mutant=mutants())
def test_mutants_on_a_disk(mutant: Mutant, reads: Reads, folder: Path) -> None:
    for name in ("secret", "data/secret", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "zarr.json").write_text('{"node_type": "group"}')
    home = folder / HOME
    shutil.rmtree(home, ignore_errors=True)
    for name, content in mutant.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    with reads.below(folder, home):
        assert peek(home / (mutant.group or "")) in {*spec.KINDS.values(), None}
        try_all(str(home), mutant.group)
        try_validation(str(home), mutant.group)


# ── what opens can be written ────────────────────────────────────────────────────────────────────


@settings(many, max_examples=max(1, MUTANTS // 10))
@given(mutants(), st.sampled_from([None, "0.4", "0.5", "0.6"]))
def test_what_opens_is_written_or_refused(mutant: Mutant, version: str | None) -> None:
    with accepted():
        ds = opened(mutant.store(Log()), f"{HOME}/{IMAGE}")
        ds = ds.isel({dim: slice(0, 3) for dim in ds.sizes})
        target = MemoryStore()
        ds.omezarr.to_zarr(target, version=version, levels=1)
        again = opened(target, None)
        np.testing.assert_array_equal(again.image.transpose(*ds.image.dims), ds.image)


# ── far too much of everything ───────────────────────────────────────────────────────────────────


def attributes_of(files: Document, at: str = IMAGE) -> Document:
    """Give the OME attributes in the files of a hierarchy."""
    at = f"{at}/" if at else ""
    if f"{at}.zattrs" in files:
        return files[f"{at}.zattrs"]  # type: ignore[no-any-return]
    return files[f"{at}zarr.json"]["attributes"]["ome"]  # type: ignore[no-any-return]


def shape(files: Document, *sizes: int) -> None:
    files[f"{IMAGE}/0/zarr.json"]["shape"] = list(sizes)


def many_channels(files: Document) -> None:
    shape(files, 10**5, 12, 10)
    attributes_of(files)["omero"]["channels"] = [{"label": "GFP", "color": "00FF00"}] * 10**5


def wrong_channels(files: Document) -> None:
    shape(files, 10**5, 12, 10)
    attributes_of(files)["omero"]["channels"] = [{"color": "green"}, None] * (10**5 // 2)


def long_labels(files: Document) -> None:
    shape(files, 10**4, 12, 10)
    labels = [{"label": str(i)} for i in range(10**4)]
    attributes_of(files)["omero"]["channels"] = [*labels[1:], {"label": "x" * 10**7}]


def long_axes(files: Document) -> None:
    shape(files, 2, 10**12, 10**12)


def many_levels(files: Document) -> None:
    entry = attributes_of(files)["multiscales"][0]
    entry["datasets"] = entry["datasets"][:1] * 10**5


def many_axes(files: Document) -> None:
    entry = attributes_of(files)["multiscales"][0]
    entry["axes"] = [{"name": f"axis{i}"} for i in range(10**5)]


def many_images(files: Document) -> None:
    attributes_of(files)["multiscales"] *= 10**4


def many_systems(files: Document) -> None:
    entry = attributes_of(files)["multiscales"][0]
    entry["coordinateSystems"] += [{"name": f"system {i}"} for i in range(10**4)]
    step = {"type": "warp", "input": {"name": "physical"}, "output": {"name": "system 0"}}
    entry["coordinateTransformations"] = [step] * 10**4


def many_labels(files: Document) -> None:
    attributes_of(files, f"{IMAGE}/labels")["labels"] = ["cells", *map(str, range(10**5))]


def sparse_properties(files: Document) -> None:
    about = attributes_of(files, f"{IMAGE}/labels/cells")["image-label"]
    about["properties"] = [{"label-value": i, f"property {i}": i} for i in range(10**5)]


def wide_properties(files: Document) -> None:
    about = attributes_of(files, f"{IMAGE}/labels/cells")["image-label"]
    about["properties"] = [{"label-value": 1} | {f"property {i}": i for i in range(10**5)}]


def wrong_colors(files: Document) -> None:
    about = attributes_of(files, f"{IMAGE}/labels/cells")["image-label"]
    about["colors"] = [{"label-value": i % 7, "rgba": ["red"]} for i in range(10**5)]


def many_wells(files: Document) -> None:
    plate = attributes_of(files, "")["plate"]
    plate["wells"] = [{"path": "../A/1"}] * 10**5


GIANTS: dict[Callable[[Document], None], tuple[str, str, int]] = {
    # What is made, of which version, what is opened of it, by how many requests.
    many_channels: ("0.5", IMAGE, 20),
    wrong_channels: ("0.5", IMAGE, 20),
    long_labels: ("0.6", IMAGE, 20),
    long_axes: ("0.5", IMAGE, 20),
    many_levels: ("0.5", IMAGE, 20),
    many_axes: ("0.4", IMAGE, 20),
    many_images: ("0.5", IMAGE, 20),
    many_systems: ("0.6", IMAGE, 20),
    many_labels: ("0.4", IMAGE, 3000),
    sparse_properties: ("0.5", IMAGE, 20),
    wide_properties: ("0.5", IMAGE, 20),
    wrong_colors: ("0.4", IMAGE, 30),
    many_wells: ("0.5", "", 20),
}


@pytest.mark.parametrize("giant", GIANTS, ids=lambda giant: giant.__name__)
def test_giants(giant: Callable[[Document], None]) -> None:
    version, at, requests = GIANTS[giant]
    files = hierarchy(version, "plate")
    giant(files)
    content = {name: to_bytes(document) for name, document in files.items()}
    log = Log()
    with bounded(1024 * MEBI):
        try_all(Mutant(content, at).store(log), f"{HOME}/{at}".rstrip("/"))
    assert len(log.requests) <= requests


@pytest.mark.parametrize("giant", [many_axes, many_images, many_systems, many_labels, many_wells])
def test_giants_are_validated_by_few_requests(giant: Callable[[Document], None]) -> None:
    version, at, _ = GIANTS[giant]
    files = hierarchy(version, "plate")
    giant(files)
    content = {name: to_bytes(document) for name, document in files.items()}
    log = Log()
    with bounded(1024 * MEBI):
        try_validation(Mutant(content, at).store(log), f"{HOME}/{at}".rstrip("/"))
    assert len(log.requests) <= 20


# ── nothing of the file is executed, or rendered as it stands ────────────────────────────────────


def test_no_chunk_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "boom"),))

    pickled = {"id": "pickle"}
    for place in ({"filters": [pickled]}, {"compressor": pickled}):
        files = hierarchy("0.4", "plate")
        files[f"{IMAGE}/0/.zarray"].update({"compressor": None, "chunks": [2, 12, 10], **place})
        content = {name: to_bytes(document) for name, document in files.items()}
        content[f"{IMAGE}/0/0/0/0"] = pickle.dumps(Bomb())
        store = Mutant(content, None).store(Log())
        with pytest.raises(OmeZarrError, match=r"describes no array.*pickle"):
            opened(store, f"{HOME}/{IMAGE}").load()
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_names_are_shown_escaped(version: str) -> None:
    bad = "<script>alert(1)</script>\x1b[2J"
    files = hierarchy(version, "plate")
    ome = attributes_of(files)
    ome["omero"]["channels"][0]["label"] = bad
    entry = ome["multiscales"][0]
    entry["name"] = bad
    for system in entry.get("coordinateSystems", [entry]):
        system["axes"][2] |= {"name": bad.replace("/", "|"), "unit": bad, "longName": bad}
    content = {name: to_bytes(document) for name, document in files.items()}
    with pytest.warns(OmeZarrWarning, match=r"\\x1b\[2J") as caught:
        ds = opened(Mutant(content, None).store(Log()), f"{HOME}/{IMAGE}", labels=False)
    for warning in caught:
        check_text(str(warning.message))
    assert ds.attrs["name"] == ds.c.values[0] == bad
    assert "<script" not in ds._repr_html_()


def test_deep_json_is_refused_whoever_calls() -> None:
    for depth in DEPTHS:
        files = hierarchy("0.5", "plate")
        attributes_of(files)["vendor"] = f"{NESTED}{depth}"
        content = {name: to_bytes(document) for name, document in files.items()}
        store = Mutant(content, None).store(Log())
        if depth < 95:
            ds = opened(store, f"{HOME}/{IMAGE}")
            assert copy.deepcopy(ds).identical(ds)
            ds.omezarr.to_zarr(MemoryStore(), levels=1)
        else:
            with pytest.raises(OmeZarrError, match=r"levels deep|no valid JSON"):
                opened(store, f"{HOME}/{IMAGE}")


def test_mutants_are_shown_in_short() -> None:
    files = {f"{i}/zarr.json": bytes(10**5) for i in range(12)}
    shown = repr(Mutant(files, "A/1"))
    assert len(shown) < 20_000
    assert all(repr(name) in shown for name in files)
    assert repr(Mutant({"zarr.json": b"{}"}, None)) == "Mutant({'zarr.json': b'{}'}, None)"
