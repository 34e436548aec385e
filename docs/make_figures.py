"""Make the picture of README from the very code that stands above it.

A picture is made by the blocks of Python on its page, up to where it is shown. They are run as they
stand there, in an empty directory; what they have drawn is saved. Pictures of the guide and the
gallery are made when the documentation is built.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.resolve()

#: Each picture, with the page that draws it.
PICTURES = {"readme.png": DOCS.parent / "README.md"}


def code_above(page: Path, picture: str) -> str:
    """Give the blocks of Python that stand above a picture."""
    above, shown, _ = page.read_text("utf-8").partition(f"{picture})")
    blocks = re.findall(r"^```python\n(.*?)^```$", above, re.DOTALL | re.MULTILINE)
    if not shown or not blocks:
        msg = f"{page} does not show {picture} below a block of Python, which would draw it."
        raise ValueError(msg)
    return "\n".join(blocks)


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
        draw(code_above(page, name), target)
        print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
