"""The engine: what xarray calls to open an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from xarray.backends import BackendEntrypoint

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.guess import peek

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr

    from xarray_omezarr.picking import Wanted
    from xarray_omezarr.screens import Fields, Wells


#: The kinds of groups that are opened: as a Dataset, or as a tree of images.
_KINDS = ("image", "plate", "well", "series", "scene")


class OmeZarrBackendEntrypoint(BackendEntrypoint):
    """Open OME-Zarr images with named dimensions and physical coordinates, lazily.

    xarray knows it as the engine "omezarr".

    Examples
    --------
    >>> import xarray as xr
    >>> from xarray_omezarr import samples
    >>> samples.coins()[["image"]].omezarr.to_zarr(path)
    >>> ds = xr.open_dataset(path, engine="omezarr")
    >>> ds.image.dims
    ('y', 'x')
    """

    description = "Open OME-Zarr (OME-NGFF) images with physical coordinates"
    url = "https://github.com/ome/ngff"
    supports_groups = True
    # No decoders: fill values are no masks, and units no calendar.
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "group",
        "level",
        "resolution",
        "max_bytes",
        "labels",
        "storage_options",
        "consolidated",
        "missing_on_403",
        "strict",
        "version",
        "stack",
        "wells",
        "fields",
        "fill_value",
        "verify",
    )

    def guess_can_open(self, filename_or_obj: Any) -> bool:  # noqa: ANN401 - as xarray types it
        """Say whether something is an OME-Zarr image or holds some, without asking any network."""
        return peek(filename_or_obj) in _KINDS

    def open_dataset(
        self,
        filename_or_obj: Any,  # noqa: ANN401
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int | None = None,
        resolution: Wanted | None = None,
        max_bytes: float | str | None = None,
        labels: bool | Sequence[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        consolidated: bool | None = None,
        missing_on_403: bool = False,
        strict: bool = False,
        version: str | None = None,
        stack: str | Sequence[str] | None = None,
        wells: Wells | None = None,
        fields: Fields | None = None,
        fill_value: float | None = None,
        verify: bool = True,
    ) -> xr.Dataset:
        """Open one level of an image, or of all fields of a plate.

        Parameters
        ----------
        filename_or_obj : str, os.PathLike, zarr.abc.store.Store or zarr.Group
            A path, a URL that fsspec knows, or a store of Zarr. What ends in `.ozx` or `.zip` is a
            zip archive, of which only what is needed is read.
        drop_variables : str or iterable of str, optional
            Variables and coordinates to leave out.
        group : str, optional
            The path of the image's group within the store.
        level : int, optional
            The resolution: 0, the default, is the finest, -1 the coarsest.
        resolution : float, str or mapping of str to these, optional
            Instead of `level`, the size that pixels may have at the most, along all axes of space
            or along those named: ``0.5`` in the units of the axes, ``"1 um"`` or
            ``{"z": 2.0, "x": "500 nm"}``. The coarsest level that is at least as fine is opened.
        max_bytes : int or str, optional
            Instead of `level`, the number of bytes that the pixels may take once they are loaded,
            like ``500_000_000``, ``"500 MB"`` or ``"2 GiB"``: those of the image, without labels;
            of a stack, those of all fields. The finest level that fits is opened.
        labels : bool or sequence of str, optional
            Whether the label images that lie on the pixels of this level are added, each as an
            integer variable of its own name, with its properties along `<name>_id`; or the names
            of those that are. By default all of an image, and none of a plate.
            `xarray.open_dataarray` needs ``labels=False``.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.
        consolidated : bool, optional
            Whether all metadata are taken from the consolidated ones of the store, or of the group
            that is opened, in one request. What they say is believed; by default they are not read.
        missing_on_403 : bool, default False
            Whether an object that may not be read is taken for one that is not there, which object
            stores do not tell apart for those who may not list. Without it, it is an error.
        strict : bool, default False
            Whether what a warning would be given of, an assumption, is an error.
        version : str, optional
            The version to read the metadata by, whatever they declare: for files of a version that
            is not known, but like one that is.
        stack : {"well", ("row", "column")}, optional
            How the fields of a plate become one array: along the dimension `well`, or along `row`
            and `column`; and along `field`, where a well has several. Coordinates say which field
            is where, and where it begins: `y_origin`, `x_origin` and so on, from which `y` and `x`
            count.
        wells : str, sequence of str or pandas.DataFrame, optional
            Which wells are stacked: paths and names with `*` and `?`, or rows of the table that
            `xarray_omezarr.wells` gives.
        fields : int, str or sequence of these, optional
            Which fields of each well are: positions in the well, or paths.
        fill_value : float, optional
            What pixels are where a well or field is not there, which is an error without it. NaN
            makes integers floating point. The coordinate `present` says where there are any.
        verify : bool, default True
            Whether all fields are checked to be alike when a plate is stacked. Otherwise only the
            array of the first one is looked at, and one that is not like it is an error when it is
            read.

        Returns
        -------
        xarray.Dataset
            The pixels as the variable `image`.

        Raises
        ------
        OmeZarrError
            Where there is no image, or no such level: the message says what there is. Also where
            `level`, `resolution` and `max_bytes` are not given one at a time.
        """
        from xarray_omezarr.picking import asked
        from xarray_omezarr.read import open_level, strictly

        wanted = asked(level, resolution, max_bytes, default=0)
        if stack is not None:
            from xarray_omezarr.stacks import open_stack

            with strictly(strict):
                return open_stack(
                    _sought(filename_or_obj, storage_options, consolidated, missing_on_403),
                    stack=stack,
                    group=group,
                    level=wanted,
                    labels=False if labels is None else labels,
                    wells=wells,
                    fields=fields,
                    fill_value=fill_value,
                    verify=verify,
                    storage_options=storage_options,
                    drop_variables=drop_variables,
                    version=version,
                )
        for key, value in {"wells": wells, "fields": fields, "fill_value": fill_value}.items():
            if value is not None:
                msg = (
                    f"{key}= is for the fields of a plate together: open them as one array by "
                    "stack='well', or as a tree by xr.open_datatree."
                )
                raise OmeZarrError(msg)
        with strictly(strict):
            return open_level(
                _sought(filename_or_obj, storage_options, consolidated, missing_on_403),
                group=group,
                level=wanted,
                labels=True if labels is None else labels,
                storage_options=storage_options,
                drop_variables=drop_variables,
                version=version,
            )

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,  # noqa: ANN401
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int | Sequence[int] | None = None,
        resolution: Wanted | None = None,
        max_bytes: float | str | None = None,
        labels: bool | Sequence[str] | None = None,
        wells: Wells | None = None,
        fields: Fields | None = None,
        storage_options: Mapping[str, Any] | None = None,
        consolidated: bool | None = None,
        missing_on_403: bool = False,
        strict: bool = False,
        version: str | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open all levels of an image, or of all images of a group, each as a Dataset.

        The parameters are those of `open_datatree`.
        """
        from xarray_omezarr.picking import asked
        from xarray_omezarr.read import strictly
        from xarray_omezarr.trees import open_tree

        with strictly(strict):
            return open_tree(
                _sought(filename_or_obj, storage_options, consolidated, missing_on_403),
                group=group,
                level=asked(level, resolution, max_bytes),
                labels=labels,
                wells=wells,
                fields=fields,
                storage_options=storage_options,
                drop_variables=drop_variables,
                version=version,
            )

    def open_datatree(
        self,
        filename_or_obj: Any,  # noqa: ANN401
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int | Sequence[int] | None = None,
        resolution: Wanted | None = None,
        max_bytes: float | str | None = None,
        labels: bool | Sequence[str] | None = None,
        wells: Wells | None = None,
        fields: Fields | None = None,
        storage_options: Mapping[str, Any] | None = None,
        consolidated: bool | None = None,
        missing_on_403: bool = False,
        strict: bool = False,
        version: str | None = None,
    ) -> xr.DataTree:
        """Open all levels of an image as a tree, or all images of a plate, a series or a scene.

        Of an image, `/0` is the finest level, and label images are below `/labels/<name>`. Of a
        plate, `/A/1/0/0` is the finest level of the field "0" of the well "A/1"; each level knows
        its `row`, `column`, `well`, `field` and, where there is one, `acquisition` by coordinates.

        Parameters
        ----------
        filename_or_obj, drop_variables, group, storage_options, strict, version
            As for `open_dataset`. A group without OME-Zarr metadata that holds images is opened by
            listing it, where its store can.
        level : int or sequence of int, optional
            The resolutions to open, -1 the coarsest; all of them by default.
        resolution, max_bytes
            As for `open_dataset`, and only the level that they pick is opened: by `resolution`, the
            one of each image; by `max_bytes`, the finest at which all images together fit, or the
            coarsest of those that have not as many.
        labels : bool or sequence of str, optional
            Whether label images are opened, or which. By default those of a single image are, and
            those of a plate or another group of images are not.
        wells : str, sequence of str or pandas.DataFrame, optional
            Of a plate, the wells to open: paths like "A/1", also with `*` and `?`; or rows of the
            table that `xarray_omezarr.wells` gives.
        fields : int, str or sequence of these, optional
            Of each well, the fields to open: positions in the well, or paths.

        Returns
        -------
        xarray.DataTree

        Raises
        ------
        OmeZarrError
            Where there is no image, or nothing of what was asked for: the message says what is.
        """
        from xarray.backends.common import datatree_from_dict_with_io_cleanup

        groups = self.open_groups_as_dict(
            filename_or_obj,
            drop_variables=drop_variables,
            group=group,
            level=level,
            resolution=resolution,
            max_bytes=max_bytes,
            labels=labels,
            wells=wells,
            fields=fields,
            storage_options=storage_options,
            consolidated=consolidated,
            missing_on_403=missing_on_403,
            strict=strict,
            version=version,
        )
        try:
            return datatree_from_dict_with_io_cleanup(groups)
        except ValueError as error:
            # The name of an axis has a "/" in it, or is that of what a node above has.
            msg = (
                f"{groups['/'].encoding['source']} cannot be a tree: {error}\n"
                "xr.open_dataset opens one level of it."
            )
            raise OmeZarrError(msg) from error


def _sought(
    target: object,
    storage_options: Mapping[str, Any] | None,
    consolidated: bool | None,  # noqa: FBT001 - the engine's arguments
    missing_on_403: bool,  # noqa: FBT001
) -> object:
    """Give what is opened, with what is special about how."""
    if not (consolidated or missing_on_403):
        return target
    from xarray_omezarr.stores import locate

    return locate(
        target,
        storage_options=storage_options,
        consolidated=bool(consolidated),
        missing_on_403=missing_on_403,
    )
