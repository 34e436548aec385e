"""What a function gave for a field: a table, a label image, or both, told apart and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

#: The columns that say which field a row is about. They are text, but for the last.
KEYS = ("well", "row", "column", "field", "acquisition")


def parts(given: object) -> tuple[Any, xr.DataArray | None]:
    """Tell table and label image apart."""
    several = given if isinstance(given, tuple) else (given,)
    images = [one for one in several if isinstance(one, xr.DataArray)]
    tables = [one for one in several if not isinstance(one, xr.DataArray)]
    if len(images) > 1 or len(tables) > 1 or not several:
        kinds = ", ".join(type(one).__name__ for one in several)
        msg = f"The function gave ({kinds}); expected a table, a label image, or a tuple of both."
        raise OmeZarrError(msg)
    image = images[0] if images else None
    if image is not None and not image.ndim:
        msg = "The function gave a single value. Give it a name: a dict, like {'mean': ...}."
        raise OmeZarrError(msg)
    if image is not None and image.dtype.kind not in "iu":
        msg = f"The function gave an array of type {image.dtype}; labels are integers (.astype)."
        raise OmeZarrError(msg)
    return (tables[0] if tables else None), image


def frame(table: Any) -> pd.DataFrame:  # noqa: ANN401 - whatever a function gives
    """Make a DataFrame of what a function gave, its columns called by text."""
    import pandas as pd

    if table is None:
        return pd.DataFrame()
    if isinstance(table, xr.Dataset):
        dims = {dim for variable in table.data_vars.values() for dim in variable.dims}
        if len(dims) > 1 or (not dims and len(table.dims) > 1):
            msg = (
                f"The function gave a Dataset with the dimensions {tuple(map(str, table.dims))}; a "
                "table has one, like ds.omezarr.table('nuclei')."
            )
            raise OmeZarrError(msg)
        # The positions of pixels, where they came along, are no rows.
        others = [
            name for name, one in table.coords.items() if dims and not dims.issuperset(one.dims)
        ]
        table = table.drop_vars(others)
        table = table.to_dataframe() if table.dims else dict(table.data_vars)
    if isinstance(table, dict):
        table = pd.DataFrame({str(key): [_single(key, value)] for key, value in table.items()})
    if not isinstance(table, pd.DataFrame):
        msg = (
            f"The function gave {type(table).__name__}; expected a table (a DataFrame, a Dataset "
            "with one dimension, a dict of single values), or a label image (a DataArray, like "
            "ds.image.isel(c=0).copy(data=...))."
        )
        raise OmeZarrError(msg)
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    rows: pd.DataFrame = table.set_axis([str(name) for name in table.columns], axis="columns")
    rows.attrs = {}
    twice = rows.columns[rows.columns.duplicated()]
    if len(twice):
        msg = f"The table has several columns of the name {twice[0]!r}. Rename them."
        raise OmeZarrError(msg)
    return rows.reset_index(drop=True)


def _single(key: object, value: Any) -> Any:  # noqa: ANN401 - any scalar
    if hasattr(value, "ndim"):
        value = np.asarray(value)
        if value.ndim:
            msg = (
                f"{key!r} has the shape {value.shape}; a dict holds one value for each column, "
                "and is one row. For more rows give a DataFrame."
            )
            raise OmeZarrError(msg)
        return value[()]
    if isinstance(value, (list, tuple, dict, set)):
        msg = f"{key!r} is a {type(value).__name__}; a dict holds one value for each column."
        raise OmeZarrError(msg)
    return value


def with_keys(rows: pd.DataFrame, keys: Mapping[str, Any]) -> pd.DataFrame:
    """Put the columns in front that say which field the rows are about."""
    import pandas as pd

    for key in KEYS:
        if key not in rows:
            continue
        # Scalar coordinates of the field come along into many a table.
        if not (rows[key] == keys.get(key)).all():
            msg = f"The table has a column {key!r}, which says here which field it is. Rename it."
            raise OmeZarrError(msg)
        rows = rows.drop(columns=key)
    front = pd.DataFrame({key: [value] * len(rows) for key, value in keys.items()})
    if "acquisition" in keys:
        front["acquisition"] = pd.array([keys["acquisition"]] * len(rows), dtype="Int64")
    return pd.concat([front, rows], axis="columns")
