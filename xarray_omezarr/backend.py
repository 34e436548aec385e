"""The engine: what xarray calls to open an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from xarray.backends import BackendEntrypoint

from xarray_omezarr.guess import peek

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr


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
        "labels",
        "storage_options",
        "strict",
        "version",
    )

    def guess_can_open(self, filename_or_obj: Any) -> bool:  # noqa: ANN401 - as xarray types it
        """Say whether something is an OME-Zarr image, without asking any network."""
        return peek(filename_or_obj) == "image"

    def open_dataset(
        self,
        filename_or_obj: Any,  # noqa: ANN401
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int = 0,
        labels: bool | Sequence[str] = True,
        storage_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        version: str | None = None,
    ) -> xr.Dataset:
        """Open one level of an image.

        Parameters
        ----------
        filename_or_obj : str, os.PathLike, zarr.abc.store.Store or zarr.Group
            A path, a URL that fsspec knows, or a store of Zarr. What ends in `.ozx` or `.zip` is a
            zip archive, of which only what is needed is read.
        drop_variables : str or iterable of str, optional
            Variables and coordinates to leave out.
        group : str, optional
            The path of the image's group within the store.
        level : int, default 0
            The resolution: 0 is the finest, -1 the coarsest.
        labels : bool or sequence of str, default True
            Whether the label images that lie on the pixels of this level are added, each as an
            integer variable of its own name, with its properties along `<name>_id`; or the names
            of those that are. `xarray.open_dataarray` needs ``labels=False``.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.
        strict : bool, default False
            Whether what a warning would be given of, an assumption, is an error.
        version : str, optional
            The version to read the metadata by, whatever they declare: for files of a version that
            is not known, but like one that is.

        Returns
        -------
        xarray.Dataset
            The pixels as the variable `image`.

        Raises
        ------
        OmeZarrError
            Where there is no image, or no such level: the message says what there is.
        """
        from xarray_omezarr.read import open_level, strictly

        with strictly(strict):
            return open_level(
                filename_or_obj,
                group=group,
                level=level,
                labels=labels,
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
        labels: bool | Sequence[str] = True,
        storage_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        version: str | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open all levels of an image, each as a Dataset: `/0` is the finest."""
        from xarray_omezarr.read import open_levels, strictly

        with strictly(strict):
            return open_levels(
                filename_or_obj,
                group=group,
                labels=labels,
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
        labels: bool | Sequence[str] = True,
        storage_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        version: str | None = None,
    ) -> xr.DataTree:
        """Open all levels of an image as a tree, one node a level: `/0` is the finest."""
        from xarray.backends.common import datatree_from_dict_with_io_cleanup

        from xarray_omezarr.errors import OmeZarrError

        groups = self.open_groups_as_dict(
            filename_or_obj,
            drop_variables=drop_variables,
            group=group,
            labels=labels,
            storage_options=storage_options,
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
