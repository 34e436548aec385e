"""The zip format: what stands where in an archive, as values.

Numbers of paragraphs are those of PKWARE's APPNOTE 6.3. Nothing here opens a file: what is needed
of one is asked for as ranges of bytes, so that the same code reads a file on a disk and one that is
far away. Of each member no more is read, or inflated, than is asked for.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    #: Gives the bytes of a file from a start to a stop.
    Read = Callable[[int, int], bytes]
    #: What a member holds: without a copy where that can be.
    Content = bytes | memoryview
    #: Asks for ranges of bytes, is sent them, and returns what they make.
    Asking = Generator[tuple[int, int], bytes, Content]

#: The members of a group of Zarr by which it is known.
GROUP_FILES = ("zarr.json", ".zgroup", ".zattrs")

STORED, DEFLATED = 0, 8

#: 4.3.7, 4.3.12, 4.3.16, 4.3.14 and 4.3.15: what stands before a member, its entry in the central
#: directory, the end of that, and what ZIP64 has besides.
_HEADER = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

_HEADER_MARK, _ENTRY_MARK, _END_MARK = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_MARK, _LOCATOR_MARK = b"PK\6\6", b"PK\6\7"

#: Numbers that are too large for their fields, which ZIP64 has elsewhere.
_FULL, _FULL_SHORT = 2**32 - 1, 2**16 - 1
#: The tag of ZIP64's numbers among the further fields of a member.
_ZIP64 = 1
#: Bits of a member's flags: it is encrypted; its name is UTF-8, not code page 437.
_ENCRYPTED, _UTF8 = 1, 0x800
#: The versions of the format that a member of plain bytes needs, and one of ZIP64.
_PLAIN_VERSION, _ZIP64_VERSION = 20, 45
#: Made on a Unix, where files have modes: this one is 0644.
_UNIX, _MODE = 3 << 8, 0o100644 << 16
#: 1980-01-01, the first day that zip knows: the same pixels make the same archive.
_DAY = 1 << 5 | 1

#: The central directory ends within so many bytes of the end, with the longest comment there is.
_TAIL = _END.size + _FULL_SHORT + _LOCATOR.size + _END64.size
#: A directory of more bytes than this, of ten million members, is taken for a mistake.
_LARGEST_DIRECTORY = 2**30
#: A deflated member that claims more than this is not inflated. No chunk is so large.
_LARGEST_INFLATED = 2**31
#: So much longer may what stands before a member be than what its entry says of it.
_SPARE = 64


class Member(NamedTuple):
    """One file in an archive, as the central directory has it."""

    start: int
    """Where what stands before it begins."""
    head: int
    """How long that is at the most, as a rule."""
    packed: int
    """Its bytes in the archive."""
    size: int
    """Its bytes."""
    method: int
    """How it is packed: stored or deflated, or in a way that is not read here."""
    crc: int
    encrypted: bool


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read_members(read: Read, size: int, name: str) -> dict[str, Member]:
    """Read the central directory of an archive, in one or two reads.

    Of several members of the same name the last one counts. Folders are left out.

    Parameters
    ----------
    read
        Gives ranges of the file.
    size
        The length of the file.
    name
        What messages call it.

    Raises
    ------
    OmeZarrError
        Where there is no directory, or one that cannot be.
    """
    tail = read(max(size - _TAIL, 0), size)
    first = size - len(tail)
    start, stop, shift = _find_directory(tail, first, name)
    if start >= first:
        content = tail[start - first : stop - first]
    else:
        content = read(start, min(stop, first)) + tail[: max(stop - first, 0)]
    if len(content) != stop - start:
        raise _broken(name, "it is shorter than it was")
    return _parse(content, shift, start, name)


def _find_directory(tail: bytes, first: int, name: str) -> tuple[int, int, int]:
    """Find the central directory by the end of a file, which begins there.

    Returns
    -------
    start, stop, shift
        Where the directory is; and by how much all is further on than it says, as in archives that
        something has been put before.
    """
    at = tail.rfind(_END_MARK)
    while at >= 0 and not _fits(tail, at):
        at = tail.rfind(_END_MARK, 0, at)
    if at < 0:
        msg = (
            f"{name} is no zip archive, or not all of one: there is no central directory at its "
            "end. It is still being written, or a copy has broken off: copy or write it again."
        )
        raise OmeZarrError(msg)
    _, disk, _, here, count, length, offset, _ = _END.unpack_from(tail, at)
    stop = first + at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail.startswith(_LOCATOR_MARK, locator):
        end64 = locator - _END64.size
        if end64 < 0 or not tail.startswith(_END64_MARK, end64):
            raise _broken(name, "its ZIP64 end is not where it is said to be")
        _, _, _, _, disk, _, here, count, length, offset = _END64.unpack_from(tail, end64)
        stop = first + end64
    if disk or here != count:
        msg = f"{name} is one part of an archive that has been split. Join the parts first."
        raise OmeZarrError(msg)
    start = stop - length
    if start < 0 or start < offset or length > _LARGEST_DIRECTORY:
        raise _broken(name, f"its central directory is said to have {length} bytes from {offset}")
    return start, stop, start - offset


def _fits(tail: bytes, at: int) -> bool:
    """Say whether there is room for the end of an archive, and for its comment."""
    if at + _END.size > len(tail):
        return False
    return bool(at + _END.size + _END.unpack_from(tail, at)[-1] <= len(tail))


def _parse(content: bytes, shift: int, limit: int, name: str) -> dict[str, Member]:
    """Parse a central directory that begins at the limit."""
    members: dict[str, Member] = {}
    at = 0
    while at < len(content):
        after = at + _ENTRY.size
        if after > len(content) or not content.startswith(_ENTRY_MARK, at):
            raise _broken(name, f"its central directory has no entry after {len(members)} of them")
        _, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, start = (
            _ENTRY.unpack_from(content, at)
        )
        named, further, comment = lengths
        at = after + named + further + comment
        if at > len(content):
            raise _broken(name, "its central directory ends within an entry")
        try:
            key = content[after : after + named].decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError as error:
            raise _broken(name, "a name in it is not UTF-8, as it is said to be") from error
        if _FULL in {packed, size, start}:
            fields = content[after + named : after + named + further]
            size, packed, start = _large(fields, (size, packed, start), name, key)
        start += shift
        if start + _HEADER.size + packed > limit:
            raise _broken(name, f"{key!r:.80} is said to reach beyond where it can")
        if key.startswith(("/", "\\")) or (".." in key and ".." in re.split(r"[/\\]", key)):
            # It is never unpacked here; but whoever unpacks it would write elsewhere.
            msg = f"{name} has a member {key!r:.80}, which leads out of it. It is not opened."
            raise OmeZarrError(msg)
        if not key.endswith("/"):
            head = _HEADER.size + named + further + _SPARE
            members[key] = Member(start, head, packed, size, method, crc, bool(flags & _ENCRYPTED))
    return members


def _large(
    fields: bytes, numbers: tuple[int, int, int], name: str, key: str
) -> tuple[int, int, int]:
    """Give the numbers of a member, where some of them stand among its further fields (4.5.3)."""
    at = 0
    while at + 4 <= len(fields):
        tag, length = struct.unpack_from("<2H", fields, at)
        if tag == _ZIP64:
            wanted = sum(number == _FULL for number in numbers)
            if length < 8 * wanted or at + 4 + length > len(fields):
                break
            found = iter(struct.unpack_from(f"<{wanted}Q", fields, at + 4))
            size, packed, start = (next(found) if n == _FULL else n for n in numbers)
            return size, packed, start
        at += 4 + length
    raise _broken(name, f"the numbers of {key!r:.80} that ZIP64 should have are missing")


def reading(
    member: Member, key: str, name: str, wanted: tuple[int, int], heads: dict[str, int]
) -> Asking:
    """Ask for what it takes to read a member, or a part of it.

    Parameters
    ----------
    member, key
        The member, and its name.
    name
        What messages call the archive.
    wanted
        Where in the member the part starts and stops.
    heads
        Remembers how long what stands before each member is.

    Raises
    ------
    OmeZarrError
        Where it cannot be read, or is not what it is said to be.
    """
    if member.encrypted:
        msg = f"{name}: {key} is encrypted, which no reader of OME-Zarr can open. Decrypt it first."
        raise OmeZarrError(msg)
    if member.method not in (STORED, DEFLATED):
        msg = (
            f"{name}: {key} is compressed by method {member.method}; 0 (stored) and 8 (deflated) "
            "are read. Pack it again, without compression."
        )
        raise OmeZarrError(msg)
    start, stop = wanted
    if member.method == STORED and (start, stop) != (0, member.size):
        if key not in heads:
            content = yield member.start, member.start + _HEADER.size
            heads[key] = _head(content, key, name)
        begin = member.start + heads[key]
        content = yield begin + start, begin + stop
        if len(content) != stop - start:
            raise _damaged(name, key)
        return content
    # What stands before a member is as long as its entry tells, as a rule: one read for both.
    content = yield member.start, member.start + member.head + member.packed
    head = _head(content, key, name)
    if head > member.head:
        content += yield member.start + len(content), member.start + head + member.packed
    packed = memoryview(content)[head : head + member.packed]
    if member.method == DEFLATED:
        return _inflated(packed, member, key, name, stop)[start:]
    if len(packed) != member.size or zlib.crc32(packed) != member.crc:
        raise _damaged(name, key)
    return packed


def _head(content: bytes, key: str, name: str) -> int:
    """Give the length of what stands before a member, which begins with it."""
    if len(content) < _HEADER.size or not content.startswith(_HEADER_MARK):
        raise _damaged(name, key)
    *_, named, further = _HEADER.unpack_from(content)
    length: int = _HEADER.size + named + further
    return length


def _inflated(packed: memoryview, member: Member, key: str, name: str, stop: int) -> bytes:
    """Inflate a member, up to where it is wanted."""
    if member.size > _LARGEST_INFLATED:
        msg = f"{name}: {key} is said to become {member.size} bytes. It is not inflated."
        raise OmeZarrError(msg)
    try:
        # A limit of 0 would be none.
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max(stop, 1))
    except zlib.error as error:
        raise _damaged(name, key) from error
    whole = stop == member.size
    if len(content) < stop or (whole and zlib.crc32(content[:stop]) != member.crc):
        raise _damaged(name, key)
    return content[:stop]


def answered(asking: Asking, read: Read) -> Content:
    """Answer all that is asked for by one function; give what comes of it."""
    try:
        wanted = next(asking)
        while True:
            wanted = asking.send(read(*wanted))
    except StopIteration as done:
        result: Content = done.value
        return result


def top_folder(members: Mapping[str, Member]) -> str:
    """Give the folder that a hierarchy lies in as a whole; nothing where it is at the root.

    Examples
    --------
    >>> member = Member(0, 30, 0, 0, STORED, 0, False)
    >>> top_folder({"image.ome.zarr/zarr.json": member, "image.ome.zarr/0/zarr.json": member})
    'image.ome.zarr'
    """
    if any(file in members for file in GROUP_FILES):
        return ""
    tops = {
        key.partition("/")[0]
        for key in members
        if key.count("/") == 1 and key.partition("/")[2] in GROUP_FILES
    }
    return tops.pop() if len(tops) == 1 else ""


def _broken(name: str, why: str) -> OmeZarrError:
    return OmeZarrError(f"{name} is a broken zip archive: {why}. Copy or write it again.")


def _damaged(name: str, key: str) -> OmeZarrError:
    return OmeZarrError(
        f"{name}: {key} is damaged, or the archive was replaced after it had been opened. Open it "
        "again, or copy it again."
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def header(key: str, size: int, crc: int) -> bytes:
    """Give what stands before a member that is stored as it is."""
    encoded, flags = _encoded(key)
    # Both sizes, or neither, are in the further field of a header (4.5.3).
    large = struct.pack("<2H2Q", _ZIP64, 16, size, size) if size >= _FULL else b""
    fixed = _HEADER.pack(
        _HEADER_MARK,
        _ZIP64_VERSION if large else _PLAIN_VERSION,
        flags,
        STORED,
        0,
        _DAY,
        crc,
        *(min(size, _FULL),) * 2,
        len(encoded),
        len(large),
    )
    return fixed + encoded + large


def entry(key: str, start: int, size: int, crc: int) -> bytes:
    """Give the entry of a member in the central directory."""
    encoded, flags = _encoded(key)
    numbers = [n for n in (size, size, start) if n >= _FULL]
    large = b""
    if numbers:
        large = struct.pack(f"<2H{len(numbers)}Q", _ZIP64, 8 * len(numbers), *numbers)
    version = _ZIP64_VERSION if large else _PLAIN_VERSION
    fixed = _ENTRY.pack(
        _ENTRY_MARK,
        _UNIX | version,
        version,
        flags,
        STORED,
        0,
        _DAY,
        crc,
        *(min(size, _FULL),) * 2,
        len(encoded),
        len(large),
        0,
        0,
        0,
        _MODE,
        min(start, _FULL),
    )
    return fixed + encoded + large


def end(count: int, start: int, length: int, comment: bytes) -> bytes:
    """Give what stands after the central directory, of so many members."""
    large = b""
    if count >= _FULL_SHORT or start >= _FULL or length >= _FULL:
        version = _UNIX | _ZIP64_VERSION, _ZIP64_VERSION
        rest = _END64.size - 12
        large = _END64.pack(_END64_MARK, rest, *version, 0, 0, count, count, length, start)
        large += _LOCATOR.pack(_LOCATOR_MARK, 0, start + length, 1)
    short = min(count, _FULL_SHORT)
    fixed = _END.pack(
        _END_MARK, 0, 0, short, short, min(length, _FULL), min(start, _FULL), len(comment)
    )
    return large + fixed + comment


def _encoded(key: str) -> tuple[bytes, int]:
    return key.encode(), 0 if key.isascii() else _UTF8
