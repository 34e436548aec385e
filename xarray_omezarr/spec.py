"""What the groups of all versions share: where OME-Zarr's attributes stand, and what they say.

Versions, kinds of groups, paths and lists of labels. Only this module and those beside it know the
keys of the metadata: `multiscale` reads images, `descriptions` writes them. Each check stands under
the rule of the specification that it enforces, quoted by version and section.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: The formats of Zarr.
V2 = 2
V3 = 3
#: Each version that is written, with the Zarr format it is stored in.
ZARR_FORMATS = {"0.4": V2, "0.5": V3, "0.6": V3}
#: And each that is read.
READ_FORMATS = {"0.1": V2, "0.2": V2, "0.3": V2, **ZARR_FORMATS, "0.9.dev1": V3}
#: Each label image costs requests, whether it is there or not.
_MOST_LABELS = 1024
#: What a group of a hierarchy is, by the key that says so; the first that is there decides.
#: "Readers: if `plate` is present, it takes precedence" (0.4, bioformats2raw.layout).
KINDS = {
    "plate": "plate",
    "well": "well",
    "scene": "scene",
    "multiscales": "image",
    "bioformats2raw.layout": "series",
    "series": "series",
    "labels": "labels",
}
#: Keys that describe another group than that of an image; they are never copied into one.
FOREIGN_KINDS = ("plate", "well", "scene", "bioformats2raw.layout", "series", "labels")
#: What names its version until 0.4. (0.5: "the version is `ome.version`"; the sentence of 0.5 that
#: demands `plate.version` contradicts its schema.)
DATED = ("plate", "well", "image-label")
#: No disk and no bucket has longer paths.
_LONGEST = 4096
#: What leads out of a group on some systems: backslashes, drives, and control characters; and what
#: no file is called, but a terminal obeys: more of these, marks of direction, and halves of pairs.
_MISLEADING = re.compile(
    r"\\|^[A-Za-z]:|[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def ome_attributes(attributes: Mapping[str, Any], zarr_format: int) -> Mapping[str, Any]:
    """Give the part of a group's attributes that OME-Zarr has written: `ome` from 0.5 on."""
    ome = attributes.get("ome")
    if isinstance(ome, dict) and (zarr_format == V3 or "multiscales" not in attributes):
        return ome
    return attributes


def kind(attributes: Mapping[str, Any], zarr_format: int) -> str | None:
    """Say what a group is: "image", "plate", "well", "series", "scene", "labels" or nothing."""
    ome = ome_attributes(attributes, zarr_format)
    return next((kind for key, kind in KINDS.items() if key in ome), None)


def format_of(document: Mapping[str, Any]) -> int:
    """Say which format of Zarr the attributes of an image's group come from."""
    return V2 if "multiscales" in document else V3


def declared_versions(attributes: Mapping[str, Any], zarr_format: int) -> Iterator[str]:
    """Give the versions that a group itself declares, the one that counts first."""
    ome = ome_attributes(attributes, zarr_format)
    dated = [ome, *(ome.get(key) for key in DATED)]
    multiscales = ome.get("multiscales")
    if isinstance(multiscales, list):
        dated += multiscales[:1]
    for one in dated:
        if isinstance(one, dict) and isinstance(one.get("version"), str):
            yield one["version"]


def version_of(attributes: Mapping[str, Any], zarr_format: int) -> str:
    """Give the version that goes on in a hierarchy whose root has these attributes."""
    known = (v for v in declared_versions(attributes, zarr_format) if v in ZARR_FORMATS)
    whole = (*known, *ZARR_FORMATS)
    return next(version for version in whole if ZARR_FORMATS[version] == zarr_format)


def is_beyond(version: str, scale: float) -> bool:
    """Say whether a scale is one that a version has no words for."""
    # The schemas of 0.6 have "exclusiveMinimum": 0 for every scale.
    return version == "0.6" and scale < 0


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────


