"""The rules about metadata: each is provoked; and what other validators and the schemas say."""

from __future__ import annotations

import copy
import functools
import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.test_conformance import SUITE
from xarray_omezarr import rules
from xarray_omezarr.findings import SPELLINGS, Part, dialect
from xarray_omezarr.verdict import check_attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    Document = dict[str, Any]

UNITS = {"space": "micrometer", "time": "second"}
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def axes(dims: str) -> list[Document]:
    found = []
    for dim in dims:
        kind = TYPES[dim]
        found.append({"name": dim, "type": kind} | ({"unit": UNITS[kind]} if kind in UNITS else {}))
    return found


def image(version: str, dims: str = "cyx", levels: int = 2) -> Document:
    """Make a document that breaks no rule."""
    omero = {
        "channels": [{"color": "00FF00", "window": {"min": 0, "max": 9, "start": 0, "end": 9}}] * 2
    }
    head: Document = {"name": "n", "type": "mean", "metadata": {}}
    datasets: list[Document] = [{"path": str(level)} for level in range(levels)]
    for level, dataset in enumerate(datasets):
        scale = [2.0**level if TYPES[dim] == "space" else 1.0 for dim in dims]
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": scale}]
        if version in ("0.4", "0.5"):
            dataset["coordinateTransformations"] = steps
        elif version >= "0.6":
            ends = {"input": {"path": dataset["path"]}, "output": {"name": "world"}}
            dataset["coordinateTransformations"] = [
                {"type": "sequence", "transformations": steps, **ends}
            ]
    one: Document = {**head, "datasets": datasets}
    if version >= "0.6":
        one["coordinateSystems"] = [
            {"name": "world", "axes": axes(dims)},
            {"name": "turned", "axes": axes(dims)},
        ]
        one["coordinateTransformations"] = [
            {"type": "identity", "input": {"name": "world"}, "output": {"name": "turned"}}
        ]
    elif version >= "0.4":
        one["axes"] = axes(dims)
    elif version == "0.3":
        one["axes"] = list(dims)
    return whole(version, {"multiscales": [one], "omero": omero})


def whole(version: str, parts: Document) -> Document:
    """Say the version where it belongs."""
    if version >= "0.5":
        return {"ome": {"version": SPELLINGS[version][0], **parts}}
    parts = copy.deepcopy(parts)
    for key in ("multiscales", "plate", "well", "image-label"):
        for part in parts.get(key, []) if key == "multiscales" else [parts.get(key)]:
            if part is not None:
                part["version"] = version
    return parts


def plate(version: str) -> Document:
    wells: list[Document] = [{"path": "A/1"}, {"path": "B/2"}]
    if version >= "0.4":
        for index, well in enumerate(wells):
            well |= {"rowIndex": index, "columnIndex": index}
    found: Document = {
        "name": "p",
        "field_count": 1,
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": wells,
        "acquisitions": [{"id": 0, "name": "first", "maximumfieldcount": 1}],
    }
    return whole(version, {"plate": found})


def well(version: str) -> Document:
    return whole(version, {"well": {"images": [{"path": "0", "acquisition": 0}, {"path": "1"}]}})


def label(version: str) -> Document:
    document = image(version, "yx")
    about = {
        "colors": [{"label-value": 1, "rgba": [0, 0, 0, 255]}, {"label-value": 2}],
        "properties": [{"label-value": 1, "area": 3.5}],
        "source": {"image": "../../"},
    }
    holder = document.get("ome", document)
    holder["image-label"] = about | ({} if version >= "0.5" else {"version": version})
    del holder["omero"]
    return document


def scene(version: str) -> Document:
    moved = {"type": "translation", "translation": [1.0, 2.0]}
    return whole(
        version,
        {
            "scene": {
                "coordinateSystems": [{"name": "world", "axes": axes("yx")}],
                "coordinateTransformations": [
                    {**moved, "input": {"path": p, "name": "own"}, "output": {"name": "world"}}
                    for p in ("a", "b")
                ],
            }
        },
    )


