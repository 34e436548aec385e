"""A Zarr array that is no image → Dataset: its axes are as somebody says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from xarray_omezarr import chunked, spec, storage, stores
from xarray_omezarr.documents import ARRAY_METADATA
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.guess import local_path
from xarray_omezarr.model import TYPES, Axis, Image, Level
from xarray_omezarr.rasters import Rasters
from xarray_omezarr.read import check_positions, finish
from xarray_omezarr.transforms import ScaleTranslation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.stores import Place


class Found(NamedTuple):
    """A Zarr array."""

    place: Place
    """The group that it is in."""
    path: str
    """Below that."""
    array: Described
    attributes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.place.below(self.path).name

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of its axes, where it has some that an image's axes have."""
        told = getattr(self.array.model.metadata, "dimension_names", None)
        names = tuple(told or ())
        fit = bool(names) and set(names) <= set(TYPES) and len(set(names)) == len(names)
        return names if fit else None

    @property
    def level(self) -> int | None:
        """The number of the level of an OME-Zarr image that it is; None where it is none."""
        node = storage.fetch(self.place)
        if node is None or node.kind != "image":
            return None
        ome = spec.ome_attributes(node.attributes, node.zarr_format)
        found = (ome.get("multiscales") or [{}])[0]
        datasets = found.get("datasets") if isinstance(found, dict) else None
        paths = [entry.get("path") for entry in datasets or () if isinstance(entry, dict)]
        return paths.index(self.path) if self.path in paths else None


def find_array(target: object, storage_options: Mapping[str, Any] | None) -> Found | None:
    """Find a Zarr array; None where something else is there, or nothing.

    Parameters
    ----------
    target
        A path, a URL, a store of Zarr or an array of Zarr.
    storage_options
        Passed on to fsspec for URLs.
    """
    at = getattr(target, "store_path", target)
    place = stores.locate(at, storage_options=storage_options)
    v3, v2, attributes = storage.read_bytes(place, ARRAY_METADATA[3], ARRAY_METADATA[2], ".zattrs")
    if storage.describes_array(v3):
        content, zarr_format = v3, spec.V3
    elif v2 is not None:
        content, zarr_format = v2, spec.V2
    else:
        place.close()
        return None
    parent, path = _above(at, place, storage_options)
    described = chunked.Models(parent).describe(path, content, zarr_format)
    if isinstance(described, OmeZarrError):
        raise described
    check_positions(parent, [described])
    if zarr_format == spec.V3:
        told: Mapping[str, Any] = dict(described.model.metadata.attributes)
    else:
        told = storage.parse_json(attributes, place, ".zattrs") if attributes else {}
    return Found(parent, path, described, told)


def _above(
    target: object, place: Place, storage_options: Mapping[str, Any] | None
) -> tuple[Place, str]:
    """Give the group that an array is in, and its path there; the root of a store is in none."""
    if place.path:
        head, _, tail = place.path.rpartition("/")
        name = place.name.removesuffix(tail).rstrip("/")
        return replace(place, path=head, name=name), tail
    local = local_path(target)
    if local is not None:
        whole = local.absolute()
        return stores.locate(whole.parent), whole.name
    if isinstance(target, str) and "?" not in target and target.count("/") > 3:  # noqa: PLR2004 - a host
        head, _, tail = target.rstrip("/").rpartition("/")
        return stores.locate(head, storage_options=storage_options), tail
    return place, ""


def open_array(found: Found, axes: Sequence[str], *, attributes: bool) -> xr.Dataset:
    """Open a Zarr array as an image: of pixels of size 1.

    Parameters
    ----------
    found
        The array.
    axes
        The names of its axes.
    attributes
        Whether its attributes become those of the image's group.

    Raises
    ------
    OmeZarrError
        Where it has another number of axes.
    """
    shape = found.array.shape
    if len(axes) != len(shape):
        msg = (
            f"{found.name} has {len(shape)} axes, of {' × '.join(map(str, shape))} pixels; "
            f"axes='{''.join(axes)}' names {len(axes)}. Name each of them, in their order."
        )
        raise OmeZarrError(msg)
    known = found.names
    if known is not None and known != tuple(axes):
        msg = (
            f"{found.name} has the axes '{''.join(known)}' (dimension_names), and not "
            f"'{''.join(axes)}'. Leave them out, or mend the array."
        )
        raise OmeZarrError(msg)
    ones = ScaleTranslation((1.0,) * len(shape), (0.0,) * len(shape))
    image = Image(
        version="0.5",
        axes=tuple(Axis(name, TYPES[name]) for name in axes),
        levels=(Level(found.path, ones),),
        document=_foreign(found) if attributes else {},
        # Whose axes have no names is no concern of an array that is no image.
        intrinsic="",
    )
    made = Rasters().dataset(found.place, image, 0, found.array, warn=warn)
    return finish(made, found.name, found.place)


def _foreign(found: Found) -> dict[str, Any]:
    """Give the attributes of an array that an image's group can have without being another one."""
    own = {"ome", "omero", "multiscales", *spec.KINDS} & set(found.attributes)
    if own:
        warn(f"{found.name}: {sorted(own)} of its attributes are OME-Zarr's own, and left out")
    return {key: value for key, value in found.attributes.items() if key not in own}
