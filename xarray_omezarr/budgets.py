"""What may be asked of a store at the most: so many requests, so many bytes, for so long.

Who only looks at an image shall not wait for it, nor pay for it. A store within a budget asks its
own until the budget is spent, and raises then.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.wrappers import Wrapper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zarr.abc.store import ByteRequest, Store
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


class BudgetedStore(Wrapper):
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

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read something, within the budget."""
        found = await self._budget.spend(lambda: self._store.get(key, prototype, byte_range))
        if found is not None:
            self._budget.receive(len(found))
            self._found.add(key)
        return found

    def get_ranges(self, *args: Any, **limits: Any) -> Any:  # noqa: ANN401 - of newer releases
        """Read parts of an object: those that touch as one, and nothing between others."""
        return super().get_ranges(*args, **{**limits, "max_gap_bytes": 0})

    async def exists(self, key: str) -> bool:
        """Say whether something is there; what was there once is not looked for again."""
        async with self._looking.setdefault(key, asyncio.Lock()):
            if key not in self._found and await self._budget.spend(lambda: self._store.exists(key)):
                self._found.add(key)
        return key in self._found
