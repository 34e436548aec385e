"""Consolidated metadata: all of a hierarchy's in one file, in place of many.

They are copies, and who changes the hierarchy may leave them as they were. So they are used where
that is asked for, and what they say is believed: what was added since is not seen, and what was
removed fails when its pixels are read.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from zarr.buffer import cpu, default_buffer_prototype

from xarray_omezarr.documents import METADATA_FILES, join
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.wrappers import Wrapper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

    Documents = Mapping[str, Any]

#: Where Zarr v2 has them. In v3 they stand in the metadata of the group.
_V2_FILE = ".zmetadata"


class ConsolidatedStore(Wrapper):
    """A store whose metadata are those of one file, which is read when the first are asked for.

    Parameters
    ----------
    store
        What everything else is in.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._documents: Documents | None = None
        self._reading = asyncio.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._reading = asyncio.Lock()

    def _with_store(self, store: Store) -> Self:
        return type(self)(store)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if byte_range is not None or key.rpartition("/")[2] not in METADATA_FILES:
            return await self._store.get(key, prototype, byte_range)
        async with self._reading:
            if self._documents is None:
                # What is asked for first is the group that is opened.
                self._documents = await self._read(key.rpartition("/")[0])
        document = self._documents.get(key)
        return None if document is None else cpu.Buffer.from_bytes(json.dumps(document).encode())

    async def _read(self, opened: str) -> Documents:
        for group in dict.fromkeys(["", opened]):
            found = await self._read_v3(group)
            found = await self._read_v2(group) if found is None else found
            if found is not None:
                return found
        msg = (
            f"{join(str(self._store), opened)} has no consolidated metadata, neither in its "
            f"zarr.json nor in a {_V2_FILE}, and neither has the root of the store. Leave out "
            "consolidated=True, or consolidate them first (zarr.consolidate_metadata)."
        )
        raise OmeZarrError(msg)

    async def _read_v3(self, group: str) -> Documents | None:
        document = await self._parsed(join(group, "zarr.json"))
        if document is None:
            return None
        copies = document.pop("consolidated_metadata", None)
        if not isinstance(copies, dict) or not isinstance(copies.get("metadata"), dict):
            return None
        inner = {join(group, path, "zarr.json"): copy for path, copy in copies["metadata"].items()}
        return {**inner, join(group, "zarr.json"): document}

    async def _read_v2(self, group: str) -> Documents | None:
        document = (await self._parsed(join(group, _V2_FILE)) or {}).get("metadata")
        if not isinstance(document, dict):
            return None
        return {join(group, key): copy for key, copy in document.items()}

    async def _parsed(self, key: str) -> dict[str, Any] | None:
        found = await self._store.get(key, default_buffer_prototype())
        try:
            document = None if found is None else json.loads(found.to_bytes())
        except (ValueError, RecursionError) as error:
            msg = (
                f"{self._store}/{key} is no valid JSON: {error}. Leave out consolidated=True, or "
                "have the file mended."
            )
            raise OmeZarrError(msg) from error
        return document if isinstance(document, dict) else None