MAKERS = {"image": image, "plate": plate, "well": well, "label": label, "scene": scene}


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.9"])
@pytest.mark.parametrize("kind", MAKERS)
def test_what_keeps_the_rules_breaks_none(kind: str, version: str) -> None:
    if kind == "scene" and version < "0.6":
        pytest.skip("scenes came with 0.6")
    report = check_attributes(MAKERS[kind](version), version)
    assert not report.findings, report


# ── each rule ────────────────────────────────────────────────────────────────────────────────────


def at(document: Document, path: str) -> tuple[Any, Any]:
    """Give what holds the last key of a path, and that key."""
    keys = [int(key) if key.isdecimal() else key for key in path.split("/")]
    holder: Any = document.get("ome", document)
    for key in keys[:-1]:
        holder = holder[key]
    return holder, keys[-1]


GONE = object()

M, T = "multiscales/0", "multiscales/0/datasets/0/coordinateTransformations"
S = "multiscales/0/coordinateTransformations/0"
W, R = "plate/wells/0", "plate/rows/0"


def additional(kind: str, **parameters: object) -> Document:
    ends = {"input": {"name": "world"}, "output": {"name": "turned"}}
    return {"type": kind, **ends, **parameters}


BROKEN: list[tuple[str, str, str, object, str, str]] = [
    # kind, version, path, value, severity, a part of the rule
    ("image", "0.5", "version", "0.7", "error", "The version is that of the specification"),
    ("image", "0.5", "version", 0.5, "error", "denoted as a string"),
    ("image", "0.6", "version", "0.6.dev3", "error", "A released version"),
    ("image", "0.4", f"{M}/version", "0.3", "error", "The version is that of the specification"),
    ("image", "0.4", f"{M}/version", GONE, "warning", 'the field "version"'),
    ("image", "0.5", f"{M}/version", "0.5", "note", "`version` has moved"),
    ("image", "0.5", "multiscales", [], "error", "contains a list of dictionaries"),
    ("image", "0.4", f"{M}/datasets/1/path", "../1", "error", "relative to the current zarr group"),
    ("image", "0.4", f"{M}/datasets/1/path", "/etc", "error", "relative to the current zarr group"),
    ("image", "0.4", f"{M}/datasets/1/path", "0", "note", "arrays of their own"),
    (
        "image",
        "0.4",
        f"{M}/datasets/1/coordinateTransformations",
        GONE,
        "error",
        "MUST contain the",
    ),
    ("image", "0.5", f"{M}/axes/1/name", "x", "error", "MUST be unique"),
    ("image", "0.5", f"{M}/axes/1/name", 3, "error", 'contain the field "name"'),
    ("image", "0.5", f"{M}/axes/1/type", 3, "error", "other string values"),
    ("image", "0.5", f"{M}/axes/1/type", "time", "error", "2 or 3 entries"),
    ("image", "0.5", f"{M}/axes/0/type", GONE, "warning", 'SHOULD contain the field "type"'),
    ("image", "0.5", f"{M}/axes/1/unit", GONE, "warning", 'the field "unit"'),
    ("image", "0.5", f"{M}/axes/1/unit", "micron", "warning", "UDUNITS-2"),
    ("image", "0.5", f"{M}/axes", axes("ycx"), "error", 'MUST be ordered by "type"'),
    ("image", "0.5", f"{M}/axes", axes("cxy"), "warning", 'ordered as "zyx"'),
    ("image", "0.5", f"{M}/axes", {}, "error", "MUST be a list of dictionaries"),
    ("image", "0.3", f"{M}/axes", ["y", "c", "x"], "error", "dimension order"),
    ("image", "0.3", f"{M}/axes", ["c", "x", "x"], "error", "MUST be unique"),
    ("image", "0.5", f"{T}/0/type", "affine", "error", "`translation` or `scale`"),
    ("image", "0.5", f"{T}/0/scale", [1, 1], "error", "MUST be the same as the length"),
    ("image", "0.5", f"{T}/0/scale", [1, 1, float("nan")], "error", "a list of floats"),
    ("image", "0.5", f"{T}/0/scale", [0, 1, 1], "warning", "which is not 0"),
    ("image", "0.5", f"{T}/0/scale", [1, 4, 4], "error", "ordered from largest"),
    ("image", "0.5", f"{T}/0", GONE, "error", "exactly one `scale`"),
    ("image", "0.5", f"{T}/0", {"type": "translation", "translation": [1, 1, 1]}, "error", "after"),
    ("image", "0.5", "omero/channels/0/color", "#00FF00", "error", "6 hexadecimal"),
    (
        "image",
        "0.5",
        "omero/channels/0/window/end",
        "9",
        "error",
        "`min`, `max`, `start` and `end`",
    ),
    ("image", "0.9", "omero/channels/0/window/end", GONE, "error", "`start` and `end`"),
    ("image", "0.5", "omero/channels/0/active", 1, "error", "`active` is a boolean"),
    ("image", "0.6", f"{M}/coordinateSystems", GONE, "error", "MUST contain the field"),
    ("image", "0.6", f"{M}/coordinateSystems/1/name", "world", "error", "is unique among"),
    ("image", "0.6", f"{M}/coordinateSystems/0/axes/0/discrete", 1, "error", "MUST be a boolean"),
    ("image", "0.6", f"{T}/0/input/path", "1", "error", "`input` MUST be the `path`"),
    ("image", "0.6", f"{T}/0/output/name", "turned", "error", "the same coordinate system"),
    ("image", "0.6", f"{T}/0/transformations/0/scale", [1, -1, 1], "error", "greater than 0"),
    (
        "image",
        "0.6",
        f"{T}/0/transformations/0",
        {"type": "identity"},
        "error",
        "a single scale or",
    ),
    ("image", "0.6", f"{T}/0/transformations/1/translation", [1, 1], "error", "fit each other"),
    ("image", "0.6", f"{S}/output/name", "nowhere", "error", "One side of every additional"),
    ("image", "0.6", f"{M}/coordinateTransformations", GONE, "error", "fully connected"),
    ("image", "0.6", S, additional("shear"), "error", "one of the table"),
    ("image", "0.6", S, additional("scale", scale=[1, 1]), "error", "compatible with input"),
    ("image", "0.6", S, additional("mapAxis", mapAxis=[0, 1, 1]), "error", "exactly once"),
    ("image", "0.6", S, additional("projectAxis"), "error", "at least one is there"),
    ("image", "0.6", S, additional("projectAxis", droppedInputs=[7]), "error", "at most 3 axes"),
    ("image", "0.6", S, additional("projectAxis", droppedInputs=[0]), "error", "compatible with"),
    ("image", "0.6", S, additional("affine", affine=[[1, 0], [0]]), "error", "2D nested array"),
    ("image", "0.6", S, additional("affine", path="../m"), "note", "not looked at"),
    (
        "image",
        "0.6",
        S,
        additional("rotation", rotation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]),
        "error",
        "determinant",
    ),
    ("image", "0.6", S, additional("sequence", transformations=[]), "error", "non-empty"),
    (
        "image",
        "0.6",
        S,
        additional("bijection", forward={"type": "identity"}),
        "error",
        "`inverse`",
    ),
    ("image", "0.6", S, additional("displacements"), "error", "located by its `path`"),
    (
        "image",
        "0.6",
        S,
        additional("displacements", path="d", interpolation="best"),
        "error",
        "`interpolation` is",
    ),
    ("image", "0.6", S, additional("byDimension", transformations=[{}]), "error", "each item MUST"),
    (
        "image",
        "0.6",
        S,
        additional(
            "byDimension",
            transformations=[
                {"transformation": {"type": "identity"}, "inputAxes": [0], "outputAxes": axis}
                for axis in ([0, 1], [1, 2])
            ],
        ),
        "error",
        "in exactly one `outputAxes`",
    ),
    (
        "image",
        "0.9",
        f"{M}/coordinateSystems/0/axes/1/orientation",
        {"type": "anatomical", "value": "up"},
        "error",
        '"orientation"',
    ),
    ("label", "0.5", "image-label/colors/1/label-value", 1, "error", "for each unique label"),
    ("label", "0.5", "image-label/colors/0/rgba", [0, 0, 0], "error", "four integers"),
    ("label", "0.5", "image-label/colors/0/label-value", 1.5, "error", "the integer of a label"),
    ("label", "0.5", "image-label/properties/0/label-value", GONE, "error", "the pixel value"),
    ("label", "0.5", "image-label/source/image", 3, "error", "`source.image` MUST be"),
    ("label", "0.4", "image-label/version", GONE, "warning", "`version` key"),
    ("plate", "0.5", f"{W}/path", "1/A", "error", "in that order"),
    ("plate", "0.5", f"{W}/rowIndex", 1, "error", "the same row/column pair"),
    ("plate", "0.5", f"{W}/rowIndex", 7, "error", "the same row/column pair"),
    ("plate", "0.5", "plate/wells/1/path", "A/1", "error", "Wells are unique"),
    ("plate", "0.5", f"{R}/name", "b", "warning", "case-insensitive"),
    ("plate", "0.5", f"{R}/name", "B", "error", "MUST NOT be a duplicate"),
    ("plate", "0.5", f"{R}/name", "A_", "error", "only alphanumeric"),
    ("plate", "0.5", "plate/field_count", 0, "error", "positive integer"),
    ("plate", "0.3", "plate/version", GONE, "error", "`version` key (schema)"),
    ("well", "0.5", "well/images/1/path", "0", "error", "MUST NOT be a duplicate"),
    ("well", "0.5", "well/images/1/path", "1_mip", "error", "only alphanumeric"),
    ("well", "0.6", "well/images/1/path", "__1", "error", "start with `__`"),
    ("well", "0.6", "well/images/1/acquisition", "1", "error", "MUST be an integer"),
    ("scene", "0.6", "scene/coordinateTransformations", [], "error", "MUST contain `coordinate"),
    ("scene", "0.6", "scene/coordinateTransformations/0/output", "world", "error", "are objects"),
    (
        "scene",
        "0.6",
        "scene/coordinateTransformations/0/output/name",
        "mars",
        "error",
        "MUST refer to coordinate systems in the same",
    ),
    (
        "scene",
        "0.6",
        "scene/coordinateTransformations/0/output",
        {"path": "a", "name": "other"},
        "error",
        "The graph of a scene",
    ),
]


