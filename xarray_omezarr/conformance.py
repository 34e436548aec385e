"""What the official conformance tests of OME-Zarr call: a verdict as JSON on standard output.

``python -m xarray_omezarr.conformance attributes FILE`` takes the attributes of one group, as JSON;
``python -m xarray_omezarr.conformance zarr FOLDER`` a whole hierarchy. The interface is that of
``conformance/ome_zarr_conformance.py`` in the repository ome/ngff-spec, which appends mode and path
to the command that it is given, and reads ``{"valid": …, "message": …}``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray_omezarr.documents import load_json
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.verdict import check_attributes, validate

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the verdict on a file of attributes or on a hierarchy.

    Parameters
    ----------
    arguments
        Those of the command line by default.

    Returns
    -------
    int
        0, valid or not; 2 where there is nothing that could be valid.
    """
    parser = argparse.ArgumentParser(prog="python -m xarray_omezarr.conformance")
    parser.add_argument("mode", choices=["attributes", "zarr"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--version", help="the version to hold it against")
    given = parser.parse_args(arguments)
    try:
        if given.mode == "attributes":
            attributes = _read(given.path)
            # What the cases say of themselves is no part of them.
            attributes.pop("_conformance", None)
            report = check_attributes(attributes, given.version)
        else:
            report = validate(given.path, version=given.version)
    except (OmeZarrError, OSError, ValueError, RecursionError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    message = "; ".join(f"{f.place}: {f.found} ({f.rule})" for f in report.errors[:3])
    sys.stdout.write(json.dumps({"valid": bool(report), "message": message or None}) + "\n")
    return 0


def _read(path: Path) -> dict[str, Any]:
    """Read a file of attributes."""
    attributes: Any = None
    try:
        attributes = load_json(path.read_bytes())
    except ValueError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
    if not isinstance(attributes, dict):
        msg = f"{path} holds no JSON object, or one that is nested too deep"
        raise OmeZarrError(msg)
    return attributes


if __name__ == "__main__":
    sys.exit(main())
