from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from xarray_omezarr import pictures


@pytest.mark.parametrize("components", [3, 4])
def test_png_holds_the_pixels(components: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, components)).astype(np.uint8)
    found = Image.open(io.BytesIO(pictures.png(pixels)))
    np.testing.assert_array_equal(np.asarray(found), pixels)
    uri = pictures.data_uri(b"abc")
    assert base64.b64decode(uri.removeprefix("data:image/png;base64,")) == b"abc"


def test_averages_of_whole_cells_are_block_means() -> None:
    plane = np.random.default_rng(0).integers(0, 60000, (12, 20)).astype(np.uint16)
    expected = plane.reshape(4, 3, 5, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(pictures.averaged(plane, 4, 5), expected, rtol=1e-6)
    assert pictures.averaged(plane, 12, 20) is plane
    assert pictures.averaged(np.full((4, 4), 1e300), 2, 2).tolist() == [[np.inf] * 2] * 2


def test_averages_keep_the_mean() -> None:
    plane = np.random.default_rng(0).random((301, 411))
    found = pictures.averaged(plane, 128, 175)
    assert found.shape == (128, 175)
    assert found.mean() == pytest.approx(plane.mean(), rel=2e-3)
    # Noise gets less: there is nothing that was just left out.
    assert found.std() < 0.5 * plane.std()


def test_labels_are_never_mixed() -> None:
    labels = np.arange(1, 36).reshape(5, 7)
    assert pictures.nearest(labels, 5, 7).tolist() == labels.tolist()
    assert pictures.nearest(labels, 1, 1).item() == labels[2, 3]
    assert set(pictures.nearest(labels, 10, 3).ravel()) <= set(labels.ravel())


def test_resized() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = 200
    assert pictures.resized(pixels, 4, 4) is pixels
    assert pictures.resized(pixels, 2, 2)[:, 0, 0].tolist() == [200, 0]
    larger = pictures.resized(pixels, 8, 8, smooth=False)
    np.testing.assert_array_equal(larger, pixels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("ground", [0, 90, 255])
def test_a_bar_is_as_long_as_asked_and_seen_on_any_ground(ground: int) -> None:
    pixels = np.full((200, 300, 3), ground, np.uint8)
    found = pictures.with_bar(pixels, 60, "50 µm").astype(int)
    assert found.shape == pixels.shape
    np.testing.assert_array_equal(found[:150], ground)
    rows = [(row == 255).all(axis=-1) for row in found[150:]]
    dark = [(row == 0).all(axis=-1) for row in found[150:]]
    runs = [int(row.sum()) for row in rows if ground != 255]
    assert ground == 255 or runs.count(60) >= 2
    # Its rim is dark on white, and itself white on black.
    assert any(row[-80:].sum() >= 60 for row in (dark if ground else rows))


def test_the_letter_that_the_font_lacks_is_drawn() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    micro, plain = (pictures.with_bar(pixels, 60, text) for text in ("50 µm", "50 um"))
    differ = (micro != plain).any(axis=-1)
    assert 0 < differ.sum() < 100


def test_a_bar_on_a_tiny_picture() -> None:
    found = pictures.with_bar(np.zeros((16, 16, 3), np.uint8), 5, "100 hogsheads")
    assert found.shape == (16, 16, 3)
