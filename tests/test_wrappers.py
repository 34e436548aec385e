from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync

from tests.helpers import WatchedStore
from xarray_omezarr.wrappers import Wrapper, innermost

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.storage import MemoryStore

PROTOTYPE = default_buffer_prototype()
PART = RangeByteRequest(2, 5)


class Backwards(Wrapper):
    """A store whose contents are read from the end."""

    async def get(self, key: str, *args: Any) -> Any:  # noqa: ANN401 - a buffer, or none
        found = await self._store.get(key, *args)
        return found and cpu.Buffer.from_bytes(found.to_bytes()[::-1])


async def parts(store: Store) -> list[Any]:
    return await store.get_partial_values(PROTOTYPE, [("a", PART), ("none", PART)])


async def many(store: Store) -> list[Any]:
    requests = [("a", PROTOTYPE, PART), ("none", PROTOTYPE, None)]
    return [found async for _, found in store._get_many(requests)]


async def ranges(store: Any) -> list[Any]:  # noqa: ANN401 - newer releases of Zarr have this
    found = store.get_ranges("a", [PART], prototype=PROTOTYPE, max_gap_bytes=None)
    return [one async for some in found for _, one in some] + [None]


@pytest.mark.parametrize("way", [parts, many, ranges])
def test_each_way_to_read_leads_through_get(
    way: Callable[[Store], Any], memory: MemoryStore
) -> None:
    if way is ranges and not hasattr(Store, "get_ranges"):
        pytest.skip("this release of Zarr reads ranges one by one")
    memory._store_dict["a"] = cpu.Buffer.from_bytes(b"abcdefg")
    part, nothing = sync(way(Backwards(memory)))
    assert part.to_bytes() == b"edc"
    assert nothing is None


def test_what_is_behind(memory: MemoryStore) -> None:
    store = Backwards(WatchedStore(memory))
    assert innermost(store) is memory is innermost(memory)
    assert isinstance(store.wrapped, WatchedStore)
    assert str(store) == str(store.wrapped)
