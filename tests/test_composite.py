"""Colours of channels and labels, held against plain NumPy and scikit-image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

from tests.pictures import by_hand
from xarray_omezarr import OmeZarrError
from xarray_omezarr.composite import (
    Look,
    Palette,
    composite,
    distinct_colors,
    outlines,
    overlay,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (1, 127, 254)]


def planes(count: int, dtype: str, shape: tuple[int, ...] = (300, 260)) -> NDArray[Any]:
    """Give pixels of all over a type."""
    random = np.random.default_rng(count)
    if np.dtype(dtype).kind == "f":
        return random.normal(0.4, 0.5, (count, *shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, (count, *shape), dtype, endpoint=True)


def windows(count: int, dtype: str) -> list[tuple[float, float]]:
    if np.dtype(dtype).kind == "f":
        return [(-0.2 + 0.1 * i, 0.9 + 0.05 * i) for i in range(count)]
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return [(low + (high - low) * i // 11, high - (high - low) * i // 7) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "uint32", "float64"])
def test_channels_are_put_together_as_plain_numpy_does_it(count: int, dtype: str) -> None:
    pixels = planes(count, dtype)
    shown = windows(count, dtype)
    looks = [Look(color, *window) for color, window in zip(COLORS[:count], shown, strict=True)]

    assert np.array_equal(composite(pixels, looks), by_hand(pixels, COLORS[:count], shown))


def test_a_table_of_all_values_gives_what_each_value_gives() -> None:
    values = np.arange(2**16, dtype=np.uint16)
    look = Look((255, 128, 3), 100, 50_000, "polynomial", 0.6, inverted=True)

    fused = composite([values], [look])
    single = np.concatenate([composite([part], [look]) for part in np.split(values, 64)])

    assert np.array_equal(fused, single)
    assert np.array_equal(fused, composite([values.astype(np.float64)], [look]))


@given(
    value=st.floats(-1e6, 1e6),
    start=st.floats(-1e6, 1e6),
    end=st.floats(-1e6, 1e6),
)
def test_a_window_that_is_turned_round_is_its_inverse(
    value: float, start: float, end: float
) -> None:
    values = np.array([value])
    there, back = Look(start=start, end=end), Look(start=end, end=start)
    if start == end:
        assert there.levels(values)[0] == (255 if value > start else 0)
    else:
        # Halves are rounded up in both.
        assert int(there.levels(values)[0]) + int(back.levels(values)[0]) in {255, 256}


@pytest.mark.parametrize(
    ("family", "k", "expected"),
    [
        ("linear", 2.0, lambda v: v),
        ("polynomial", 2.0, lambda v: v * v / 255),
        ("polynomial", 0.5, lambda v: math.sqrt(255 * v)),
        ("logarithmic", 1.0, lambda v: 255 * math.log(max(v, 1)) / math.log(255)),
        ("exponential", 0.5, lambda v: 255 * math.expm1(v**0.5) / math.expm1(255**0.5)),
        ("exponential", 1.0, lambda v: 255 * math.exp(v - 255)),
        ("exponential", 4.0, lambda v: 255.0 if v == 255 else 0.0),
    ],
)
def test_curves_are_those_of_omero(family: str, k: float, expected: Any) -> None:  # noqa: ANN401
    values = np.arange(256, dtype=np.uint8)
    levels = Look(start=0, end=255, family=family, coefficient=k).levels(values)
    inverse = Look(start=0, end=255, family=family, coefficient=k, inverted=True).levels(values)

    assert levels.tolist() == [math.floor(expected(v) + 0.5) for v in range(256)]
    assert np.array_equal(inverse, 255 - levels)


def test_a_photograph_is_what_it_is() -> None:
    photograph = planes(3, "uint8")
    looks = [Look(color, 0, 255) for color in COLORS[:3]]
    assert np.array_equal(composite(photograph, looks), np.moveaxis(photograph, 0, -1))


def test_light_that_exceeds_what_can_be_shown_is_cut_off() -> None:
    bright = np.full((1, 1), 255, np.uint8)
    assert composite([bright] * 600, [Look((1, 2, 0), 0, 255)] * 600).tolist() == [[[255, 255, 0]]]


def test_what_is_no_number_gives_no_light() -> None:
    values = np.array([np.nan, -np.inf, np.inf, 0.5], np.float32)
    plain, inverted = Look((255, 0, 0), 0, 1), Look((255, 0, 0), 0, 1, inverted=True)

    assert composite([values], [plain])[:, 0].tolist() == [0, 0, 255, 128]
    assert composite([values], [inverted])[:, 0].tolist() == [0, 255, 0, 127]
    assert plain.levels(values).tolist() == [0, 0, 255, 128]
    other = np.array([1, np.nan, np.nan, np.nan])
    assert composite([values, other], [plain, plain], alpha=True)[:, 3].tolist() == [255] * 4
    assert composite([values], [plain], alpha=True)[:, 3].tolist() == [0, 255, 255, 255]


@pytest.mark.parametrize("dtype", ["bool", ">u2", "float16", "int8", "int64"])
def test_all_real_types_are_shown(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert composite([values], [Look()])[..., 1].tolist() == [[0, 255], [255, 0]]
    assert composite([values.T[::-1]], [Look()])[..., 1].tolist() == [[255, 0], [0, 255]]


def test_what_has_no_brightness_is_refused() -> None:
    with pytest.raises(OmeZarrError, match=r"complex128 have no brightness; expected real numbers"):
        composite([np.zeros(3, complex)], [Look()])
    with pytest.raises(OmeZarrError, match="no channel to be shown; expected one"):
        composite([], [])


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_labels_have_the_colours_of_their_table(dtype: str) -> None:
    palette = Palette.of(
        np.array([3, 1, 9, 100]),
        np.array(["FF000080", "00FF00", "", "01020304"]),
        np.dtype(dtype),
    )
    labels = np.array([[0, 1, 3], [9, 100, 77]], dtype)
    assert palette.colors(labels).tolist() == [
        [[0, 0, 0, 0], [0, 255, 0, 255], [255, 0, 0, 128]],
        [[0, 0, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]],
    ]


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "uint32", "uint64"])
def test_labels_without_a_table_have_colours_of_their_own(dtype: str) -> None:
    labels = np.random.default_rng(0).integers(0, 50, (20, 30)).astype(dtype)
    colors = Palette().colors(labels)

    expected = distinct_colors(labels.ravel()).reshape(20, 30, 4)
    expected[labels == 0] = 0
    assert np.array_equal(colors, expected)
    assert len(np.unique(colors.reshape(-1, 4), axis=0)) == 50


def test_colours_are_distinct_and_the_same_in_each_run() -> None:
    assert distinct_colors(np.array([1, 2, 3])).tolist() == [
        distinct_colors(np.array([label], np.uint64))[0].tolist() for label in (1, 2, 3)
    ]
    assert len(np.unique(distinct_colors(np.arange(1, 2000)), axis=0)) == 1999


@given(seed=st.integers(0, 2**32 - 1))
def test_outlines_are_the_inner_boundaries(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (2, 7, 9)).repeat(2, 1).repeat(3, 2)
    expected = np.stack([find_boundaries(plane, connectivity=1, mode="inner") for plane in labels])
    assert np.array_equal(outlines(labels), expected)
    assert np.array_equal(
        outlines(np.moveaxis(labels, 0, -1), (0, 1)), np.moveaxis(outlines(labels), 0, -1)
    )


@given(seed=st.integers(0, 2**32 - 1), opacity=st.floats(0, 1), alpha=st.booleans())
def test_colours_are_laid_over_a_picture(seed: int, opacity: float, alpha: bool) -> None:  # noqa: FBT001
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (5, 7, 4 if alpha else 3)).astype(np.uint8)
    colors = random.integers(0, 256, (5, 7, 4)).astype(np.uint8)
    colors[0, :, 3] = 0
    if alpha:
        picture[..., 3] = random.choice([0, 255], (5, 7))
    before = picture.copy()

    found = overlay(picture, colors, opacity)

    for place in np.ndindex(5, 7):
        a = math.floor(int(colors[place][3]) * opacity + 0.5)
        below, above = picture[place].tolist(), colors[place].tolist()
        expected = [
            round((p * (255 - a) + c * a) / 255) for p, c in zip(below, above, strict=False)
        ]
        if alpha and not below[3]:
            expected = [*above[:3], a] if a else below
        elif alpha:
            expected[3] = 255
        assert found[place].tolist() == expected
    assert np.array_equal(picture, before)


def test_all_shares_of_all_colours_are_mixed_exactly() -> None:
    below, a = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    for above in (0, 1, 100, 255):
        picture = np.repeat(below[..., np.newaxis], 3, -1).astype(np.uint8)
        colors = np.full((256, 256, 4), above, np.uint8)
        colors[..., 3] = a
        expected = np.rint((below * (255 - a) + above * a) / 255)
        assert np.array_equal(overlay(picture, colors)[..., 1], expected)


def test_colours_are_broadcast_against_a_picture() -> None:
    picture = np.zeros((4, 2, 3, 3), np.uint8)
    colors = np.array([[[9, 8, 7, 255]] * 3, [[0, 0, 0, 0]] * 3], np.uint8)
    found = overlay(picture, colors)
    assert found[:, 0].reshape(-1, 3).tolist() == [[9, 8, 7]] * 12
    assert not found[:, 1].any()
