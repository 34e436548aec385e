from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync

from tests.helpers import WatchedStore
from xarray_omezarr.budgets import Budget, BudgetedStore, OverBudgetError

if TYPE_CHECKING:
    from zarr.storage import MemoryStore

PROTOTYPE = default_buffer_prototype()


@pytest.fixture
def asked(memory: MemoryStore) -> WatchedStore:
    memory._store_dict.update({key: cpu.Buffer.from_bytes(bytes(100)) for key in "abcd"})
    return WatchedStore(memory)


def get(store: BudgetedStore, *keys: str, part: Any = None) -> list[Any]:  # noqa: ANN401
    async def together() -> list[Any]:
        reads = (store.get(key, PROTOTYPE, part) for key in keys)
        return list(await asyncio.gather(*reads))

    return list(sync(together()))


def test_requests(asked: WatchedStore) -> None:
    budget = Budget(3, 1000, 10)
    store = BudgetedStore(asked, budget)
    assert [len(one) for one in get(store, "a", "b")] == [100, 100]
    assert get(store, "nothing") == [None]
    with pytest.raises(OverBudgetError, match="more requests than may be made"):
        get(store, "c")
    assert asked.log.keys() == ["a", "b", "nothing"]


def test_bytes(asked: WatchedStore) -> None:
    store = BudgetedStore(asked, Budget(9, 250, 10))
    get(store, "a", "b")
    assert len(get(store, "c", part=RangeByteRequest(0, 50))[0]) == 50
    with pytest.raises(OverBudgetError, match="larger than what a picture may take"):
        get(store, "d")
    with pytest.raises(OverBudgetError):
        get(store, "a")
    assert len(asked.log.requests) == 4


def test_seconds(memory: MemoryStore) -> None:
    store = BudgetedStore(WatchedStore(memory, latency=30), Budget(9, 250, 0.05))
    with pytest.raises(OverBudgetError, match=r"did not answer within 0\.05 s"):
        get(store, "a", "b")
    with pytest.raises(OverBudgetError, match=r"did not answer within 0\.05 s"):
        sync(store.exists("a"))


def test_a_store_that_gives_up_by_itself_says_so(memory: MemoryStore) -> None:
    def give_up(_method: str, _key: str) -> None:
        raise TimeoutError

    store = BudgetedStore(WatchedStore(memory, hook=give_up), Budget(9, 250, 10))
    with pytest.raises(TimeoutError):
        get(store, "a")


def test_what_was_there_is_not_looked_for_again(asked: WatchedStore) -> None:
    store = BudgetedStore(asked, Budget(9, 1000, 10))
    get(store, "a")

    async def look() -> list[bool]:
        return list(await asyncio.gather(*(store.exists(key) for key in "abbb")))

    assert sync(look()) == [True] * 4
    assert asked.log.requests == [("get", "a"), ("exists", "b")]
    assert not sync(store.exists("nothing"))


def test_parts_of_objects_are_within_the_budget(asked: WatchedStore) -> None:
    budget = Budget(2, 1000, 10)
    store = BudgetedStore(asked, budget)
    parts = [("a", RangeByteRequest(0, 10)), ("b", RangeByteRequest(20, 50))]
    found = sync(store.get_partial_values(PROTOTYPE, parts))
    assert [len(one) for one in found if one is not None] == [10, 30]
    assert (budget.requests, budget.nbytes) == (0, 960)
    # Who makes another store of it makes no other budget.
    other = store.with_read_only(True)  # noqa: FBT003
    with pytest.raises(OverBudgetError):
        sync(other.get("a", PROTOTYPE))
