"""Writes that are killed at any moment, what is there then, and what resuming them makes of it.

The tests kill a few; more are killed by `python -m tests.kills --kills 50 --what fresh`.

A write runs in a process of its own. That is killed (`SIGKILL`) after a random time, or at a random
one of all its operations on files: those of `unlink`, `mkdir`, `rename` and of opening to write,
so that also what lies between the two halves of an atomic replacement comes to be the last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask
import numpy as np
import xarray as xr

# All that a write imports: the process that others are forked from has it already.
import xarray_omezarr.accessor
import xarray_omezarr.ensembles
import xarray_omezarr.regions  # noqa: F401
from tests import forks
from xarray_omezarr import OmeZarrError, OmeZarrWarning, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection

    Files = dict[str, bytes | None]
    Groups = dict[str, list[np.ndarray[Any, Any]]]
    Moment = Literal["operation", "time"]

TOKEN = re.compile(r"\b(\d+)-[0-9a-f]{8}\b")
"""What distinguishes the arrays of one write from those of another."""

BUSY = {".omezarr.json", ".omezarr-update.json", ".omezarr-upgrade.json", ".omezarr"}
"""What is there only while something is being written."""


# ── what is written ──────────────────────────────────────────────────────────────────────────────


def image(*, seed: int = 0, frames: int = 3, channels: int = 1, labels: bool = False) -> xr.Dataset:
    """Make frames of odd sizes; with other seeds, others that lie on the same grid."""
    shape = (frames, channels, 37, 30)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 1000, (8, 4, *shape[2:]), "uint16")[:frames, :channels]
    # Chunks that are not stored, since they are nothing but the fill value.
    pixels[:, :, :16, :16] = 0
    ds = xr.Dataset({"image": (("t", "c", "y", "x"), pixels)})
    ds = ds.omezarr.assign_scale(t=2.0, y=0.5, x=0.5, units={"y": "micrometer", "x": "micrometer"})
    ds = ds.omezarr.assign_channels([f"channel {i}" for i in range(channels)])
    if labels:
        found = (pixels[:, 0] % 7).astype("int32")
        ds["cells"] = (("t", "y", "x"), found)
        ds["cells_area"] = ("cells_id", 10.0 * np.arange(1, 7) + seed)
        ds = ds.assign_coords(cells_id=np.arange(1, 7))
    assert isinstance(ds, xr.Dataset)
    return ds


def put(ds: xr.Dataset, where: Path, **options: Any) -> None:  # noqa: ANN401 - keywords
    """Write in chunks that are smaller than the image, and that appended frames begin within."""
    if "cells" in ds:
        options["labels"] = ["cells"]
    new = "region" not in options and "append_dim" not in options and options.get("mode") != "a"
    if new:
        options = {"chunks": {"t": 2, "y": 16, "x": 16}, "levels": 2, **options}
    ds.omezarr.to_zarr(where, **options)


def screen(*fields: str, seed: int = 0, labels: bool = False) -> xr.DataTree:
    """Make a plate, each of whose fields has other pixels."""
    nodes = {f: image(seed=seed + i, frames=1, labels=labels) for i, f in enumerate(fields)}
    for ds in nodes.values() if labels else ():
        ds["cells"].encoding["omezarr"] = {"kind": "label"}
    return xr.DataTree.from_dict(nodes)


def put_screen(tree: xr.DataTree, where: Path, **options: Any) -> None:  # noqa: ANN401 - keywords
    """Write a plate."""
    tree.omezarr.to_zarr(where, **{"chunks": {"y": 16, "x": 16}, "levels": 2, **options})


@dataclass(frozen=True)
class Scenario:
    """What is there, and the write that is killed."""

    write: Callable[[Path, dict[str, Any]], object]
    before: Callable[[Path], None] = lambda _: None
    partial: bool = False
    """Whether an image changes in part, chunk by chunk."""
    anew: bool = True
    """Whether the same write without `resume` completes it too."""
    whole: bool = False
    """Whether there is all of it or nothing, where there are several images."""
    warns: bool = False
    """Whether there are metadata that contradict each other, between two files of them."""


def _old(where: Path, **options: Any) -> None:  # noqa: ANN401 - keywords
    put(image(seed=1), where, **options)


def _old_labels(where: Path) -> None:
    put(image(seed=1, labels=True), where)


def _add(where: Path, how: dict[str, Any]) -> None:
    put(image(seed=1, labels=True)[["cells", "cells_area"]], where, mode="a", **how)


def _lay_out(where: Path) -> None:
    put(image(labels=True), where, layout=True)
    put(image(labels=True).isel(t=slice(0, 2)), where, region={"t": slice(0, 2)})


SCENARIOS: dict[str, Scenario] = {
    "fresh": Scenario(lambda at, how: put(image(), at, **how)),
    "shards": Scenario(lambda at, how: put(image(), at, shards={"y": 32, "x": 32}, **how)),
    "labels": Scenario(lambda at, how: put(image(labels=True), at, **how)),
    "replace": Scenario(lambda at, how: put(image(), at, mode="w", **how), _old),
    "replace-labels": Scenario(
        lambda at, how: put(image(labels=True), at, mode="w", **how), _old_labels
    ),
    "drop-labels": Scenario(
        lambda at, how: put(image(), at, mode="w", existing_labels="drop", **how), _old_labels
    ),
    "newer": Scenario(
        lambda at, how: put(image(), at, mode="w", version="0.5", **how),
        lambda at: _old(at, version="0.4"),
        warns=True,
    ),
    "older": Scenario(
        lambda at, how: put(image(), at, mode="w", version="0.4", **how),
        lambda at: _old(at, version="0.5"),
        warns=True,
    ),
    "add": Scenario(_add, _old),
    "upgrade": Scenario(
        lambda at, _: upgrade(at, version="0.5"),
        lambda at: put(image(seed=1, labels=True), at, version="0.4"),
        warns=True,
    ),
    "downgrade": Scenario(
        lambda at, _: upgrade(at, version="0.4"),
        lambda at: put(image(seed=1, labels=True), at, version="0.6", shards={"y": 32, "x": 32}),
        warns=True,
    ),
    "plate": Scenario(
        lambda at, how: put_screen(screen("A/1/0", "A/1/1", "B/2/0", labels=True), at, **how),
        whole=True,
    ),
    "plate-older": Scenario(
        lambda at, how: put_screen(screen("A/1/0", "B/2/0"), at, version="0.4", **how), whole=True
    ),
    "series": Scenario(
        lambda at, how: put_screen(screen("0/0", "1/0", "2/0"), at, **how), whole=True
    ),
    "series-older": Scenario(
        lambda at, how: put_screen(screen("0/0", "1/0", "2/0"), at, version="0.4", **how),
        whole=True,
    ),
    "add-well": Scenario(
        lambda at, how: put(image(seed=5, labels=True), at, group="C/4/0", **how),
        lambda at: put_screen(screen("A/1/0", "A/1/1"), at),
    ),
    "add-field-older": Scenario(
        lambda at, how: put(image(seed=5), at, group="A/1/2", **how),
        lambda at: put_screen(screen("A/1/0", "A/1/1"), at, version="0.4"),
    ),
    "add-wells": Scenario(
        lambda at, how: put_screen(screen("A/1/1", "C/4/0", seed=5), at, mode="a", **how),
        lambda at: put_screen(screen("A/1/0", "B/10/0"), at),
        anew=False,
    ),
    "append": Scenario(
        lambda at, how: put(image(frames=6).isel(t=slice(3, 6)), at, append_dim="t", **how),
        lambda at: put(image(), at),
        partial=True,
        anew=False,
    ),
    "append-labels": Scenario(
        lambda at, how: put(
            image(frames=6, labels=True).isel(t=slice(3, 6)), at, append_dim="t", **how
        ),
        lambda at: put(image(labels=True), at),
        partial=True,
        anew=False,
    ),
    "append-unplaced": Scenario(
        lambda at, how: put(
            image(frames=6).isel(t=slice(3, 6)).drop_vars("t"), at, append_dim="t", **how
        ),
        lambda at: put(image(), at),
        partial=True,
        anew=False,
    ),
    "append-channel": Scenario(
        lambda at, how: put(image(channels=2).isel(c=slice(1, 2)), at, append_dim="c", **how),
        lambda at: put(image(), at),
        partial=True,
        anew=False,
        warns=True,
    ),
    "region": Scenario(
        lambda at, how: put(
            image(labels=True).isel(t=slice(1, 2), y=slice(5, 30)),
            at,
            region={"t": slice(1, 2), "y": slice(5, 30)},
            **how,
        ),
        _old_labels,
        partial=True,
    ),
    "fill": Scenario(
        lambda at, how: put(image(labels=True).isel(t=slice(2, 3)), at, region="auto", **how),
        _lay_out,
        partial=True,
        anew=False,
    ),
}


# ── what is there ────────────────────────────────────────────────────────────────────────────────


def files(where: Path) -> Files:
    """Read all files, and list all folders, the same for each write."""
    found: Files = {}
    for path in sorted(where.rglob("*")) if where.exists() else ():
        name = TOKEN.sub(r"\1", path.relative_to(where).as_posix())
        content = path.read_bytes() if path.is_file() else None
        if path.suffix == ".json" or path.name.startswith(".z"):
            content = content and TOKEN.sub(r"\1", content.decode()).encode()
        assert name not in found, f"two of {name}"
        found[name] = content
    return found


def groups(where: Path) -> Groups:
    """Open image and label images, and read every level of each; nothing where there is none."""
    fields = listed(where)
    if fields is None:
        return _groups_of(where, None)
    found: Groups = {}
    for field_ in fields:
        inner = _groups_of(where, field_)
        # What is listed is there.
        assert inner, f"{field_} is listed and not there"
        found |= {f"{field_}/{name}": levels for name, levels in inner.items()}
    return found


def listed(where: Path) -> list[str] | None:
    """Give the images that a plate or a series lists; None where there is neither."""
    root = attributes(where)
    if "plate" in root:
        wells = [well["path"] for well in root["plate"]["wells"]]
        return [
            f"{well}/{one['path']}"
            for well in wells
            for one in attributes(where / well)["well"]["images"]
        ]
    if "bioformats2raw.layout" in root:
        return [str(i) for i in range(3)]
    return None


def attributes(group: Path) -> dict[str, Any]:
    """Read what a group says of OME-Zarr."""
    for file in ("zarr.json", ".zattrs"):
        if (group / file).exists():
            found: dict[str, Any] = json.loads((group / file).read_text())
            return found if file == ".zattrs" else found["attributes"].get("ome", {})
    return {}


def _groups_of(where: Path, group: str | None) -> Groups:
    found: Groups = {}
    try:
        tree = xr.open_datatree(where, engine="omezarr", group=group)
    except OmeZarrError:
        return found
    found["image"] = [tree[name].image.values for name in tree.children if name.isdecimal()]
    labels = tree.children.get("labels", xr.DataTree())
    for name, node in labels.children.items():
        found[name] = [level.to_dataset()[name].values for level in node.children.values()]
    return found


def same(one: list[np.ndarray[Any, Any]] | None, other: list[np.ndarray[Any, Any]] | None) -> bool:
    """Say whether two groups have the same pixels, or neither is there."""
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@dataclass
class Expected:
    """What a scenario begins with, and what it ends with undisturbed."""

    scenario: Scenario
    start: Path
    old: Files = field(default_factory=dict)
    new: Files = field(default_factory=dict)
    old_groups: Groups = field(default_factory=dict)
    new_groups: Groups = field(default_factory=dict)

    def check_killed(self, where: Path) -> None:
        """Check what a killed write has left."""
        with warnings.catch_warnings():
            action: Literal["ignore", "error"] = "ignore" if self.scenario.warns else "error"
            warnings.simplefilter(action, OmeZarrWarning)
            now = groups(where)
        if self.scenario.partial:
            self._check_chunks(where, now)
            return
        assert not self.scenario.whole or set(now) in (set(self.old_groups), set(self.new_groups))
        for name in {*now, *self.old_groups, *self.new_groups}:
            assert same(now.get(name), self.old_groups.get(name)) or same(
                now.get(name), self.new_groups.get(name)
            ), f"{name} is neither the old one nor the new one"

    def _check_chunks(self, where: Path, now: Groups) -> None:
        """Check that each chunk is old or new, and that a journal says so if there are both."""
        # Of an image that was laid out, the label images come after it.
        assert set(self.old_groups) <= set(now) <= set(self.new_groups)
        there = files(where)
        for name in set(self.old) | set(self.new):
            # The list of label images is made before it lists one.
            if not BUSY.isdisjoint(name.split("/")) or name == "labels/zarr.json":
                continue
            assert there.get(name) in (self.old.get(name), self.new.get(name)), f"{name} is mixed"
        if there not in (self.old, self.new):
            assert not BUSY.isdisjoint(there) or all(
                name in self.old for name in there if not name.endswith(".partial")
            ), "no journal says what is pending"

    def check_finished(self, where: Path) -> None:
        """Check that what is there is to the byte what an undisturbed write gives."""
        now = files(where)
        more, less = sorted(set(now) - set(self.new)), sorted(set(self.new) - set(now))
        assert not more, f"left over: {more}"
        assert not less, f"missing: {less}"
        differing = [name for name in now if now[name] != self.new[name]]
        assert not differing, f"other bytes: {differing}"
        assert not {Path(name).name for name in now} & BUSY


# ── killing ──────────────────────────────────────────────────────────────────────────────────────

EVENTS = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}


def _watch(where: Path, last: int | None, count: list[int]) -> None:
    """Count what is done to files, and die before the one after the last."""
    lock, root = threading.Lock(), str(where)
    me = os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, _ = arguments
            counts = isinstance(mode, str) and not set(mode).isdisjoint("wxa+")
            counts = counts and str(path).startswith(root)
        elif event in EVENTS:
            # What is removed as a tree is named relative to the folder that it is in.
            counts = str(arguments[0]).startswith(root) or arguments[-1] not in (-1, None)
        else:
            return
        if counts:
            with lock:
                if last is not None and count[0] >= last:
                    os.kill(me, signal.SIGKILL)
                count[0] += 1

    sys.addaudithook(hook)


def _write(name: str, where: Path, how: dict[str, Any], last: int | None, pipe: Connection) -> None:
    """Write in a process of its own."""
    count = [0]
    _watch(where, last, count)
    pipe.send("ready")
    try:
        with dask.config.set(num_workers=2):
            SCENARIOS[name].write(where, how)
    except Exception as error:  # noqa: BLE001 - told to the process that waits
        pipe.send(f"{type(error).__name__}: {error}")
    else:
        pipe.send(count[0])


def run(
    name: str,
    where: Path,
    how: dict[str, Any],
    *,
    last: int | None = None,
    after: float | None = None,
) -> tuple[int | None, float]:
    """Write, and be killed before so many operations and one, or after so many seconds.

    Returns
    -------
    count, seconds
        The operations of a write that was finished, else None; the time it took.
    """
    context = forks.context()
    mine, other = context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(name, where, how, last, other))
    process.start()
    other.close()
    count, began = None, time.perf_counter()
    try:
        assert mine.recv() == "ready"
        began = time.perf_counter()
        if mine.poll(after):
            count = mine.recv()
    except EOFError:
        pass
    finally:
        seconds = time.perf_counter() - began
        process.kill()
        process.join()
        process.close()
        mine.close()
    assert not isinstance(count, str), count
    return count, seconds


def expected(name: str, folder: Path) -> tuple[Expected, int, float]:
    """Write undisturbed: what that gives, and how many operations and seconds it takes."""
    scenario = SCENARIOS[name]
    found = Expected(scenario, folder / "start")
    scenario.before(found.start)
    found.old, found.old_groups = files(found.start), groups(found.start)
    whole = folder / "whole"
    _copy(found.start, whole)
    count, seconds = run(name, whole, {})
    assert count
    found.new, found.new_groups = files(whole), groups(whole)
    assert found.new_groups
    return found, count, seconds


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target)


def trial(
    name: str,
    where: Path,
    wanted: Expected,
    moments: list[int | float],
    *,
    resume: bool = True,
) -> None:
    """Kill a write, and each attempt to resume it, at some moment; then let it come to an end."""
    _copy(wanted.start, where)
    how: dict[str, Any] = {}
    for moment in moments:
        if isinstance(moment, int):
            finished, _ = run(name, where, how, last=moment)
        else:
            finished, _ = run(name, where, how, after=moment)
        wanted.check_killed(where)
        if finished is not None:
            break
        how = {"resume": True}
    if resume or not wanted.scenario.anew:
        # Where nothing was left to resume, this would be a second write.
        if finished is None:
            _end(wanted, where, {"resume": True})
    elif finished is None:
        _end(wanted, where, {})
    wanted.check_finished(where)


def _end(wanted: Expected, where: Path, how: Mapping[str, Any]) -> None:
    """Bring a write to its end."""
    busy = BUSY & {path.name for path in where.rglob("*")}
    try:
        wanted.scenario.write(where, dict(how))
    except OmeZarrError as error:
        # Nothing was left to do, and nothing says that there was.
        if how and busy:
            raise
        now = groups(where)
        if busy:
            wanted.scenario.write(where, {"resume": True})
        elif not all(same(now.get(name), group) for name, group in wanted.new_groups.items()):
            raise AssertionError(error) from error


def moments(
    rng: random.Random, kills: int, count: int, seconds: float, kind: Moment
) -> Iterator[list[int | float]]:
    """Draw when writes are killed: evenly over all of one, and mostly once."""
    for number in range(kills):
        place = (number + rng.random()) / kills
        first: int | float = int(place * count) if kind == "operation" else place * seconds
        more = rng.choice((0, 0, 0, 1, 2))
        yield [first, *(rng.randrange(count) for _ in range(more))]


def trials(
    name: str, folder: Path, *, kills: int, kind: Moment, seed: int = 0
) -> Iterator[tuple[str, Exception | None]]:
    """Kill a write so many times; yield each with what was wrong."""
    wanted, count, seconds = expected(name, folder)
    rng = random.Random(seed)  # noqa: S311 - no secret
    for number, when in enumerate(moments(rng, kills, count, seconds, kind)):
        where = folder / f"{kind}-{number}"
        resume = rng.random() < 0.75
        told = f"{name}, {count} operations, killed at {when}, {resume=}"
        try:
            trial(name, where, wanted, when, resume=resume)
        except (AssertionError, OmeZarrError, OSError) as error:
            yield told, error
        else:
            yield told, None
            shutil.rmtree(where)


def main() -> int:
    """Kill writes, and say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many, of each kind")
    parser.add_argument("--what", choices=["all", *SCENARIOS], default="all")
    parser.add_argument("--at", choices=["operation", "time", "both"], default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for what went wrong")
    arguments = parser.parse_args()
    wrong = 0
    kinds: tuple[Moment, ...] = ("operation", "time")
    for name in SCENARIOS if arguments.what == "all" else [arguments.what]:
        for kind in kinds if arguments.at == "both" else [arguments.at]:
            folder = Path(tempfile.mkdtemp(dir=arguments.keep))
            total = 0
            began = time.perf_counter()
            for told, error in trials(
                name, folder, kills=arguments.kills, kind=kind, seed=arguments.seed
            ):
                total += error is not None
                if error is not None:
                    sys.stdout.write(f"{told}: {type(error).__name__}: {error}\n")
            took = time.perf_counter() - began
            sys.stdout.write(
                f"{name}: {arguments.kills} kills by {kind}, {total} went wrong, {took:.1f} s\n"
            )
            sys.stdout.flush()
            wrong += total
            if arguments.keep is None:
                shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
