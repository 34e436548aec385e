"""How channels are shown, by what files, coordinates and arguments say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from tests.helpers import opened, put_array, put_document
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.looks import NAMED, Looks, auto_window, looks_of

if TYPE_CHECKING:
    from tests.helpers import Document


def image(count: int | None = 2, dtype: str = "uint16") -> xr.DataArray:
    shape = (4, 5) if count is None else (count, 4, 5)
    return xr.DataArray(np.zeros(shape, dtype), dims=("c", "y", "x")[-len(shape) :], name="image")


def colors(looks: Looks) -> list[str]:
    return [channel.color for channel in looks.channels]


def windows(looks: Looks) -> list[tuple[float, float]]:
    return [channel.window for channel in looks.channels]


def stored(channels: list[Document] | None, count: int = 2, version: str = "0.4") -> xr.Dataset:
    """Open an image with such an `omero` object."""
    store = MemoryStore()
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "type": "space"} for n in "yx"]
    put_array(store, "0", np.zeros((count, 4, 5), np.uint16), version=version, dims="cyx")
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    document: Document = {
        "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        ]
    }
    if channels is not None:
        document["omero"] = {"channels": channels}
    put_document(store, document, version=version)
    return opened(store)


def channel(label: str | None, **more: Any) -> Document:  # noqa: ANN401
    window = {"start": 0, "end": 100, "min": 0, "max": 65535}
    named = {} if label is None else {"label": label}
    return {**named, "color": "00FF00", "window": window, "active": True, **more}


# ── what nobody has said ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, ["FFFFFF"]),
        (1, ["FFFFFF"]),
        (2, ["FF00FF", "00FF00"]),
        (3, ["FF0000", "00FF00", "0000FF"]),
        (5, ["00FFFF", "FFFF00", "FF00FF", "FF0000", "00FF00"]),
    ],
)
def test_channels_without_colours_get_some(count: int | None, expected: list[str]) -> None:
    looks = looks_of(image(count))
    assert colors(looks) == expected
    assert looks.dim == (None if count is None else "c")
    assert not looks.are_settled


def test_there_are_colours_for_any_number_of_channels() -> None:
    found = colors(looks_of(image(40)))
    assert len(set(found)) == 40
    assert found == colors(looks_of(image(40)))


def test_windows_that_are_not_known_are_found_by_percentiles() -> None:
    array = image(2).omezarr.assign_channels(["DAPI", "GFP"])
    looks = looks_of(array).settled([np.arange(1001), np.arange(2001)], "level 3")

    assert looks.are_settled
    assert windows(looks) == [(1, 999), (2, 1998)]
    assert str(looks) == "DAPI 1 to 999, GFP 2 to 1998 (percentiles 0.1 and 99.9 of level 3)"


def test_windows_that_are_known_stay() -> None:
    array = image(2).omezarr.assign_channels(["a", "b"], windows=[(5, 50), (6, 60)])
    looks = looks_of(array)
    assert looks.are_settled
    assert str(looks) == "a 5 to 50, b 6 to 60 (as the image says)"
    mixed = looks_of(array.assign_coords(c_window_start=("c", [5, np.nan])))
    assert [one.has_window for one in mixed.channels] == [True, False]
    found = mixed.settled([np.zeros(3), np.arange(1001)], "the image")
    assert windows(found) == [(5, 50), (1, 999)]
    assert found.origin == "as the image says; percentiles 0.1 and 99.9 of the image"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([np.nan, np.inf, 3.0, 1.0], (1, 3)),
        ([np.nan, -np.inf], (0, 1)),
        ([], (0, 1)),
        ([7, 7, 7], (7, 7)),
        ([0] * 10_000 + [9], (0, 9)),
        ([True, True], (0, 1)),
        (np.arange(-500, 501, dtype=np.int16), (-499, 499)),
    ],
)
def test_windows_of_any_values_are_windows(values: Any, expected: tuple[float, float]) -> None:  # noqa: ANN401
    assert auto_window(np.array(values)) == expected


def test_photographs_and_masks_are_shown_as_they_are() -> None:
    photograph = looks_of(image(3, "uint8"))
    assert windows(photograph) == [(0, 255)] * 3
    assert photograph.origin == "all of uint8"
    primary = image(3, "uint8").omezarr.assign_channels(colors=["FF0000", "00FF00", "0000FF"])
    assert looks_of(primary).are_settled
    assert windows(looks_of(image(None, "bool"))) == [(0, 1)]
    # Three markers of a microscope are none.
    others = image(3, "uint8").omezarr.assign_channels(colors=["0000FF", "00FF00", "FF0000"])
    assert not looks_of(others).are_settled
    assert not looks_of(image(3, "uint16")).are_settled
    assert not looks_of(image(None, "uint8")).are_settled


# ── what the image says ──────────────────────────────────────────────────────────────────────────


def test_channels_that_are_not_active_are_left_out() -> None:
    array = image(3).omezarr.assign_channels(["a", "b", "c"], active=[True, False, True])
    looks = looks_of(array)
    assert [(one.name, one.index) for one in looks.channels] == [("a", 0), ("c", 2)]
    none = image(2).omezarr.assign_channels(active=[False, False])
    assert [one.index for one in looks_of(none).channels] == [0, 1]


def test_a_channel_that_was_selected_keeps_its_look() -> None:
    ds = samples.fluorescence()
    looks = looks_of(ds.image.sel(c="GFP"))
    assert looks.dim is None
    (one,) = looks.channels
    assert (one.name, one.index, one.color, one.window) == ("GFP", None, "00FF00", (63, 2047))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_curves_and_inversion_are_found_in_the_file(version: str) -> None:
    ds = stored(
        [
            channel("a", family="polynomial", coefficient=0.5, inverted=True),
            channel("b", family="linear", coefficient=3, inverted=False),
        ],
        version=version,
    )
    first, second = (one.look for one in looks_of(ds.image).channels)
    assert (first.family, first.coefficient, first.inverted) == ("polynomial", 0.5, True)
    assert (second.family, second.coefficient, second.inverted) == ("linear", 3, False)
    # By name, wherever the channel is now.
    turned = looks_of(ds.image.isel(c=[1, 0])).channels
    assert [one.look.inverted for one in turned] == [False, True]
    assert looks_of(ds.image.isel(c=0)).channels[0].look.inverted
    renamed = ds.image.omezarr.assign_channels(["x", "y"])
    assert [one.look.inverted for one in looks_of(renamed).channels] == [True, False]


def test_channels_without_names_keep_their_curves() -> None:
    ds = stored([channel(None), channel(None, family="logarithmic")])
    families = [one.look.family for one in looks_of(ds.image).channels]
    assert families == ["linear", "logarithmic"]


def test_channels_without_names_keep_their_curves_where_they_are_written() -> None:
    ds = stored([channel(None), channel(None, family="logarithmic")])
    store = MemoryStore()
    ds.omezarr.to_zarr(store, levels=1)
    families = [one.look.family for one in looks_of(opened(store).image).channels]
    assert families == ["linear", "logarithmic"]


@pytest.mark.parametrize(
    "odd",
    [
        {"family": "cubic"},
        {"family": 3},
        {"family": ["linear"]},
        {"coefficient": "2"},
        {"coefficient": float("inf")},
        {"coefficient": -1},
        {"coefficient": 10**400},
        {"coefficient": True},
        {"inverted": "yes"},
    ],
)
def test_what_omero_does_not_know_is_linear(odd: Document) -> None:
    ds = stored([channel("a", **odd), channel("b")])
    look = looks_of(ds.image).channels[0].look
    assert (look.family, look.coefficient, look.inverted) == ("linear", 1, False)


def test_windows_that_cannot_be_computed_with_are_not_known() -> None:
    wide = {"start": -1e308, "end": 1e308, "min": 0, "max": 1}
    looks = looks_of(stored([channel("a", window=wide), channel("b")]).image)
    assert [one.has_window for one in looks.channels] == [False, True]


# ── what is asked for ────────────────────────────────────────────────────────────────────────────


def test_channels_are_asked_for_by_name_or_number() -> None:
    array = image(3).omezarr.assign_channels(["a", "b", "c"], active=[True, False, False])
    ways: list[tuple[Any, list[int]]] = [
        ("b", [1]),
        (2, [2]),
        (-1, [2]),
        (["c", 0], [2, 0]),
        ([np.int64(1)], [1]),
    ]
    for asked, expected in ways:
        assert [one.index for one in looks_of(array, channels=asked).channels] == expected
    assert [one.index for one in looks_of(image(None), channels=0).channels] == [None]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("d", r"channels: there is no channel 'd'; there are 'a', 'b', 'c', or 0 to 2\."),
        (3, r"no channel 3"),
        (-4, r"no channel -4"),
        (True, r"no channel True"),
        ([1.0], r"no channel 1.0"),
        (1.0, r"no channel 1.0"),
        (["a", 0], r"expected one or more, each once, of 'a', 'b', 'c', or 0 to 2"),
        ([], r"expected one or more"),
    ],
)
def test_channels_that_are_not_there_are_told(asked: Any, message: str) -> None:  # noqa: ANN401
    array = image(3).omezarr.assign_channels(["a", "b", "c"])
    with pytest.raises(OmeZarrError, match=message):
        looks_of(array, channels=asked)


def test_colours_are_asked_for_in_several_ways() -> None:
    array = image(2).omezarr.assign_channels(["a", "b"], colors=["111111", "222222"])
    ways: list[tuple[Any, list[str]]] = [
        ("red", ["FF0000", "FF0000"]),
        (["cyan", "#0a0B0c"], ["00FFFF", "0A0B0C"]),
        ({"b": "yellow"}, ["111111", "FFFF00"]),
        ({0: "White", 1: "000000"}, ["FFFFFF", "000000"]),
    ]
    for asked, expected in ways:
        assert colors(looks_of(array, colors=asked)) == expected
    assert colors(looks_of(array, channels="b", colors={1: "red"})) == ["FF0000"]
    assert set(map(len, NAMED.values())) == {6}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("reddish", r"colors: 'reddish'; expected six hexadecimal digits, .*white, gray"),
        (["red"], r"a list of 2, one for each that is shown: 'a', 'b'"),
        ({"c": "red"}, r"colors: there is no channel 'c'"),
        ({5: "red"}, r"colors: channel 5 is not shown; shown are 'a', 'b'"),
        ({"a": 7}, r"colors: 7; expected six"),
        (7, r"expected one for all, a mapping by channel, or a list of 2"),
    ],
)
def test_colours_that_are_none_are_told(asked: Any, message: str) -> None:  # noqa: ANN401
    array = image(2).omezarr.assign_channels(["a", "b"])
    with pytest.raises(OmeZarrError, match=message):
        looks_of(array, colors=asked)
    bad = array.assign_coords(c_color=("c", ["red", "FFFFFF"]))
    with pytest.raises(OmeZarrError, match=r"colour of channel 0 is 'red'; .*assign_channels"):
        looks_of(bad)


def test_windows_are_asked_for_in_several_ways() -> None:
    array = image(2).omezarr.assign_channels(["a", "b"], windows=[(5, 50), (6, 60)])
    ways: list[tuple[Any, list[tuple[float, float]]]] = [
        ((0, 9), [(0, 9), (0, 9)]),
        ([(0, 9), (1, 8)], [(0, 9), (1, 8)]),
        (np.array([[0, 9], [1, 8]]), [(0, 9), (1, 8)]),
        ({"b": (1.5, 8)}, [(5, 50), (1.5, 8)]),
    ]
    for asked, expected in ways:
        looks = looks_of(array, windows=asked)
        assert windows(looks) == expected
        assert looks.are_settled
    assert looks_of(array, windows=(0, 9)).origin == "as given"
    assert looks_of(array, windows={"b": (0, 9)}).origin == "as given; as the image says"


def test_windows_by_percentiles_can_be_asked_for() -> None:
    array = image(2).omezarr.assign_channels(["a", "b"], windows=[(5, 50), (6, 60)])
    looks = looks_of(array, windows="auto")
    assert [one.has_window for one in looks.channels] == [False, False]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("best", r"windows='best': expected 'auto', or pairs"),
        ((1, np.nan), r"windows: \(1, nan\); expected two finite numbers"),
        ([(0, 1)], r"a list of 2, one for each that is shown"),
        ([(0, 1), 5], r"windows: 5; expected two finite"),
        ({"a": (1, 2, 3)}, r"windows: \(1, 2, 3\); expected two"),
        ({"a": ("0", "1")}, r"expected two finite numbers"),
    ],
)
def test_windows_that_are_none_are_told(asked: Any, message: str) -> None:  # noqa: ANN401
    array = image(2).omezarr.assign_channels(["a", "b"])
    with pytest.raises(OmeZarrError, match=message):
        looks_of(array, windows=asked)
