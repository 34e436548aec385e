"""The JSON documents of a hierarchy: what they are called, where they are, how they are parsed."""

from __future__ import annotations

import json
from typing import Any

#: The file that the attributes of a group stand in, by the format of Zarr.
METADATA = {2: ".zattrs", 3: "zarr.json"}
#: The file that describes an array.
ARRAY_METADATA = {2: ".zarray", 3: "zarr.json"}
#: All that Zarr's metadata stand in.
METADATA_FILES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
#: JSON that is nested deeper is refused: copying, comparing and writing it would end in a
#: RecursionError, at a depth that depends on who calls.
DEEPEST = 100
#: What neither nests JSON nor can hide that: as quotes, backslashes and other encodings can.
_NEITHER = bytes(set(range(256)) - set(b'[]{}"\\\0'))


def join(*parts: str) -> str:
    """Join paths of a hierarchy; those that are empty are that of its root.

    Examples
    --------
    >>> join("", "labels", "nuclei")
    'labels/nuclei'
    """
    return "/".join(part for part in parts if part)


def load_json(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Parse a document.

    Raises
    ------
    ValueError
        Where it is none, or nested too deep; the message goes on from "it is".

    Examples
    --------
    >>> load_json(b'{"zarr_format": 2}')
    {'zarr_format': 2}
    >>> load_json(b"[" * 101 + b"]" * 101)
    Traceback (most recent call last):
        ...
    ValueError: nested more than 100 levels deep
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"no valid JSON: {error}"
        raise ValueError(msg) from error
    if is_deep(content, document):
        msg = f"nested more than {DEEPEST} levels deep"
        raise ValueError(msg)
    return document


def is_deep(content: bytes, document: object) -> bool:
    """Say whether JSON is nested deeper than it may be.

    The properties of a million labels take no time to speak of: of the text, only brackets are
    looked at, and the innermost ones removed, again and again. Where brackets stand in strings,
    too, the levels of the document are gone through.
    """
    if content.count(b"[") + content.count(b"{") <= DEEPEST:
        return False
    rest = content.translate(None, _NEITHER).replace(b'""', b"")
    if rest.translate(None, b"[]{}"):
        level: list[Any] = [[document]]
        for _ in range(DEEPEST + 1):
            parts = (item.values() if isinstance(item, dict) else item for item in level)
            level = [item for part in parts for item in part if type(item) in {dict, list}]
        return bool(level)
    for _ in range(DEEPEST):
        rest = rest.replace(b"{}", b"").replace(b"[]", b"")
    return bool(rest)
