"""OME-Zarr images in xarray: named dimensions, physical coordinates, lazily.

Installing the package gives xarray the engine "omezarr"; importing it, or opening something with
that engine, gives Dataset, DataArray and DataTree the accessor `.omezarr`.
"""

from __future__ import annotations

from xarray_omezarr import accessor as _accessor  # registers .omezarr
from xarray_omezarr import samples
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning
from xarray_omezarr.fields import csv_to_labels

__all__ = ["OmeZarrError", "OmeZarrWarning", "csv_to_labels", "samples"]

del _accessor
