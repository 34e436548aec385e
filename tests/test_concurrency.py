"""Two who write to one place: one of them wins, and nothing is ever mixed."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import dask
import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore

from tests.helpers import WatchedStore
from tests.kills import BUSY, files, groups
from xarray_omezarr import OmeZarrError, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer

    from tests.helpers import Option, Place
    from tests.kills import Files, Groups

    Write = Callable[[Place], None]

CHUNKS = {"t": 1, "y": 16, "x": 16}


def flat(value: int, frames: int = 2) -> xr.Dataset:
    """Make an image of one value, plus the number of the frame."""
    values = np.full((frames, 20, 24), value, np.uint16)
    values += np.arange(frames, dtype=np.uint16)[:, None, None]
    ds = xr.Dataset({"image": (("t", "y", "x"), values)})
    scaled = ds.omezarr.assign_scale(t=1.0, y=0.5, x=0.5)
    assert isinstance(scaled, xr.Dataset)
    return scaled


def labelled(value: int) -> xr.Dataset:
    ds = flat(value)
    return ds.assign(cells=ds.image.astype("int32"))


def fresh(value: int) -> Write:
    return lambda place: put(flat(value), place)


def replaced(value: int) -> Write:
    return lambda place: put(flat(value), place, mode="w")


def region(value: int, start: int = 0) -> Write:
    part = flat(value).isel(t=slice(start, start + 1))
    return lambda place: part.omezarr.to_zarr(place, region={"t": slice(start, start + 1)})


def appended(value: int) -> Write:
    part = flat(value, 4).isel(t=slice(2, 4))
    return lambda place: part.omezarr.to_zarr(place, append_dim="t")


def put(ds: xr.Dataset, place: Place, **options: Option) -> None:
    ds.omezarr.to_zarr(place, levels=2, chunks=CHUNKS, **options)


# ── every order of two writers ───────────────────────────────────────────────────────────────────


@dataclass
class Pause:
    """Where somebody is stopped: before one of the changes of a store, the `last`."""

    last: int | None
    changes: int = 0
    arrived: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    async def step(self) -> None:
        self.changes += 1
        if self.changes - 1 == self.last:
            self.arrived.set()
            # Zarr's event loop goes on for the other one.
            await asyncio.to_thread(self.go.wait)


class PausingStore(WatchedStore):
    """A store that waits before one of the changes that it is asked for."""

    def __init__(self, store: Store, pause: Pause) -> None:
        super().__init__(store)
        self.pause = pause

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.pause)

    async def set(self, key: str, value: Buffer) -> None:
        await self.pause.step()
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        await self.pause.step()
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        await self.pause.step()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        await self.pause.step()
        await self._store.delete_dir(prefix)


class Writer:
    """One of two who write, in a thread of its own, as far as it is let."""

    def __init__(self, write: Write, where: Path, last: int | None = None) -> None:
        self.pause = Pause(last)
        self.store = PausingStore(LocalStore(where), self.pause)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(write,))

    def _run(self, write: Write) -> None:
        try:
            write(self.store)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        finally:
            self.pause.arrived.set()

    def to_its_pause(self) -> None:
        self.thread.start()
        assert self.pause.arrived.wait(60)

    def to_its_end(self) -> None:
        self.pause.go.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error is not None and not isinstance(self.error, OmeZarrError):
            raise self.error


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do one thing after the other, and wait for nobody who has been stopped."""
    monkeypatch.setattr(transaction, "_SOON", 0.0)
    monkeypatch.setattr(transaction, "_LONG", 0.0)
    with dask.config.set(scheduler="synchronous"):
        yield


CASES: dict[str, tuple[Write | None, Write, Write]] = {
    "two first ones": (None, fresh(10), fresh(20)),
    "two that replace": (fresh(1), replaced(10), replaced(20)),
    "two appended": (fresh(1), appended(10), appended(20)),
    "one region twice": (fresh(1), region(10), region(20)),
    "two regions": (fresh(1), region(10, 0), region(20, 1)),
    "region, then replaced": (fresh(1), region(10), replaced(20)),
    "replaced, then region": (fresh(1), replaced(10), region(20)),
    "appended, then replaced": (fresh(1), appended(10), replaced(20)),
    "first, then replaced": (None, fresh(10), replaced(20)),
}


def started(start: Path, where: Path) -> Path:
    """Begin with a copy of what there is."""
    if start.exists():
        shutil.copytree(start, where)
    return where


def outcomes(
    start: Path, where: Path, first: Write, second: Write
) -> dict[tuple[Write, ...], tuple[Files, Groups]]:
    """Write alone, and one after the other: what there may be in the end."""
    found: dict[tuple[Write, ...], tuple[Files, Groups]] = {}
    for order in ((first,), (second,), (first, second), (second, first)):
        started(start, where)
        try:
            for write in order:
                write(where)
        except OmeZarrError:
            pass
        else:
            found[order] = (files(where), groups(where))
        shutil.rmtree(where)
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", CASES)
def test_in_every_order(tmp_path: Path, case: str) -> None:
    """The first is stopped before a change, the second too; then they go on to their ends."""
    before, first, second = CASES[case]
    start = tmp_path / "start"
    if before is not None:
        before(start)
    possible = outcomes(start, tmp_path / "alone", first, second)
    probe = Writer(first, started(start, tmp_path / "probe"))
    probe.to_its_pause()
    probe.to_its_end()
    assert probe.error is None
    count = probe.pause.changes
    rng = random.Random(case)  # noqa: S311 - no secret
    # Where the first stops before its commit, the second always comes to its end.
    stops: list[tuple[int, int | None]] = [(last, None) for last in range(count)]
    stops += [(rng.randrange(count), rng.randrange(count + 2)) for _ in range(6)]
    for number, (last, other) in enumerate(stops):
        where = started(start, tmp_path / str(number))
        one, two = Writer(first, where, last), Writer(second, where, other)
        one.to_its_pause()
        two.to_its_pause()
        one.to_its_end()
        two.to_its_end()
        told = f"stopped at {last} of {count} and at {other}: {one.error}, {two.error}"
        done = tuple(w for w, by in ((first, one), (second, two)) if by.error is None)
        assert done, told
        ends = [possible[order] for order in (done, done[::-1]) if order in possible]
        assert {path.name for path in where.iterdir()}.isdisjoint(BUSY), told
        assert (files(where), list(groups(where))) in [(f, list(g)) for f, g in ends], told
        shutil.rmtree(where)