@pytest.mark.parametrize(
    ("kind", "version", "path", "value", "severity", "rule"),
    BROKEN,
    ids=[f"{i}-{b[0]}-{b[1]}-{b[5]}" for i, b in enumerate(BROKEN)],
)
def test_a_rule_is_enforced(  # noqa: PLR0917 - a row of the table
    kind: str, version: str, path: str, value: object, severity: str, rule: str
) -> None:
    document = copy.deepcopy(MAKERS[kind](version))
    holder, key = at(document, path)
    if value is GONE:
        del holder[key]
    else:
        holder[key] = value
    report = check_attributes(document, version)
    told = {f.rule for f in report.findings if f.severity == severity}
    assert any(rule in one for one in told), report
    assert all(f.section.startswith(f"{version}, ") for f in report.findings)


@pytest.mark.parametrize(
    ("attributes", "version"),
    [
        ({"multiscales": [{"datasets": [{"path": "0"}]}]}, "0.2"),
        ({"multiscales": [{"axes": ["y", "x"]}]}, "0.3"),
        ({"multiscales": [{"axes": [{"name": "y"}]}]}, "0.4"),
        ({"plate": {"wells": [{"path": "A/1"}]}}, "0.3"),
        ({"ome": {"multiscales": []}}, "0.5"),
        ({"ome": {"scene": {}}}, "0.6"),
        ({"ome": {"version": "0.6.dev4"}}, "0.6"),
    ],
)
def test_a_version_that_is_not_named_is_seen(attributes: Document, version: str) -> None:
    assert rules.dialect_of(attributes, nested="ome" in attributes) == version


