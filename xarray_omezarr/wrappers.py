"""Stores in front of others: what they all do, so that each has only what is its own.

Zarr's wrapper hands each way to read on to the store behind it. One that has something to say about
reads would have to say it in all of them; here all ways lead through `get`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from zarr.abc.store import Store
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class Wrapper(WrapperStore[Store]):
    """A store in front of another one, of which everything is read by `get`."""

    def __str__(self) -> str:
        return str(self._store)

    @property
    def wrapped(self) -> Store:
        """The store behind it."""
        return self._store

    @property
    def _supports_sync_io(self) -> bool:
        return False  # newer releases of Zarr would go round `get`

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects, side by side."""
        reads = (self.get(key, prototype, part) for key, part in key_ranges)
        return list(await asyncio.gather(*reads))

    def get_ranges(self, *args: Any, **limits: Any) -> Any:  # noqa: ANN401 - of newer releases
        """Read parts of an object, in Zarr's own way."""
        given = {name: value for name, value in limits.items() if value is not None}
        return cast("Any", Store).get_ranges(self, *args, **given)

    # Zarr's own way to read many objects.
    _get_many = Store._get_many  # noqa: SLF001


def innermost(store: Store) -> Store:
    """Give what is behind all that stands in front of a store, whoever made it."""
    while isinstance(store, WrapperStore):
        store = store._store  # noqa: SLF001 - that is how wrappers delegate
    return store
