"""Hierarchies brought to another place: objects carried as they are, arrays encoded anew.

All that holds pixels comes first, then metadata, from the leaves to the root: until the root says
so, nothing there is an image. A journal says what is under way, so that what was interrupted is
gone on with, and goes when every object has been found to be as long as it should be.
"""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xarray_omezarr import (
    census,
    documents,
    edits,
    exchange,
    freight,
    listings,
    progress,
    spec,
    storage,
    stores,
    transaction,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from xarray_omezarr.freight import Parcel
    from xarray_omezarr.listings import Entry
    from xarray_omezarr.stores import Place

    #: What is done, as messages and journals call it.
    What = Literal["download", "conversion", "upgrade"]

#: What says that somebody writes to a hierarchy.
_BUSY = (storage.JOURNAL, storage.UPDATES, storage.UPGRADE, storage.DOWNLOAD)
#: What to do, in place of what was not possible; and what goes on with what was interrupted.
_DO = {"download": "Download", "conversion": "Convert", "upgrade": "Write"}
_ON = {"download": "resume=True", "conversion": "resume=True", "upgrade": "the same call"}


@dataclass(frozen=True)
class Encoding:
    """An array of which chunks are encoded anew."""

    nbytes: int
    """The bytes of its pixels."""
    write: Callable[[Place, Place, Collection[str], Callable[[int], object]], None]
    """Writes, from one root to another, the chunks whose keys are not given; tells of each block
    how many bytes its pixels have."""


@dataclass(frozen=True)
class Job:
    """What goes from one place to another."""

    what: What
    source: Place
    target: Place
    listed: Mapping[str, Entry] | None
    """All that the source has, where it lists that."""
    objects: Callable[[], Iterator[Parcel]]
    """What comes first: all but metadata."""
    count: int
    """How many these are, at the most."""
    encodings: Sequence[Encoding]
    metadata: Sequence[Parcel]
    """The metadata that stay as they are."""
    documents: Mapping[str, Mapping[str, Any]]
    """Metadata that are others than they were, by their keys."""
    largest: int
    """How long an object may be of which the length is not known."""
    checks: Mapping[str, str]
    """What has to be the same where this is resumed."""


@dataclass(frozen=True)
class Delivered:
    """What there is in the end."""

    files: int
    """How many objects, chunks and metadata."""
    nbytes: int
    kept: int
    """How many of the objects an earlier attempt had brought."""


def check_idle(source: Place, listed: Mapping[str, Entry] | None) -> None:
    """Check that nobody writes to what is copied."""
    if listed is None:
        found = storage.read_bytes(source, *_BUSY)
        busy = [key for key, content in zip(_BUSY, found, strict=True) if content is not None]
    else:
        busy = [key for key in listed if key.rpartition("/")[2] in _BUSY]
    if busy:
        msg = (
            f"{source.name} is being written to, or that was interrupted ({census.some(busy)} "
            "there). Complete that write first."
        )
        raise OmeZarrError(msg)


def check_apart(source: Place, target: Place, what: What) -> None:
    """Check that what is copied does not come to lie in itself."""
    one, other = stores.disk_of(source.store), stores.disk_of(target.store)
    if one is not None and other is not None:
        inside = (other / target.path).resolve().is_relative_to((one / source.path).resolve())
    elif source.store is target.store or source.store == target.store:
        inside = f"{target.path}/".startswith(f"{source.path}/".lstrip("/"))
    else:
        inside = source.owned and target.owned and f"{target.name}/".startswith(f"{source.name}/")
    if inside:
        or_so = "; or leave the target out, to change it in place" if what == "upgrade" else ""
        msg = (
            f"{target.name} lies within {source.name}. {_DO[what]} to a path outside of it{or_so}."
        )
        raise OmeZarrError(msg)


def unfinished(target: Place, what: What, *, resume: bool) -> Mapping[str, Any] | None:
    """Read what an earlier attempt says of itself, if there was one.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that is not to be gone on with.
    """
    (content,) = storage.read_bytes(target, storage.DOWNLOAD)
    if content is None:
        v3, v2 = storage.read_bytes(target, *(documents.METADATA[n] for n in (3, 2)))
        if v3 is not None or v2 is not None or transaction.anything(target):
            msg = f"{target.name} exists; it was left untouched. {_DO[what]} to another path."
            raise OmeZarrFileExistsError(msg)
        return None
    if not resume:
        msg = (
            f"{target.name} is an unfinished {what}: it was interrupted, or is still under way. "
            "resume=True goes on with it; or remove it, to begin anew."
        )
        raise OmeZarrFileExistsError(msg)
    return storage.parse_json(content, target, storage.DOWNLOAD)


# ── copying ──────────────────────────────────────────────────────────────────────────────────────


class Delivery:
    """One attempt to do a job."""

    def __init__(self, job: Job, before: Mapping[str, Any] | None, *, bar: bool | None) -> None:
        self.job, self.before = job, before
        self.source, self.target = job.source, job.target
        self.bar = progress.shown(bar)
        self.sizes: dict[str, int] = {}
        """The lengths of the objects that are there, by their keys below the target."""
        self.kept = 0

    def run(self) -> Delivered:
        """Do it, and check that all is there."""
        job = self.job
        there = self._claimed()
        with _told(self.target, job.what):
            needed = self._needed(there)
            known = [p.size for p in needed or () if p.size is not None]
            anew = sum(encoding.nbytes for encoding in job.encodings)
            total = sum(known) + anew if job.listed is not None else None
            with progress.carrying(total, job.count, bar=self.bar) as advance:
                self._carry(needed if needed is not None else job.objects(), advance)
                for encoding in job.encodings:
                    told = advance if total is not None else (lambda _: None)
                    encoding.write(self.source, self.target, there, told)
            copied = {parcel.key: parcel for parcel in job.metadata}
            keys = sorted({*copied, *job.documents}, key=_height)
            self._describe([key for key in keys if "/" in key], copied)
            self._verify()
            self._describe([key for key in keys if "/" not in key], copied)
            self._check_root()
            self._check_unchanged()
            storage.delete_files(self.target, (storage.DOWNLOAD,))
        nbytes = sum(self.sizes.values())
        return Delivered(len(self.sizes), nbytes, self.kept)

    def _claimed(self) -> Mapping[str, Entry]:
        """Enter the job into the journal, or take it over; give what is there already."""
        target = self.target
        if self.before is not None:
            then = self.before.get("checks")
            now = self.job.checks
            differing = [k for k in now if not isinstance(then, dict) or then.get(k) != now[k]]
            if differing:
                msg = (
                    f"{target.name}: the {self.before.get('what', 'write')} that was interrupted "
                    f"there is not this one; they differ in the {', the '.join(differing)}. Resume "
                    "it with the arguments that it was begun with; or remove it, to begin anew."
                )
                raise OmeZarrError(msg)
            storage.delete_keys(target.store, storage.leftovers(target, ""))
            return listings.entries(target) or {}
        entry = {
            "what": self.job.what,
            "source": self.source.name,
            "checks": dict(self.job.checks),
            "owner": secrets.token_hex(4),
        }
        exchange.create(target, storage.DOWNLOAD, storage.to_bytes(entry))
        (content,) = storage.read_bytes(target, storage.DOWNLOAD)
        if content is None or json.loads(content) != entry:
            raise transaction.taken(target)
        return {}

    def _needed(self, there: Mapping[str, Entry]) -> list[Parcel] | None:
        """Give the objects that are not there yet; None where that is all of them."""
        if not there and self.job.listed is None:
            return None
        needed, unknown = [], []
        for parcel in self.job.objects():
            entry = there.get(parcel.to)
            if entry is None or parcel.size not in (None, entry.size):
                needed.append(parcel)
            elif parcel.size is None:
                unknown.append(parcel)
            else:
                self._keep(parcel, entry.size)
        asked = freight.lengths(self.source, [parcel.key for parcel in unknown])
        for parcel in unknown:
            if asked[parcel.key] == there[parcel.to].size:
                self._keep(parcel, there[parcel.to].size)
            else:
                needed.append(parcel)
        return needed

    def _keep(self, parcel: Parcel, size: int) -> None:
        self.sizes[parcel.to] = size
        self.kept += 1

    def _carry(self, parcels: Iterable[Parcel], advance: Callable[[int | None], object]) -> None:
        def done(parcel: Parcel, size: int | None) -> None:
            if size is not None:
                self.sizes[parcel.to] = size
            advance(size)

        freight.carry(self.source, self.target, parcels, largest=self.job.largest, done=done)

    def _describe(self, keys: Sequence[str], copied: Mapping[str, Parcel]) -> None:
        """Write metadata, those below before those above."""
        edited = self.job.documents
        for _, some in itertools.groupby(keys, _height):
            batch = list(some)
            self._carry([copied[key] for key in batch if key in copied], lambda _: None)
            contents = {key: to_bytes(edited[key]) for key in batch if key in edited}
            below = {self.target.key(key): content for key, content in contents.items()}
            for error in edits.replace_files(self.target.store, below).values():
                raise error
            self.sizes |= {key: len(content) for key, content in contents.items()}

    def _verify(self) -> None:
        """Check that each object is there, as long as it was."""
        found = listings.entries(self.target)
        if found is None:
            there = freight.lengths(self.target, self.sizes)
        else:
            lengths = {key: entry.size for key, entry in found.items()}
            there = dict(lengths)
            # Chunks that were encoded anew have the length that they have.
            self.sizes = {**lengths, **self.sizes}
            self.sizes.pop(storage.DOWNLOAD, None)
        wrong = [key for key, size in self.sizes.items() if there.get(key) != size]
        if wrong:
            msg = (
                f"{self.target.name}: {len(wrong)} objects are not as long as in the source, or "
                f"not there: {census.some(wrong)}. It was not made an image."
            )
            raise OmeZarrError(msg)

    def _check_root(self) -> None:
        """Check that what makes it an image is there."""
        keys = [key for key in self.sizes if "/" not in key]
        found = storage.read_bytes(self.target, *keys)
        wrong = [
            k for k, c in zip(keys, found, strict=True) if c is None or len(c) != self.sizes[k]
        ]
        if wrong:
            msg = f"{self.target.name}: {census.some(wrong)} is not what was written there."
            raise OmeZarrError(msg)

    def _check_unchanged(self) -> None:
        """Check that the source is still what it was."""
        if self.job.listed is not None and listings.entries(self.source) != self.job.listed:
            warn(
                f"{self.source.name} was written to while it was being copied: the copy may hold "
                "some of what it was before, and some of what it is now"
            )


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Write metadata; what JSON has no word for, as NaN, which may have come so, becomes null."""
    try:
        return storage.to_bytes(document)
    except ValueError:
        return storage.to_bytes({key: spec.finite(value) for key, value in document.items()})


def _height(key: str) -> tuple[int, bool]:
    """Say when metadata are written: the deepest first, and at last what makes the root one."""
    return -key.count("/"), key in documents.METADATA.values()


@contextmanager
def _told(target: Place, what: What) -> Iterator[None]:
    """Say of what goes wrong how it is gone on with."""
    way = f"What has been written is kept: {_ON[what]} goes on with it."
    try:
        yield
    except OmeZarrError as error:
        msg = f"{error} {way}"
        raise type(error)(msg) from error
    except PermissionError as error:
        msg = f"{target.name} could not be written to: {error}. {way}"
        raise OmeZarrError(msg) from error
    except Exception as error:
        msg = f"{target.name}: the {what} was interrupted: {type(error).__name__}: {error}. {way}"
        raise OmeZarrError(msg) from error
