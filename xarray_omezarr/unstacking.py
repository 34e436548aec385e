"""A stack of fields taken apart: each field as an image at its own place.

All that is needed stands in coordinates, so that it survives selection and arithmetic.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates, wellnames
from xarray_omezarr.bundles import alone
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lattice import lattice, moved, recover
from xarray_omezarr.slots import ACQUISITION, ALONG, COLUMN, FIELD, ORIGIN, OWN, PRESENT, ROW, WELL

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from dask.delayed import Delayed

    from xarray_omezarr.stream import Running
    from xarray_omezarr.works import Options

T = TypeVar("T", xr.Dataset, xr.DataArray)


def to_tree(
    stacked: xr.Dataset, *, image: str | None = None, labels: Sequence[str] = ()
) -> dict[str, xr.Dataset]:
    """Take a stack apart: each field by its path, like "/A/1/0", at its own place.

    Parameters
    ----------
    stacked
        A plate that was opened by ``stack=``, or what became of it by selection and computation.
    image
        The variable of the pixels, where it is not clear.
    labels
        The variables of label images; by default those that are known as such.

    Returns
    -------
    dict
        What `xarray.DataTree.from_dict` takes, in the order of the stack. Each Dataset has the
        scalar coordinates `well`, `row`, `column`, `field`, and `acquisition` if that is known.
        Where `present` says that there is none, there is none.

    Raises
    ------
    OmeZarrError
        Where coordinates do not say which field is which, or two are the same.

    Examples
    --------
    >>> field = samples.coins()[["image"]].expand_dims(well=["A/1", "A/2"])
    >>> sorted(to_tree(field))
    ['/A/1/0', '/A/2/0']
    """
    chosen = coordinates.check_labels(stacked, labels) or coordinates.label_images(stacked)
    ds = stacked[[coordinates.find_image(stacked, image, chosen), *chosen]]
    for label in chosen:
        known = ds.variables[label].encoding.get("omezarr") or {}
        ds.variables[label].encoding["omezarr"] = {**known, "kind": "label"}
    along = [dim for dim in ALONG if dim in ds.dims]
    # With `chunks=`, xarray has each of a coordinate's values be a task.
    ahead = [key for key, value in ds.coords.items() if set(along) & set(value.dims)]
    ds = ds.assign_coords({key: ds.coords[key].compute() for key in ahead})
    fields: dict[str, xr.Dataset] = {}
    for place in itertools.product(*(range(ds.sizes[dim]) for dim in along)):
        one = ds.isel(dict(zip(along, place, strict=True)))
        if PRESENT in one.coords and not bool(one.coords[PRESENT]):
            continue
        one, path = _named(one)
        if path in fields:
            msg = f"The stack has the field '{path}' twice; select one of them."
            raise OmeZarrError(msg)
        fields[path] = placed(one)
    if not fields:
        msg = "There is no field in the stack: 'present' is nowhere true."
        raise OmeZarrError(msg)
    return fields


def _named(one: xr.Dataset) -> tuple[xr.Dataset, str]:
    """Give a field with the coordinates that it has in a tree, and its path."""

    def said(name: str) -> Any:  # noqa: ANN401 - any scalar
        return one.coords[name].item() if name in one.coords else None

    row, column, well, field = said(ROW), said(COLUMN), said(WELL), said(FIELD)
    if row is None or column is None:
        pairs = wellnames.parse(str(well)) if well is not None and "/" in str(well) else ()
        if not pairs:
            msg = (
                f"It is not known which well a field of the stack is of: 'well' is {well!r:.60}, "
                f"'row' {row!r:.60} and 'column' {column!r:.60}. Assign coordinates that say it: "
                "ds.assign_coords(well=('well', ['A/1', …]))."
            )
            raise OmeZarrError(msg)
        row, column = pairs[0]
    field = "0" if field is None else str(field)
    named: dict[str, str | int] = {
        WELL: f"{row}/{column}",
        ROW: str(row),
        COLUMN: str(column),
        FIELD: field,
    }
    acquisition = said(ACQUISITION)
    if acquisition is not None and acquisition == acquisition:  # noqa: PLR0124 - NaN
        named[ACQUISITION] = int(acquisition)
    one = one.drop_vars([key for key in OWN if key in one.coords]).assign_coords(named)
    # A stack has the name of its plate.
    one.attrs.pop("name", None)
    return one, f"/{row}/{column}/{field}"


def placed(obj: T) -> T:
    """Give an image whose positions count from its origin at its place.

    Parameters
    ----------
    obj
        A single field of a stack: with scalar coordinates `y_origin`, `x_origin` and so on. Any
        other image comes back as it is.
    """
    dims = [str(dim) for dim in obj.dims]
    origins = {dim: f"{dim}{ORIGIN}" for dim in dims if f"{dim}{ORIGIN}" in obj.coords}
    if not origins:
        return obj
    found: dict[Hashable, xr.Variable] = {}
    for dim, name in origins.items():
        origin = float(obj.coords[name])
        if not np.isfinite(origin):
            msg = f"'{name}' is {origin} for a field that is to be written; expected a position."
            raise OmeZarrError(msg)
        scale, offset = 1.0, 0.0
        attrs: dict[Any, Any] = {}
        if dim in obj.coords:
            variable = obj.coords[dim].variable
            what, attrs = f"The coordinate of dimension '{dim}'", variable.attrs
            scale, offset = recover(np.asarray(variable.values), variable.encoding, what)
        first = moved(scale, origin, offset)
        encoding = {"scale": scale, "translation": first}
        found[dim] = xr.Variable((dim,), lattice(obj.sizes[dim], scale, first), attrs, encoding)
    if isinstance(obj, xr.Dataset):
        own = obj.assign({key: alone(obj.variables[key]) for key in obj.data_vars})
    else:
        own = xr.DataArray(alone(obj.variable), obj.coords, name=obj.name)
    return own.drop_vars(origins.values()).assign_coords(found)


def check_whole(**options: object) -> None:
    """Check that nothing is asked for that is for a part of one image.

    Raises
    ------
    OmeZarrError
        Where something is: it names the option.
    """
    given = [f"{key}={value!r:.60}" for key, value in options.items() if value]
    if given:
        msg = (
            f"{', '.join(given)}: this is a stack of the fields of a plate, which is written as a "
            "whole, or with mode='a'. Select one field, and name its group, like group='A/1/0'."
        )
        raise OmeZarrError(msg)


def write_stack(
    stacked: xr.Dataset,
    target: object,
    *,
    image: str | None,
    labels: Sequence[str],
    group: str | None,
    options: Options,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write a stack as the plate that its fields are of; the parameters are those of an image.

    Raises
    ------
    OmeZarrError
        Where it is not known which field is which.
    """
    from xarray_omezarr import ensembles

    fields = to_tree(stacked, image=image, labels=labels)
    known = stacked.encoding.get("omezarr")
    memory = known if isinstance(known, dict) else {}
    title = stacked.attrs.get("name")
    root = xr.Dataset(attrs={"name": title} if isinstance(title, str) else None)
    root.encoding["omezarr"] = {key: told for key, told in memory.items() if key != "wells"}
    nodes = {"/": root, **fields}
    for well, document in (memory.get("wells") or {}).items():
        if any(path.startswith(f"/{well}/") for path in fields):
            nodes[f"/{well}"] = xr.Dataset()
            nodes[f"/{well}"].encoding["omezarr"] = {"document": document}
    return ensembles.write_tree(
        xr.DataTree.from_dict(nodes),
        str(coordinates.find_image(stacked, image, labels)),
        target,
        group=group,
        options=options,
        running=running,
        storage_options=storage_options,
    )
