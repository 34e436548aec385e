"""Make the pictures of README and guide from the very code that stands beside them.

A picture is made by a block of code of a page: the first one for README. The block is run as
it stands there, in an empty directory; what it has drawn is saved.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.resolve()

#: Each picture, with the page whose first block of Python draws it.
PICTURES = {"readme.png": DOCS.parent / "README.md"}


def first_block(page: Path) -> str:
    """Give the first block of Python on a page."""
    found = re.search(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if found is None:
        msg = f"{page} has no block of Python; a picture is drawn by the first one."
        raise ValueError(msg)
    return found[1]


def draw(code: str, target: Path) -> None:
    """Run a block of code in an empty directory, and save the figure that it drew."""
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        exec(compile(code, "<page>", "exec"), {})  # noqa: S102 (our own page)
    # Without a date or a version, so that the same picture is the same file.
    plt.gcf().savefig(target, dpi=100, metadata={"Software": None})
    plt.close("all")


def main() -> None:
    """Draw all pictures."""
    mpl.use("agg")
    (DOCS / "_static").mkdir(exist_ok=True)
    for name, page in PICTURES.items():
        target = DOCS / "_static" / name
        draw(first_block(page), target)
        print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
