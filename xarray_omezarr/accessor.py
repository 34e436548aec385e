"""The accessor `.omezarr` on Dataset, DataArray and DataTree.

Nothing is changed in place, and nothing is kept between calls: every answer is read off the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.accessor_display import DisplayAccessor, DisplayArrayAccessor
from xarray_omezarr.accessor_image import ImageAccessor
from xarray_omezarr.accessor_labels import LabelsAccessor
from xarray_omezarr.accessor_pictures import PicturesAccessor
from xarray_omezarr.accessor_plots import PlotsAccessor, TreePlotsAccessor
from xarray_omezarr.accessor_selection import LevelsAccessor, SelectionAccessor
from xarray_omezarr.errors import OmeZarrError, warn

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import zarr
    from dask.delayed import Delayed
    from zarr.abc.store import Store

    from xarray_omezarr.plan import Plan
    from xarray_omezarr.reducers import Boundary
    from xarray_omezarr.sheets import Columns, Types

    Target = str | os.PathLike[str] | Store | zarr.Group
    Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"]
    Sizes = int | Mapping[str, int]
    Factors = int | Sequence[Mapping[str, int]]


@xr.register_dataarray_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDataArrayAccessor(
    ImageAccessor[xr.DataArray], SelectionAccessor[xr.DataArray], DisplayArrayAccessor
):
    """Measure and write an image that is a DataArray."""

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        levels: Factors | None = None,
        method: str = "mean",
        boundary: Boundary = "pad",
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        append_dim: str | None = None,
        region: Region | None = None,
        layout: bool | Literal["visible"] = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the image with its pyramid; see `Dataset.omezarr.to_zarr`.

        `image` may be given, but only as the name that this array has.

        Examples
        --------
        >>> samples.coins().image.omezarr.to_zarr(path)
        >>> xr.open_dataarray(path, engine="omezarr").sizes["x"]
        384
        """
        from xarray_omezarr import slots, unstacking
        from xarray_omezarr.progress import shown
        from xarray_omezarr.regions import Where, check_part, write_region
        from xarray_omezarr.stream import Running
        from xarray_omezarr.works import Options
        from xarray_omezarr.write import write_image

        if image not in (None, self._obj.name):
            msg = f"image={image!r}: this is a DataArray, of the name {self._obj.name!r}."
            raise OmeZarrError(msg)
        options = Options(mode, version, levels, method, boundary, chunks, shards, compressors)
        running = Running(compute, shown(progress), fsync, resume, layout)
        if slots.is_stack(self._obj):
            unstacking.check_whole(region=region, append_dim=append_dim, layout=layout)
            name = coordinates.IMAGE if self._obj.name is None else self._obj.name
            return unstacking.write_stack(
                self._obj.to_dataset(name=name),
                store,
                image=None,
                labels=(),
                group=group,
                options=options,
                running=running,
                storage_options=storage_options,
            )
        obj = unstacking.placed(self._obj)
        if region is not None or append_dim is not None:
            check_part(options, running)
            return write_region(
                obj,
                None,
                (),
                store,
                group=group,
                where=Where(region, append_dim),
                running=running,
                storage_options=storage_options,
            )
        return write_image(
            obj,
            None,
            (),
            store,
            group=group,
            options=options,
            name=None,
            running=running,
            storage_options=storage_options,
        )

    def pyramid(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
    ) -> xr.DataTree:
        """Give the levels as a lazy tree, without writing them.

        They are, pixel for pixel, the ones that `to_zarr` writes.

        Parameters
        ----------
        levels, method, boundary
            As for `to_zarr`.

        Returns
        -------
        xarray.DataTree
            `/0`, the image as it is, `/1` and so on, as dask arrays. By "laplacian", `/0` is no
            image, but what it differs by from the smoothed one.

        Raises
        ------
        OmeZarrError
            Where there can be no such levels.

        Examples
        --------
        >>> tree = samples.coins().image.omezarr.pyramid(levels=3)
        >>> [tree[level].sizes["x"] for level in tree.children]
        [384, 192, 96]
        """
        from xarray_omezarr.levels import pyramid
        from xarray_omezarr.works import Options

        options = Options(levels=levels, method=method, boundary=boundary)
        return pyramid(self._obj, None, (), options)

    def plan(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        version: str | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
    ) -> Plan:
        """Tell how the image would be written: levels, chunks, blocks, memory. Nothing is read.

        Parameters
        ----------
        levels, method, boundary, version, chunks, shards
            As for `to_zarr`.

        Returns
        -------
        xarray_omezarr.plan.Plan
            A value that prints as a table; `block_bytes` is what each worker holds at the most.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written like that.

        Examples
        --------
        >>> print(samples.coins().image.omezarr.plan(levels=2, chunks=256))
        level    y    x   chunks  shards  objects      bytes
            0  303  384  256×256       -        4  113.6 KiB
            1  152  192  152×192       -        1   28.5 KiB
        1 blocks of 303×384 from the image fill level 0, 1
        1 tasks, 32.25 MiB in flight per worker
        """
        from xarray_omezarr.works import Options, prepare

        options = Options(
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
        )
        (work,) = prepare(self._obj, None, (), options)
        return work.plan


