"""OME-Zarr images in xarray: named dimensions, physical coordinates, lazily.

Installing the package gives xarray the engine "omezarr"; importing it, or opening something with
that engine, gives Dataset, DataArray and DataTree the accessor `.omezarr`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xarray_omezarr import accessor as _accessor  # registers .omezarr
from xarray_omezarr import samples
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning

if TYPE_CHECKING:
    from xarray_omezarr.assays import FieldResults, map_fields
    from xarray_omezarr.edit import update_metadata
    from xarray_omezarr.facts import Info
    from xarray_omezarr.fields import csv_to_labels
    from xarray_omezarr.files import open_image
    from xarray_omezarr.finder import find
    from xarray_omezarr.joins import JoinReport
    from xarray_omezarr.options import set_options
    from xarray_omezarr.platemaps import join_wells
    from xarray_omezarr.previews import preview
    from xarray_omezarr.report import Report
    from xarray_omezarr.rewrites import Conversion, convert
    from xarray_omezarr.scaling import scale
    from xarray_omezarr.scenes import transform_points
    from xarray_omezarr.screens import wells
    from xarray_omezarr.serving import Server, serve
    from xarray_omezarr.surveys import info
    from xarray_omezarr.transfers import Download, download
    from xarray_omezarr.upgrades import upgrade
    from xarray_omezarr.verdict import validate

__all__ = [
    "Conversion",
    "Download",
    "FieldResults",
    "Info",
    "JoinReport",
    "OmeZarrError",
    "OmeZarrWarning",
    "Report",
    "Server",
    "convert",
    "csv_to_labels",
    "download",
    "find",
    "info",
    "join_wells",
    "map_fields",
    "open_image",
    "preview",
    "samples",
    "scale",
    "serve",
    "set_options",
    "transform_points",
    "update_metadata",
    "upgrade",
    "validate",
    "wells",
]

del _accessor

#: What is imported when it is asked for, since importing the package shall cost next to nothing.
_LATE = {
    "Conversion": "xarray_omezarr.rewrites",
    "Download": "xarray_omezarr.transfers",
    "FieldResults": "xarray_omezarr.assays",
    "Info": "xarray_omezarr.facts",
    "JoinReport": "xarray_omezarr.joins",
    "Report": "xarray_omezarr.report",
    "Server": "xarray_omezarr.serving",
    "convert": "xarray_omezarr.rewrites",
    "csv_to_labels": "xarray_omezarr.fields",
    "download": "xarray_omezarr.transfers",
    "find": "xarray_omezarr.finder",
    "info": "xarray_omezarr.surveys",
    "map_fields": "xarray_omezarr.assays",
    "join_wells": "xarray_omezarr.platemaps",
    "open_image": "xarray_omezarr.files",
    "preview": "xarray_omezarr.previews",
    "scale": "xarray_omezarr.scaling",
    "serve": "xarray_omezarr.serving",
    "set_options": "xarray_omezarr.options",
    "transform_points": "xarray_omezarr.scenes",
    "validate": "xarray_omezarr.verdict",
    "update_metadata": "xarray_omezarr.edit",
    "upgrade": "xarray_omezarr.upgrades",
    "wells": "xarray_omezarr.screens",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        msg = f"module '{__name__}' has no attribute '{name}'"
        raise AttributeError(msg)
    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return __all__
