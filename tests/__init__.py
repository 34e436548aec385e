"""Tests of xarray-omezarr."""