@xr.register_dataset_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDatasetAccessor(
    ImageAccessor[xr.Dataset],
    SelectionAccessor[xr.Dataset],
    LabelsAccessor,
    DisplayAccessor,
    PlotsAccessor,
):
    """Measure and write an image that is a variable of a Dataset."""

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        labels: Sequence[str] | None = None,
        levels: Factors | None = None,
        method: str = "mean",
        boundary: Boundary = "pad",
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        existing_labels: Literal["keep", "drop"] | None = None,
        overwrite_labels: bool = False,
        append_dim: str | None = None,
        region: Region | None = None,
        layout: bool | Literal["visible"] = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the image with its pyramid as OME-Zarr.

        Scale and translation are read off the coordinates, units off their attributes, channel
        names and display settings off the coordinates along the channel. What the file that the
        image was opened from holds besides is written back. The label images of the Dataset
        are written with it.

        A stack of the fields of a plate is written as a plate, each field with its own translation;
        `mode="a"` adds its fields to a plate that is there.

        Parameters
        ----------
        store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
            A path, a URL that fsspec knows, or a store of Zarr. A local path that ends in `.ozx` or
            `.zip` is written as a zip archive (RFC-9), which is not changed after that.
        group : str, optional
            The path of the image's group within the store. Within a plate, as ``"C/4/0"``, or a
            series or a scene, the image is listed there once it stands, and takes the version of
            these; on a plate, its acquisition is the scalar coordinate `acquisition`, and in a
            scene it is related to the others by a coordinate system of the scene's that it has.
        mode : {"w-", "w", "a"}, default "w-"
            "w-" refuses to write where there is anything but an unfinished write; "w" replaces
            an image by an image and nothing else. The old image stays whole until the new one is.
            "a" adds the label images to an image that is there, without touching its pixels.
        version : {"0.4", "0.5", "0.6"}, optional
            The version of OME-Zarr; by default that of the file the image was opened from, if that
            is one of them, else 0.5.
        image : str, optional
            The variable that holds the pixels; by default `image`, or the only one there is.
        labels : sequence of str, optional
            The variables that are label images; by default those that were opened as such. They
            are written below the image, on its levels, with their tables.
        levels : int or list of mapping, optional
            The number of levels in all; or the factors of each further level relative to the
            first, like ``[{"y": 2, "x": 2}, {"z": 2, "y": 4, "x": 4}]``. By default, spatial axes
            are halved until none is longer than 256, anisotropic stacks becoming isotropic first.
        method : str, default "mean"
            How levels are reduced: "mean", "median", "min", "max", "mode", "nearest", "gaussian",
            "linear" or "laplacian"; see `xarray_omezarr.reducers.downsample`. Label images are
            reduced by "mode", or like their image by "nearest".
        boundary : {"pad", "trim"}
            Whether partial cells at the end of an axis are kept or dropped.
        chunks, shards : int or mapping of str to int, optional
            Their sizes, -1 for the whole axis. By default those the image was opened with, else
            chunks near 1 MiB, and shards only where there would be more than 65,536 chunks.
        compressors : optional
            Codecs, as Zarr takes them. By default those the image was opened with, where the
            Zarr format is the same; else Blosc with LZ4.
        existing_labels : {"keep", "drop"}, optional
            With mode "w", what becomes of label images that the Dataset has not: they are kept
            where the pixels are the same ones, or removed. Without it, they are an error.
        overwrite_labels : bool, default False
            Whether a label image of the same name is replaced.
        append_dim : str, optional
            The axis, not one of space, along which the image that is there becomes longer, on
            every level, with its label images and the names of its channels. Coordinates have to
            continue those of the image.
        region : mapping of str to slice, or "auto", optional
            Which part of the image that is there is written, in pixels of the finest level; along
            axes that are not named, all of it. "auto", for an axis or for all, finds the part by
            the coordinates. Every level is brought up to date; the image can be read meanwhile,
            with old pixels or new ones. One region is written at a time.
        layout : bool or "visible", default False
            Whether to write no pixels, but lay out the arrays of an image that is to be written by
            `region`. It becomes one that can be opened once all of it is there; with "visible" it
            is one at once, with zeros where nothing is yet.
        compute : bool, default True
            Whether to write now. With False, only empty arrays are, and the target stays
            unfinished until what comes back is computed.
        progress : bool, optional
            Whether to show one bar for all levels, with bytes per second and the time left; by
            default what `set_options` says. There is none where standard error is neither a
            terminal nor a notebook's.
        fsync : bool, default False
            Whether to wait until all is on the disk before it becomes the image, on local disks:
            it is then whole or not there even after a loss of power.
        resume : bool, default False
            Whether to continue a write that was interrupted, with the same arguments and the same
            pixels. Blocks that are written already are skipped. Where there is nothing to
            continue, the image is written as usual, and the mode applies.
        storage_options : mapping, optional
            Passed on to fsspec for URLs.

        Returns
        -------
        dask.delayed.Delayed or None
            With ``compute=False`` a task that writes the pixels and then makes them the image.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written as asked, and nothing is changed; or where some of
            its blocks could not be written, and the others are kept for `resume`.
        OmeZarrFileExistsError
            Where there is something that the mode does not allow to replace.

        Examples
        --------
        >>> ds = samples.coins()[["image"]]
        >>> ds.omezarr.to_zarr(path)
        >>> xr.open_dataset(path, engine="omezarr", level=-1).sizes["x"]
        192
        """
        from xarray_omezarr import slots, unstacking
        from xarray_omezarr.progress import shown
        from xarray_omezarr.regions import Where, check_part, write_region
        from xarray_omezarr.stream import Running
        from xarray_omezarr.works import Options
        from xarray_omezarr.write import write_image, write_labels

        chosen = self._labels(labels)
        options = Options(
            mode=mode,
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
            compressors=compressors,
            existing_labels=existing_labels,
            overwrite_labels=overwrite_labels,
        )
        running = Running(compute, shown(progress), fsync, resume, layout)
        if slots.is_stack(self._obj):
            unstacking.check_whole(region=region, append_dim=append_dim, layout=layout)
            return unstacking.write_stack(
                self._obj,
                store,
                image=image,
                labels=chosen,
                group=group,
                options=options,
                running=running,
                storage_options=storage_options,
            )
        obj = unstacking.placed(self._obj)
        if region is not None or append_dim is not None:
            check_part(options, running)
            return write_region(
                obj[coordinates.find_image(obj, image, chosen)],
                obj,
                chosen,
                store,
                group=group,
                where=Where(region, append_dim),
                running=running,
                storage_options=storage_options,
            )
        if mode == "a":
            return write_labels(
                obj,
                chosen,
                store,
                group=group,
                options=options,
                running=running,
                storage_options=storage_options,
            )
        name = coordinates.find_image(obj, image, chosen)
        if name in chosen:
            msg = f"labels={chosen}: '{name}' is the image. Say which variable that is by image=."
            raise OmeZarrError(msg)
        coordinates.warn_of_others(obj, [name, *chosen])
        title = obj.attrs.get("name")
        return write_image(
            obj[name],
            obj,
            chosen,
            store,
            group=group,
            options=options,
            name=title if isinstance(title, str) else None,
            running=running,
            storage_options=storage_options,
        )

    def pyramid(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        image: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> xr.DataTree:
        """Give the levels as a lazy tree, without writing them.

        They are, pixel for pixel, the ones that `to_zarr` writes.

        Parameters
        ----------
        levels, method, boundary
            As for `to_zarr`.
        image, labels
            As for `to_zarr`.

        Returns
        -------
        xarray.DataTree
            `/0`, the image as it is, `/1` and so on, as dask arrays. Label images are below
            `/labels`, with their tables. By "laplacian", `/0` is no image, but what it differs by
            from the smoothed one.

        Raises
        ------
        OmeZarrError
            Where there can be no such levels.

        Examples
        --------
        >>> tree = samples.coins().omezarr.pyramid(levels=3)
        >>> [tree[level].sizes["x"] for level in ("0", "1", "labels/coins/2")]
        [384, 192, 96]
        """
        from xarray_omezarr.levels import pyramid
        from xarray_omezarr.works import Options

        options = Options(levels=levels, method=method, boundary=boundary)
        chosen = self._labels(labels)
        name = coordinates.find_image(self._obj, image, chosen)
        return pyramid(self._obj[name], self._obj, chosen, options)

    def plan(
        self,
        levels: Factors | None = None,
        method: str = "mean",
        *,
        boundary: Boundary = "pad",
        version: str | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        image: str | None = None,
    ) -> Plan:
        """Tell how the image would be written: levels, chunks, blocks, memory. Nothing is read.

        The plan is that of the image alone; each of its label images has one of its own.

        Parameters
        ----------
        levels, method, boundary, version, chunks, shards, image
            As for `to_zarr`.

        Returns
        -------
        xarray_omezarr.plan.Plan
            A value that prints as a table; `block_bytes` is what each worker holds at the most.

        Raises
        ------
        OmeZarrError
            Where the image cannot be written like that.

        Examples
        --------
        >>> print(samples.coins().omezarr.plan(levels=2, chunks=256))
        level    y    x   chunks  shards  objects      bytes
            0  303  384  256×256       -        4  113.6 KiB
            1  152  192  152×192       -        1   28.5 KiB
        1 blocks of 303×384 from the image fill level 0, 1
        1 tasks, 32.25 MiB in flight per worker
        """
        from xarray_omezarr.works import Options, prepare

        options = Options(
            version=version,
            levels=levels,
            method=method,
            boundary=boundary,
            chunks=chunks,
            shards=shards,
        )
        (work,) = prepare(
            self._obj[coordinates.find_image(self._obj, image, self._labels(None))],
            None,
            (),
            options,
        )
        return work.plan

    def _labels(self, labels: Sequence[str] | None) -> list[str]:
        """Give the variables that are label images: those asked for, else all there are."""
        if labels is None:
            return coordinates.label_images(self._obj)
        return coordinates.check_labels(self._obj, labels)


@xr.register_datatree_accessor("omezarr")  # type: ignore[no-untyped-call]
class OmeZarrDataTreeAccessor(LevelsAccessor, PicturesAccessor, TreePlotsAccessor):
    """Write a tree whose nodes are the levels of an image."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._obj: xr.DataTree = tree

    def to_zarr(
        self,
        store: Target,
        *,
        group: str | None = None,
        mode: str = "w-",
        version: str | None = None,
        image: str | None = None,
        levels: Factors | None = None,
        method: str | None = None,
        boundary: Boundary | None = None,
        chunks: Sizes | None = None,
        shards: Sizes | None = None,
        compressors: Any = None,  # noqa: ANN401 - whatever Zarr takes
        existing_labels: Literal["keep", "drop"] | None = None,
        overwrite_labels: bool = False,
        compute: bool = True,
        progress: bool | None = None,
        fsync: bool = False,
        resume: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Delayed | None:
        """Write the levels of an image as they are, or a whole plate, series or scene.

        The parameters are those of `Dataset.omezarr.to_zarr`; of these, `levels`, `method` and
        `boundary` say how levels are made, and are refused where they are there. Levels that a
        selection has left empty are dropped with a warning.

        A tree of several images is written with what lists them: one that was opened as what it
        was, and one whose images are at ``/row/column/field`` as a plate. Where only the finest
        level of an image is there, the others are made. Images that share a coordinate system,
        by its name, are a scene. The images are written first, then the wells, and the group
        last. Mode "a" adds images to a plate, a series or a scene that is there, as does `group`,
        the path of a well or a row of it; mode "w" replaces images one by one, of a group that
        has no others.

        Raises
        ------
        OmeZarrError
            Where the levels are not one image: of the same dimensions, coarser and coarser, each
            with its edges within one coarse pixel of the first one's; or where it is not clear
            which nodes are images.
        OmeZarrFileExistsError
            Where there is something that the mode does not allow to replace.

        Examples
        --------
        >>> samples.coins()[["image"]].omezarr.to_zarr(path)
        >>> tree = xr.open_datatree(path, engine="omezarr")
        >>> tree.sel(x=slice(5, 20)).omezarr.to_zarr(path + "-crop")
        """
        from xarray_omezarr import ensembles
        from xarray_omezarr.layouts import tree_labels, tree_levels
        from xarray_omezarr.progress import shown
        from xarray_omezarr.stream import Running
        from xarray_omezarr.works import Options
        from xarray_omezarr.write import write_levels

        options = Options(
            mode=mode,
            version=version,
            levels=levels,
            method=method or Options.method,
            boundary=boundary or Options.boundary,
            chunks=chunks,
            shards=shards,
            compressors=compressors,
            existing_labels=existing_labels,
            overwrite_labels=overwrite_labels,
        )
        running = Running(compute, shown(progress), fsync, resume)
        if ensembles.applies(self._obj, image, store, group, storage_options):
            return ensembles.write_tree(
                self._obj,
                image,
                store,
                group=group,
                options=options,
                running=running,
                storage_options=storage_options,
            )
        made = {"levels": levels, "method": method, "boundary": boundary}
        given = [f"{key}={value!r}" for key, value in made.items() if value is not None]
        if given:
            msg = (
                f"{', '.join(given)}: the levels of a tree are written as they are. To make new "
                "ones, write the finest: tree['0'].to_dataset().omezarr.to_zarr(…)."
            )
            raise OmeZarrError(msg)
        nodes = tree_levels(self._obj, image)
        title = nodes[0].attrs.get("name")
        return write_levels(
            [level[image or coordinates.IMAGE] for level in nodes],
            tree_labels(self._obj),
            store,
            group=group,
            options=options,
            name=title if isinstance(title, str) else None,
            running=running,
            storage_options=storage_options,
        )

    def join_csv(
        self,
        table: object,
        *,
        on: str | tuple[str, str],
        columns: Columns | None = None,
        dtypes: Types | None = None,
        overwrite: bool = False,
        errors: Literal["raise", "coerce"] = "raise",
        duplicates: Literal["raise", "first", "last"] = "raise",
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        """Join the columns of a plate map to the wells of a plate, as coordinates of its nodes.

        The parameters are those of `Dataset.omezarr.join_csv`. Each node that says which well it is
        of, as those of a plate do, gets what the table says of that well, as scalars. The report of
        the join stands in a warning where something did not match;
        `xarray_omezarr.platemaps.join_csv` gives it in any case.

        Raises
        ------
        OmeZarrError
            Where there are no wells, a name may mean several of them, or the table is not as asked.

        Examples
        --------
        >>> import pandas as pd
        >>> field = samples.coins().assign_coords(well="A/1")
        >>> tree = xr.DataTree.from_dict({"/A/1/0": field})
        >>> drugs = pd.DataFrame({"well": ["A01"], "drug": ["taxol"]})
        >>> tree.omezarr.join_csv(drugs, on="well")["A/1/0"].drug.item()
        'taxol'
        """
        from xarray_omezarr import platemaps

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
        if not report.complete:
            warn(str(report))
        return joined
