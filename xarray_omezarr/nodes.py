"""What the metadata files of a group say, whatever they were read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xarray_omezarr import spec
from xarray_omezarr.documents import METADATA, load_json
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Node:
    """What stands at a place."""

    attributes: Mapping[str, Any]
    zarr_format: int
    both: bool
    """Whether there are metadata of both formats, of which those of Zarr v3 were taken."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """All of the metadata file that the attributes stand in."""

    @property
    def kind(self) -> str | None:
        """What the group is, by its attributes."""
        return spec.kind(self.attributes, self.zarr_format)


def node_of(name: str, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Give what the metadata files of a group say; those of Zarr v3 where both say something.

    Parameters
    ----------
    name
        What messages call the group.
    v3, v2
        The content of its `zarr.json` and of its `.zattrs`; None for each that is not there.

    Raises
    ------
    OmeZarrError
        Where one is broken, or describes an array.

    Examples
    --------
    >>> node_of("a.zarr", None, b'{"plate": {}}').kind
    'plate'
    """
    if v3 is not None:
        document = parse(v3, name, METADATA[3])
        if document.get("node_type") == "array":
            above = name.rpartition("/")[0]
            msg = (
                f"{name} is a Zarr array, not a group. "
                f"Open the group that it belongs to{f': {above}' if above else ''}."
            )
            raise OmeZarrError(msg)
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            msg = f"{name}/zarr.json: 'attributes' is {attributes!r:.80}; expected an object."
            raise OmeZarrError(msg)
        # Readers SHOULD prefer 0.5 where metadata of both formats stand side by side (RFC-2);
        # but a v3 group that says nothing does not hide a v2 image.
        if spec.kind(attributes, 3) or v2 is None:
            return Node(attributes, 3, v2 is not None, document)
    if v2 is not None:
        document = parse(v2, name, METADATA[2])
        return Node(document, 2, v3 is not None, document)
    return None


def parse(content: bytes, name: str, file: str) -> dict[str, Any]:
    """Parse a metadata file of a group, or say which one is broken.

    Raises
    ------
    OmeZarrError
        Where it is no JSON object.
    """
    try:
        document = load_json(content)
    except ValueError as error:
        msg = f"{name}/{file} is {error}. The file must be mended or restored."
        raise OmeZarrError(msg) from error
    if not isinstance(document, dict):
        msg = f"{name}/{file} holds {document!r:.80}; expected a JSON object."
        raise OmeZarrError(msg)
    return document
