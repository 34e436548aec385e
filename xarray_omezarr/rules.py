"""Attributes of a group, checked by all rules of a version: no file is opened for it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from xarray_omezarr import rules_arrays, rules_groups, rules_image, rules_systems
from xarray_omezarr.findings import SPELLINGS, VERSIONS, Part, dialect, look, mapping
from xarray_omezarr.rules_image import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xarray_omezarr.findings import Finding, Rule

_BOOKS: Final = (
    *rules_image.BOOKS,
    *rules_systems.BOOKS,
    *rules_groups.BOOKS,
    *rules_arrays.BOOKS,
)

DECLARED: Final = METADATA.must(
    "hierarchy",
    "The version is that of the specification, and MUST be consistent within a hierarchy.",
)(None)


def all_rules() -> Iterator[Rule]:
    """Give every rule there is."""
    return itertools.chain.from_iterable(book.rules for book in _BOOKS)


def declared(attributes: Mapping[str, Any]) -> list[Part]:
    """Give the places where the attributes of a group say their version."""
    whole = Part(attributes)
    if mapping(whole["ome"].value):
        return [whole["ome"]["version"]]
    holders = [*whole["multiscales"].objects()]
    holders += [whole[key] for key in ("plate", "well", "image-label")]
    return [part for part in (holder["version"] for holder in holders) if not part.absent]


def dialect_of(attributes: Mapping[str, Any], *, nested: bool) -> str:
    """Give the dialect of a group's attributes: what they say, else what they look like.

    Parameters
    ----------
    attributes
        The attributes.
    nested
        Whether Zarr v3 holds them, which is for 0.5 and later.
    """
    for part in declared(attributes):
        known = dialect(part.value)
        if known:
            return known
    whole = Part(attributes)
    ome = whole["ome"] if mapping(whole["ome"].value) else whole
    images = [*ome["multiscales"].objects()]
    wells = [*ome["plate"]["wells"].objects()]
    axes = [axis for image in images for axis in image["axes"].entries()]
    signs = {
        "0.6": not ome["scene"].absent
        or any(not image["coordinateSystems"].absent for image in images),
        "0.5": nested or ome is not whole,
        "0.4": any(mapping(axis.value) for axis in axes),
        "0.3": any(not image["axes"].absent for image in images)
        or (bool(wells) and all(well["rowIndex"].absent for well in wells)),
        "0.2": bool(images),
    }
    return next((version for version, sign in signs.items() if sign), "0.4")


def check(
    attributes: Mapping[str, Any], version: str, file: str = "", *, alone: bool = True
) -> Iterator[Finding]:
    """Check the attributes of a group by the rules of a version.

    Parameters
    ----------
    attributes
        The attributes, as stored.
    version
        The dialect: "0.1" to "0.6" or "0.9".
    file
        What findings call the file.
    alone
        Whether no scene above connects the coordinate systems of this group.

    Examples
    --------
    >>> [str(finding.pointer) for finding in check({"multiscales": []}, "0.4")]
    ['multiscales']
    """
    for part in declared(attributes):
        if not part.absent and dialect(part.value) != version:
            expected = " or ".join(SPELLINGS[version])
            yield DECLARED.broken(version, file, part.path, f"{part.value!r:.40}, not {expected}")
    yield from look(
        all_rules(),
        itertools.chain(
            rules_image.subjects(attributes, version),
            rules_systems.subjects(attributes, version, alone=alone) if _new(version) else (),
            rules_groups.subjects(attributes, version),
        ),
        version,
        file,
    )


def _new(version: str) -> bool:
    return VERSIONS.index(version) >= VERSIONS.index("0.6")
