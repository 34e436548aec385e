"""Check that the links of the built documentation lead somewhere: `make docs` runs it.

    python docs/check_links.py docs/_build/html

Every link from a page to another one, to a place on a page, to a picture or to a file is looked up
among the files that were built. Links to other sites are left alone, so no network is needed.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: The attributes that hold links, by tag.
LINKS = {"a": "href", "img": "src", "link": "href", "script": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, and which places it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []
        self.places: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and the places of an element."""
        values = dict(attrs)
        self.places.update(found for key in ("id", "name") if (found := values.get(key)))
        if tag in LINKS and (link := values.get(LINKS[tag])):
            self.links.append((self.getpos()[0], link))


def broken_links(root: Path) -> list[str]:
    """Give a line for each link below a folder of HTML that leads nowhere."""
    root = root.resolve()
    # Themes keep templates among their own files.
    paths = (path for path in root.rglob("*.html") if root / "_static" not in path.parents)
    pages = {path: Page(path) for path in sorted(paths)}
    broken = []
    for path, page in pages.items():
        for line, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists():
                reason = "there is no such file"
            elif place and target in pages and place not in pages[target].places:
                reason = "there is no such place on the page"
            else:
                continue
            broken.append(f"{path.relative_to(root)}:{line}: {link}: {reason}")
    return broken


def main() -> None:
    """Check the folder that is named, and say what is broken."""
    if len(sys.argv) != 2:  # noqa: PLR2004 (the script and its argument)
        sys.exit(f"usage: {sys.argv[0]} FOLDER, the built HTML")
    root = Path(sys.argv[1])
    if not (root / "index.html").is_file():
        sys.exit(f"{root} has no index.html; build the documentation first: make docs")
    broken = broken_links(root)
    print(*broken, sep="\n", end="\n" if broken else "")
    sys.exit(f"{len(broken)} links lead nowhere." if broken else None)


if __name__ == "__main__":
    main()
