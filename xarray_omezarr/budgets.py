"""What may be asked of a store at the most: so many requests, so many bytes, for so long.

Who only looks at an image shall not wait for it, nor pay for it. A store within a budget asks its
own until the budget is spent, and raises then.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from zarr.abc.store import Store
from zarr.storage import WrapperStore

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    T = TypeVar("T")


class OverBudgetError(OmeZarrError):
    """More would be asked of a store than may be."""


class Budget:
    """What is left to be asked for.

    Parameters
    ----------
    requests
        So many requests.
    nbytes
        So many bytes of answers.
    seconds
        So many seconds from now on.
    """

    def __init__(self, requests: int, nbytes: int, seconds: float) -> None:
        self.requests = requests
        self.nbytes = nbytes
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    async def spend(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request, if one is left, for as long as there is time."""
        if self.requests < 1:
            msg = "it takes more requests than may be made for a picture"
            raise OverBudgetError(msg)
        self.requests -= 1
        left = self._end - time.monotonic()
        try:
            return await asyncio.wait_for(request(), max(left, 0))
        except TimeoutError as error:
            if time.monotonic() < self._end:
                # The store itself has given up.
                raise
            msg = f"the store did not answer within {self.seconds:g} s"
            raise OverBudgetError(msg) from error

    def receive(self, nbytes: int) -> None:
        """Count what has come."""
        self.nbytes -= nbytes
        if self.nbytes < 0:
            self.requests = 0
            msg = "what came is larger than what a picture may take"
            raise OverBudgetError(msg)


class BudgetedStore(WrapperStore[Store]):
    """A store that is asked for no more than a budget allows.

    Parameters
    ----------
    store
        What is asked.
    budget
        What is left to be asked for, shared by all who share it.
    """

    def __init__(self, store: Store, budget: Budget) -> None:
        super().__init__(store)
        self._budget = budget
        self._found: set[str] = set()
        self._looking: dict[str, asyncio.Lock] = {}

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._budget)

    def __str__(self) -> str:
        return str(self._store)

    @property
    def _supports_sync_io(self) -> bool:
        return False  # newer releases of Zarr would go round the methods below

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read something, within the budget."""
        found = await self._budget.spend(lambda: self._store.get(key, prototype, byte_range))
        if found is not None:
            self._budget.receive(len(found))
            self._found.add(key)
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects, each within the budget."""
        reads = (self.get(key, prototype, part) for key, part in key_ranges)
        return list(await asyncio.gather(*reads))

    def get_ranges(self, *args: Any, **limits: Any) -> Any:  # noqa: ANN401 - of newer releases
        """Read parts of an object by `get`: those that touch as one, and nothing between others."""
        given = {name: value for name, value in limits.items() if value is not None}
        return cast("Any", Store).get_ranges(self, *args, **{**given, "max_gap_bytes": 0})

    async def exists(self, key: str) -> bool:
        """Say whether something is there; what was there once is not looked for again."""
        async with self._looking.setdefault(key, asyncio.Lock()):
            if key not in self._found and await self._budget.spend(lambda: self._store.exists(key)):
                self._found.add(key)
        return key in self._found