def check_path(path: object, what: str) -> str:
    """Check that a path in metadata leads to something below its group."""
    if not isinstance(path, str) or not path.strip("/"):
        msg = f"{what} is {path!r:.80}; expected the path of an array below the group."
        raise OmeZarrError(msg)
    if not leads_below(path):
        msg = f"{what} is {path!r:.80}; a path must stay below its own group."
        raise OmeZarrError(msg)
    return path.rstrip("/")


def leads_below(path: str) -> bool:
    """Say whether a path leads below the group that names it, and nowhere else, in any store."""
    # To a server "%2e" is ".", and "%252e" as well where one stands behind another; clients drop
    # control characters from what they ask it for, and Windows drops dots and spaces after names.
    seen = path.rstrip("/")
    while (once := unquote(seen)) != seen:
        seen = once.rstrip("/")
    outside = any(not part.strip(" .") for part in seen.split("/"))
    return not (outside or len(path) > _LONGEST or _MISLEADING.search(seen))


# ── labels ────────────────────────────────────────────────────────────────────────────────────────


def label_names(
    attributes: Mapping[str, Any], zarr_format: int, *, place: str, warn: Callable[[str], None]
) -> list[str]:
    """Read the list of an image's label images; what is wrong with it never harms the image."""
    ome = ome_attributes(attributes, zarr_format)
    if zarr_format == V3 and ome is attributes and "labels" in ome:
        # 0.5: "the attributes of the group MUST contain the key `labels`" within `ome`.
        warn(f"{place}: 'labels' stands outside 'ome'; read all the same")
    elif zarr_format == V3 and "labels" in ome and "version" not in ome:
        warn(f"{place}: 'ome.version' is missing; read all the same")
    listed = ome.get("labels", [])
    if not isinstance(listed, list):
        warn(f"{place}: 'labels' is {listed!r:.80}, not a list; left out")
        return []
    if len(listed) > _MOST_LABELS:
        warn(f"{place}: there are {len(listed)} 'labels'; the first {_MOST_LABELS} are read")
        listed = listed[:_MOST_LABELS]
    names, wrong = [], []
    for i, name in enumerate(listed):
        try:
            names.append(check_path(name, f"{place}: 'labels[{i}]'"))
        except OmeZarrError as error:
            wrong.append(str(error))
    if wrong:
        more = f", and {len(wrong) - 1} others like it" if len(wrong) > 1 else ""
        warn(f"{wrong[0]} Left out{more}.")
    return list(dict.fromkeys(names))


def image_label(attributes: Mapping[str, Any], zarr_format: int) -> Mapping[str, Any]:
    """Give what the attributes of a label image say of its labels."""
    found = ome_attributes(attributes, zarr_format).get("image-label")
    return found if isinstance(found, dict) else {}


def without_table(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes of a label image without the properties and colours of its labels."""
    result = dict(attributes)
    if isinstance(result.get("ome"), dict):
        result["ome"] = without_table(result["ome"])
    if isinstance(result.get("image-label"), dict):
        about = result["image-label"]
        kept = {key: value for key, value in about.items() if key not in ("properties", "colors")}
        result["image-label"] = kept
    return result


def labels_attributes(
    attributes: Mapping[str, Any], names: Sequence[str], version: str
) -> dict[str, Any]:
    """Give the attributes of a group of labels with this list of label images."""
    old = ome_attributes(attributes, V3)
    known = {key: value for key, value in old.items() if key not in ("labels", "version")}
    if ZARR_FORMATS[version] == V2:
        return {**known, "labels": list(names)}
    others = {} if old is attributes else {k: v for k, v in attributes.items() if k != "ome"}
    # 0.5: "the `labels` group MUST contain `ome.labels`", and `ome` its version.
    return {**others, "ome": {"version": version, **known, "labels": list(names)}}


# ── attributes ────────────────────────────────────────────────────────────────────────────────────


def without(attributes: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Give attributes without one of them."""
    return {name: value for name, value in attributes.items() if name != key}


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Replace what JSON has no word for (NaN, infinities), which may come with an old document."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
