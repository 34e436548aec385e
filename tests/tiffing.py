"""Image files by other writers than this package, and what their pixels are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from pathlib import Path

    Pixels = np.ndarray[Any, Any]

#: OME-XML of an image in two files of two planes each.
PARTS = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0" Name="parts"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16"
 SizeX="20" SizeY="16" SizeZ="4" SizeC="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeZ="2">
<Channel ID="Channel:0:0" SamplesPerPixel="1" Name="GFP"/>
<TiffData IFD="0" FirstZ="0" PlaneCount="2"><UUID FileName="a.ome.tif">urn:uuid:a</UUID></TiffData>
<TiffData IFD="0" FirstZ="2" PlaneCount="2"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>
</Pixels></Image></OME>"""


def pixels(shape: tuple[int, ...], dtype: str = "u2", seed: int = 0) -> Pixels:
    """Make pixels that differ from each other and compress a little."""
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def put(path: Path, data: Pixels, **options: Any) -> Path:  # noqa: ANN401 - tifffile's
    """Write a TIFF."""
    tifffile.imwrite(path, data, **options)
    return path


def put_parts(folder: Path) -> Pixels:
    """Write an OME-TIFF of two files."""
    data = pixels((4, 16, 20))
    for own, part in (("a", data[:2]), ("b", data[2:])):
        put(
            folder / f"{own}.ome.tif", part, description=PARTS.format(own=own), metadata=None,
            compression="zlib",
        )  # fmt: skip
    return data


def patched(path: Path, tag: int, value: bytes) -> Path:
    """Overwrite the value of a tag of the first page, or the beginning of it."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.tags[tag].valueoffset
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    return path
