"""Run the command as ``python -m xarray_omezarr``."""

from __future__ import annotations

from xarray_omezarr.cli import main

if __name__ == "__main__":
    main(prog_name="omezarr")
