"""Arrays that are alike, read as one array with axes before theirs."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import Log, WatchedStore, pixels, put_array
from xarray_omezarr import OmeZarrError, chunked, stores
from xarray_omezarr.bundles import Bundle, Members, alone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Pixels, Place

SHAPE = (2, 7, 6)
#: Two wells of three places; one is empty.
SLOTS = np.array([[0, 1, 2], [3, -1, 4]])
DIMS = ("well", "field", "c", "y", "x")


def put_members(store: Place, count: int = 5) -> list[Pixels]:
    values = [pixels(SHAPE, seed=number) for number in range(count)]
    for number, array in enumerate(values):
        put_array(store, f"{number}", array, version="0.5", dims="cyx", chunks=(1, 4, 4))
    return values


def members_of(store: Place, *, opened: int = 5, count: int = 5) -> Members:
    place = stores.locate(store)
    arrays = chunked.describe_arrays(place, [str(number) for number in range(opened)], 3)
    known = {}
    for number, array in enumerate(arrays):
        assert not isinstance(array, OmeZarrError)
        known[number] = array
    return Members(place, [str(number) for number in range(count)], 3, known, {})


def oracle(values: list[Pixels], fill: float = 0) -> Pixels:
    blank = np.full(SHAPE, fill, np.uint16)
    return np.stack([np.stack([values[i] if i >= 0 else blank for i in row]) for row in SLOTS])


def variable(store: Place, fill: int = 9, opened: int = 5) -> xr.Variable:
    bundle = Bundle(members_of(store, opened=opened), SLOTS, np.dtype("uint16"), fill)
    return xr.Variable(DIMS, bundle.lazy())


STORE = MemoryStore()
VALUES = put_members(STORE)
EXPECTED = oracle(VALUES, 9)

SIZES = dict(zip(DIMS, EXPECTED.shape, strict=True))


def indexers(size: int) -> st.SearchStrategy[Any]:
    numbers = st.integers(-size, size - 1)
    return st.one_of(
        numbers,
        st.slices(size),
        st.lists(numbers, max_size=4).map(lambda some: np.array(some, np.int64)),
        st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
    )


@given(st.fixed_dictionaries({}, optional={dim: indexers(n) for dim, n in SIZES.items()}))
def test_any_selection_along_each_axis_is_numpys(key: dict[str, Any]) -> None:
    found = variable(STORE).isel(key)
    np.testing.assert_array_equal(found.values, xr.Variable(DIMS, EXPECTED).isel(key).values)


def points(dims: tuple[str, ...]) -> st.SearchStrategy[dict[str, xr.Variable]]:
    """Arrays that are broadcast against each other, for some of the dimensions."""

    def some(dim: str) -> st.SearchStrategy[xr.Variable]:
        numbers = st.integers(-SIZES[dim], SIZES[dim] - 1)
        kinds = [("p",), ("q",), ("p", "q")]
        return st.sampled_from(kinds).flatmap(
            lambda along: st.lists(numbers, min_size=3 ** len(along), max_size=3 ** len(along)).map(
                lambda values: xr.Variable(along, np.reshape(values, (3,) * len(along)))
            )
        )

    return st.fixed_dictionaries({dims[0]: some(dims[0])}, optional={d: some(d) for d in dims[1:]})


@given(points(DIMS))
def test_any_selection_of_points_is_numpys(key: dict[str, xr.Variable]) -> None:
    found = variable(STORE).isel(key)
    expected = xr.Variable(DIMS, EXPECTED).isel(key)
    assert found.dims == expected.dims
    np.testing.assert_array_equal(found.values, expected.values)


@given(points(("y", "well")), indexers(SIZES["x"]), indexers(SIZES["well"]))
def test_a_selection_of_a_selection_is_numpys(
    key: dict[str, xr.Variable], along_x: object, wells: object
) -> None:
    for first, then in (({"x": along_x}, key), ({"x": along_x, "well": wells}, {"y": key["y"]})):
        found = variable(STORE).isel(first).isel(then)
        expected = xr.Variable(DIMS, EXPECTED).isel(first).isel(then)
        np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"well": 1, "y": slice(None, None, -2)},
        {"field": [2, 0], "x": [5, 1]},
        {"well": xr.Variable("p", [0, 1, 1]), "y": xr.Variable("p", [1, 2, 3])},
        {"well": xr.Variable("p", [0, 1])},
    ],
)
def test_asynchronously_the_same_is_read(key: dict[str, Any]) -> None:
    found = asyncio.run(variable(STORE).isel(key).load_async())
    np.testing.assert_array_equal(found.values, xr.Variable(DIMS, EXPECTED).isel(key).values)


def test_only_the_members_that_are_touched_are_opened_and_read(tmp_path: Path) -> None:
    values = put_members(tmp_path)
    stack = variable(tmp_path, opened=1)
    for number in (1, 3, 4):
        (tmp_path / f"{number}" / "zarr.json").unlink()
    np.testing.assert_array_equal(stack.isel(well=0, field=[0, 2]).values, [values[0], values[2]])
    with pytest.raises(OmeZarrError, match="'1' is missing"):
        stack.isel(field=1, c=0).values  # noqa: B018 - reading it is what is tested
    # Nothing is read where there is nothing.
    assert stack.isel(well=1, field=1).values.tolist() == np.full(SHAPE, 9).tolist()
    assert stack.isel(well=slice(0)).values.shape == (0, 3, *SHAPE)


def test_pairs_of_places_read_each_member_once() -> None:
    log = Log()
    watched = WatchedStore(STORE, log=log)
    stack = variable(watched, opened=5)
    log.clear()
    key = {"well": xr.Variable("p", [0, 1, 0, 1]), "field": xr.Variable("p", [2, 0, 2, 1])}
    found = stack.isel(key).isel(c=1, y=slice(1, 4), x=slice(4))
    expected = xr.Variable(DIMS, EXPECTED).isel(key).isel(c=1, y=slice(1, 4), x=slice(4))
    np.testing.assert_array_equal(found.values, expected.values)
    assert sorted(log.keys()) == ["2/c/1/0/0", "3/c/1/0/0"]


def test_one_that_is_not_like_the_first_is_an_error_when_it_is_read() -> None:
    store = MemoryStore()
    values = put_members(store, 3)
    put_array(store, "3", pixels((2, 7, 5)), version="0.5", dims="cyx")
    put_array(store, "4", pixels(SHAPE, "uint8"), version="0.5", dims="cyx")
    stack = variable(store, opened=1)
    np.testing.assert_array_equal(stack.isel(well=0).values, values)
    with pytest.raises(OmeZarrError, match=r"'0' and '3' are not alike.*\(2, 7, 6\) and \(2, 7, 5"):
        stack.isel(well=1, field=0, y=0).values  # noqa: B018
    with pytest.raises(OmeZarrError, match="of type uint16 and uint8"):
        stack.isel(well=1, field=2, y=0).values  # noqa: B018
    with pytest.raises(OmeZarrError, match="'0' and '3' are not alike"):
        members_of(store)


def test_it_travels_and_opens_there_what_it_needs(tmp_path: Path) -> None:
    values = put_members(tmp_path)
    bundle = Bundle(members_of(tmp_path), SLOTS, np.dtype("uint16"), 9)
    moved = pickle.loads(pickle.dumps(bundle))  # noqa: S301
    # What is alike of many travels once.
    assert len(pickle.dumps(members_of(tmp_path))) < 2 * len(
        pickle.dumps(members_of(tmp_path, opened=1))
    )
    stack = xr.Variable(DIMS, moved.lazy())
    np.testing.assert_array_equal(stack.isel(well=1, field=0).values, values[3])


def test_threads_read_side_by_side() -> None:
    stack = variable(STORE, opened=1)
    keys = [{"well": i % 2, "field": i % 3, "y": slice(i % 4, None)} for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: stack.isel(key).values, keys))
    for key, values in zip(keys, found, strict=True):
        np.testing.assert_array_equal(values, xr.Variable(DIMS, EXPECTED).isel(key).values)


def test_a_type_that_holds_what_stands_in_for_absent_ones() -> None:
    bundle = Bundle(members_of(STORE), SLOTS, np.dtype("float32"), np.nan)
    found = xr.Variable(DIMS, bundle.lazy()).values
    assert found.dtype == np.float32
    assert np.isnan(found[1, 1]).all()
    np.testing.assert_array_equal(found[1, 2], VALUES[4])


def test_one_member_alone_is_its_own_array() -> None:
    stack = variable(STORE)
    one = alone(stack.isel(well=1, field=2, y=slice(1, 5)))
    lazy: Any = one._data
    assert lazy.array._array.path == "4"
    np.testing.assert_array_equal(one.values, VALUES[4][:, 1:5])
    for several in (stack, stack.isel(well=1), stack.isel(well=1, field=1)):
        assert alone(several) is several
    in_memory = xr.Variable("x", [1, 2])
    assert alone(in_memory) is in_memory