def test_findings_of_one_rule_are_bounded() -> None:
    document = label("0.5")
    document["ome"]["image-label"]["properties"] = [{}] * 100_000
    report = check_attributes(document, "0.5")
    assert 1 <= len(report.errors) < 50


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
       st.data())  # fmt: skip
def test_any_value_anywhere_is_a_finding_at_most(value: object, data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(["0.1", "0.3", "0.4", "0.5", "0.6", "0.9"]))
    kind = data.draw(st.sampled_from(["image", "plate", "well", "label", "scene"]))
    if kind == "scene" and version < "0.6":
        kind = "image"
    document = copy.deepcopy(MAKERS[kind](version))
    holder, key = data.draw(st.sampled_from(list(spots(document))))
    holder[key] = value
    str(check_attributes(document, version))
    check_attributes(document)


def spots(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    """Give every place in a document: what holds it, and its key there."""
    keys: list[Any] = []
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    return found + [spot for key in keys for spot in spots(value[key])]


# ── oracles ──────────────────────────────────────────────────────────────────────────────────────


#: No null and no booleans: other packages take them for what is absent, and for numbers.
VALUES = [0, -1, 1.5, "", "x", [], {}, [1, 2], [{}]]


def mutated(document: Document, data: st.DataObject) -> Document:
    """Give a document with one of its parts gone, doubled, or another value."""
    document = copy.deepcopy(document)
    holder, key = data.draw(st.sampled_from(spots(document)))
    how = data.draw(st.sampled_from(["as it is", "gone", "doubled", "other"]))
    if how == "gone":
        del holder[key]
    elif how == "doubled" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif how == "other":
        holder[key] = data.draw(st.sampled_from(VALUES))
    return document


@functools.cache
def schema(kind: str, version: str) -> Any:  # noqa: ANN401 - jsonschema may not be there
    """Give the official validator of a kind of document."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    specification = pytest.importorskip("referencing.jsonschema").DRAFT202012
    folder = SUITE / "schemas" / version
    found = {file.name: json.loads(file.read_text()) for file in folder.glob("*.schema")}
    registry = referencing.Registry().with_resources(
        (one["$id"], specification.create_resource(one)) for one in found.values()
    )
    return jsonschema.Draft202012Validator(found[f"{kind}.schema"], registry=registry)


#: What only the prose demands, so that no schema can see it.
PROSE = re.compile(
    "MUST be unique across all|MUST be ordered|same row/column pair|in that order|length of the "
    "`scale`|listed after `scale`|ordered from largest|MUST contain exactly one `scale`|fully "
    "connected|One side of every|the same coordinate system for every|`input` MUST be the `path`|"
    "compatible with input|fit each other|is unique among|6 hexadecimal|MUST contain the field "
    "`(color|window)`|MUST contain the fields|relative to the|additional entry|each unique label"
    "|set of unique|integer of a label|MUST be unique within|refer to coordinate systems|Wells are "
    "unique|MUST NOT be a duplicate|same list|one of the table|a single scale or|MUST be unique\\.|"
    "dimension order|Each well object MUST|discovering"
)


@pytest.mark.skipif(not SUITE.exists(), reason=f"no official schemas at {SUITE}")
@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.9"])
@given(data=st.data())
def test_the_schemas_agree(version: str, data: st.DataObject) -> None:
    kinds = ["image", "plate", "well"]
    kinds += ["label"] * (version >= "0.4") + ["scene"] * (version >= "0.6")
    kind = data.draw(st.sampled_from(kinds))
    document = mutated(MAKERS[kind](version), data)
    ome = document.get("ome", document)
    assume(kind != "label" or (isinstance(ome, dict) and {"image-label", "multiscales"} <= {*ome}))
    official = all(
        schema(one, "0.9.dev1" if version == "0.9" else version).is_valid(document)
        for one in ([kind, "image"] if kind == "label" else [kind])
    )
    report = check_attributes(document, version)
    if official:
        assert all(PROSE.search(f.rule) for f in report.errors), (document, report)
    else:
        assert report.errors, document


@functools.cache
def validators() -> dict[tuple[str, str, str], Callable[[Document], object]]:
    """Give what other packages validate with, by package, version and kind of document."""
    models = pytest.importorskip("ome_zarr_models")
    yao = pytest.importorskip("yaozarrs")
    v04, v05 = models.v04, models.v05
    ours = {
        ("ome-zarr-models", "0.4", "image"): v04.image.ImageAttrs.model_validate,
        ("ome-zarr-models", "0.4", "plate"): v04.hcs.HCSAttrs.model_validate,
        ("ome-zarr-models", "0.4", "well"): v04.well.WellAttrs.model_validate,
        ("ome-zarr-models", "0.5", "image"): lambda d: v05.image.ImageAttrs.model_validate(
            d["ome"]
        ),
        ("ome-zarr-models", "0.5", "plate"): lambda d: v05.hcs.HCSAttrs.model_validate(d["ome"]),
        ("ome-zarr-models", "0.5", "well"): lambda d: v05.well.WellAttrs.model_validate(d["ome"]),
    }
    for version, module in (("0.4", yao.v04), ("0.5", yao.v05)):
        for kind in ("image", "plate", "well"):
            model = getattr(module, kind.capitalize())
            ours["yaozarrs", version, kind] = (
                model.model_validate
                if version == "0.4"
                else lambda d, model=model: model.model_validate(d["ome"])
            )
    return ours


#: What the others let pass, by section and a part of the rule.
LAXER = {
    "ome-zarr-models": re.compile(
        # 0.5 has no model of omero.
        '0.5, "omero"|'
        # Names and units may be any JSON, paths and lists be empty, and a version be any string.
        '"unit" is a string|the field "name"|"name" is a string|relative to the current|only '
        "alphanumeric|a list of JSON objects, not empty|The version is that of|"
        # Strings pass for lists of floats.
        "stored as a list of floats|"
        # Entries may be repeated, and indices be negative or those of another well.
        "each a multiscale image|Wells are unique|MUST be unique within|index from 0|same row"
    ),
    "yaozarrs": re.compile(
        # Levels are ordered by their first axis; the path of a well is not compared with its row.
        "ordered from largest|same row/column|in that order|"
        # Numbers pass for paths; what has only one right value may be left out.
        "`path` key, a string|of type `translation` or|exactly one `scale`|denoted as a string|"
        "MUST be unique within"
    ),
}
#: What the others do not let pass though it is no MUST, by a part of their message.
STRICTER = {
    # The signs of scales count for the order of levels.
    "ome-zarr-models": re.compile("has a lower resolution"),
    # As above; levels that are repeated, and what SHOULD be a string or an object.
    "yaozarrs": re.compile(
        r"not ordered from highest|items are not unique|multiscales\.0\.(type|metadata)"
    ),
}


@pytest.mark.parametrize("package", ["ome-zarr-models", "yaozarrs"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@given(data=st.data())
def test_other_validators_agree(package: str, version: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["image", "plate", "well"]))
    document = mutated(MAKERS[kind](version), data)
    refused = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            validators()[package, version, kind](copy.deepcopy(document))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            refused = str(error) or type(error).__name__
    report = check_attributes(document, version)
    if refused:
        assert report.errors or STRICTER[package].search(refused), (document, refused)
    else:
        told = [f"{f.section} {f.rule}" for f in report.errors]
        assert all(map(LAXER[package].search, told)), (document, report)


def test_dialects_of_versions() -> None:
    assert [dialect(v) for v in ("0.4", "0.6rc0", "0.9.dev1", "0.7", 0.4)] == [
        "0.4", "0.6", "0.9", None, None,
    ]  # fmt: skip
    assert Part({"bioformats2raw.layout": 3})["bioformats2raw.layout"].path == (
        "['bioformats2raw.layout']"
    )
