"""The labels of a Dataset and their tables, by its accessor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xarray_omezarr.errors import OmeZarrError, warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike

    from xarray_omezarr.measure import Colors
    from xarray_omezarr.sheets import Columns, Types


class LabelsAccessor:
    """Look up, join, measure, paint and colour the labels of a Dataset."""

    _obj: xr.Dataset

    def table(self, label: str) -> xr.Dataset:
        """Give the properties of a label image as a Dataset of their own, along `id`.

        There, `where`, `groupby`, `sortby` and `to_dataframe` do what they do to any table; on the
        whole Dataset they would be broadcast against the pixels.

        Parameters
        ----------
        label : str
            The name of the label image.

        Returns
        -------
        xarray.Dataset
            One variable for each property, without the prefix that it has here; colours as the
            coordinate `color`.

        Raises
        ------
        OmeZarrError
            Where there is no such label image; the message lists those there are.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area"])
        >>> table = ds.omezarr.table("coins")
        >>> table.where(table.area > 1000, drop=True).sizes["id"]
        3
        """
        from xarray_omezarr import tables

        return tables.table(self._obj, label)

    def set_table(self, label: str, table: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Put an edited table back in the place of the one that there was.

        Parameters
        ----------
        label : str
            The name of the label image.
        table : xarray.Dataset or pandas.DataFrame
            Along `id`, the label values.

        Returns
        -------
        xarray.Dataset
            A new object.

        Raises
        ------
        OmeZarrError
            Where the table is not along `id`, or its values are no labels.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area"])
        >>> table = ds.omezarr.table("coins")
        >>> ds = ds.omezarr.set_table("coins", table.assign(large=table.area > 1000))
        >>> int(ds.coins_large.sum())
        3
        """
        from xarray_omezarr import tables

        return tables.set_table(self._obj, label, table)

    def join_csv(
        self,
        table: object,
        *,
        label: str | None = None,
        on: str | tuple[str, str],
        columns: Columns | None = None,
        dtypes: Types | None = None,
        how: Literal["left", "inner", "right", "outer"] = "left",
        overwrite: bool = False,
        errors: Literal["raise", "coerce"] = "raise",
        duplicates: Literal["raise", "first", "last"] = "raise",
        ids: ArrayLike | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Join the columns of a table to the labels of a label image, or to the wells of a plate.

        What is known of labels becomes variables; what is known of wells, coordinates along them.

        The report of the join stands in a warning where something did not match;
        `xarray_omezarr.joins.join_csv`, and `xarray_omezarr.platemaps.join_csv` for wells, give it
        in any case.

        Parameters
        ----------
        table : str, os.PathLike, file or pandas.DataFrame
            A path, a URL that fsspec knows, an open file or a table; compressed or not.
        label : str, optional
            The name of the label image; without it rows are about wells.
        on : str or (str, str)
            The column that holds the label values; or that and the property it is matched with.
            For wells the column that names them, as A1, A01, A/1 or a1; or that of the row and that
            of the column.
        columns : sequence or mapping of str, optional
            Which columns, or their new names as well; by default all.
        dtypes : mapping of str, optional
            Types, where pandas' guess is not wanted: NumPy's, or "d", "l", "s" and "b".
        how : {"left", "inner", "right", "outer"}
            Which labels there are afterwards, as in `pandas.merge`. Wells stay all.
        overwrite : bool, default False
            Whether a property of the same name is replaced.
        errors : {"raise", "coerce"}
            Whether a value that does not parse is an error, or missing.
        duplicates : {"raise", "first", "last"}
            Which of several rows of a label or a well counts.
        ids : array_like of int, optional
            The label values, where neither properties nor colours say them; by default they are
            read from the pixels, block by block.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.

        Returns
        -------
        xarray.Dataset
            A new object with one variable `<label>_<column>` for each column, or one coordinate
            `<column>` for wells.

        Raises
        ------
        OmeZarrError
            Where a column, the label image, a well or a value is not as asked.

        Examples
        --------
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"cell": range(1, 23), "kind": ["drachma", "obol"] * 11})
        >>> ds = samples.coins().omezarr.join_csv(cells, label="coins", on="cell")
        >>> ds.coins_kind.sel(coins_id=2).item()
        'obol'

        >>> wells = pd.DataFrame({"well": ["A1", "a02"], "drug": ["none", "taxol"]})
        >>> plate = samples.coins().expand_dims(well=["A/1", "A/2"])
        >>> plate.omezarr.join_csv(wells, on="well").drug.sel(well="A/2").item()
        'taxol'
        """
        from xarray_omezarr import joins, platemaps

        if label is None:
            if ids is not None or how != "left":
                msg = (
                    "ids= and how= are about labels: name the label image by label=. Wells are all "
                    "kept; choose among them afterwards."
                )
                raise OmeZarrError(msg)
            joined, report = platemaps.join_csv(
                self._obj,
                table,
                on=on,
                columns=columns,
                dtypes=dtypes,
                overwrite=overwrite,
                errors=errors,
                duplicates=duplicates,
                storage_options=storage_options,
            )
        else:
            joined, report = joins.join_csv(
                self._obj,
                table,
                label=label,
                on=on,
                columns=columns,
                dtypes=dtypes,
                how=how,
                overwrite=overwrite,
                errors=errors,
                duplicates=duplicates,
                ids=ids,
                storage_options=storage_options,
            )
        if not report.complete:
            warn(str(report))
        return joined

    def paint(self, name: str, fill: Any = np.nan) -> xr.DataArray:  # noqa: ANN401 - any scalar
        """Give each pixel the property of its label, lazily.

        Parameters
        ----------
        name : str
            The variable of the property, like `nuclei_area`.
        fill : scalar, default NaN
            What background and labels without a value get.

        Returns
        -------
        xarray.DataArray
            On the pixels of the label image, of the type that holds both property and `fill`.

        Raises
        ------
        OmeZarrError
            Where there is no such property.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["mean"])
        >>> ds.omezarr.paint("coins_mean").dims
        ('y', 'x')
        """
        from xarray_omezarr import measure

        return measure.paint(self._obj, name, fill)

    def measure(
        self, label: str, properties: str | Sequence[str], image: str | None = None
    ) -> xr.Dataset:
        """Measure each label, and join what comes out as variables.

        Parameters
        ----------
        label : str
            The name of the label image.
        properties : str or sequence of str
            Of "area", "bbox", "centroid", "count", "max", "mean", "min", "std" and "sum"; see
            `xarray_omezarr.measure.measure` for what they are.
        image : str, optional
            The variable whose values are measured; by default the image.

        Returns
        -------
        xarray.Dataset
            A new object, with sizes and positions in the units of the coordinates.

        Raises
        ------
        OmeZarrError
            Where there is no such label image, property or image.

        Examples
        --------
        >>> ds = samples.coins().omezarr.measure("coins", ["area", "centroid"])
        >>> sorted(ds.omezarr.table("coins").data_vars)
        ['area', 'centroid_x', 'centroid_y']
        """
        from xarray_omezarr import measure

        return measure.measure(self._obj, label, properties, image)

    def color_labels(
        self, label: str, colors: Colors | None = None, *, by: str | None = None
    ) -> xr.Dataset:
        """Set the colours in which labels are shown.

        Parameters
        ----------
        label : str
            The name of the label image.
        colors : str, mapping, sequence or callable, optional
            A colour, the name of a colormap of Matplotlib, or a colour for each label; see
            `xarray_omezarr.measure.color_labels`. By default each label has a colour of its own,
            the same in each run.
        by : str, optional
            The property that a colormap shows.

        Returns
        -------
        xarray.Dataset
            A new object with the coordinate `<label>_color`: eight hexadecimal digits.

        Raises
        ------
        OmeZarrError
            Where there is no such label image, property or colour.

        Examples
        --------
        >>> ds = samples.astronaut().omezarr.color_labels("circles", {1: "#FF0000"})
        >>> ds.circles_color.sel(circles_id=1).item()
        'FF0000FF'
        """
        from xarray_omezarr import measure

        return measure.color_labels(self._obj, label, colors, by=by)
