"""A folder of several hierarchies, each of which is looked at, and nothing else in it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray_omezarr import finder
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrFileNotFoundError
from xarray_omezarr.exhibits import Choice, GroupExhibit, Hierarchy, Member, name_of
from xarray_omezarr.plan import readable
from xarray_omezarr.portions import inside
from xarray_omezarr.redaction import shown
from xarray_omezarr.scalebars import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xarray_omezarr.exhibits import Bytes, Exhibit
    from xarray_omezarr.portions import Portion


@dataclass(frozen=True)
class Shelf:
    """The hierarchies that were found below a folder; each is opened when it is looked at."""

    folder: Path
    """Without symbolic links."""
    members: tuple[Member, ...]
    opened: dict[str, Hierarchy] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, folder: Path) -> Shelf:
        """Find all hierarchies below a folder."""
        root = Path(os.path.realpath(folder))
        table = finder.find(root)
        rows: list[dict[Any, Any]] = table.astype(object).where(table.notna(), None).to_dict(
            "records"
        )  # fmt: skip
        return cls(root, tuple(_member(root, row) for row in rows))

    @property
    def names(self) -> list[str]:
        """The paths of those that can be looked at, below the folder."""
        return [member.path for member in self.members if member.problem is None]

    @property
    def name(self) -> str:
        """What the folder is called."""
        return name_of(str(self.folder))

    def where(self, path: str) -> str:
        """Say where a group is."""
        return str(self.folder / path) if path else str(self.folder)

    def close(self) -> None:
        """Close what was opened."""
        with self.lock:
            for one in self.opened.values():
                one.close()
            self.opened.clear()

    def look(self, path: str, choice: Choice | None = None) -> Exhibit:
        """Look at a group of one of the hierarchies; at "" they are listed."""
        if not path:
            return GroupExhibit("", "folder", None, None, self.members, ())
        one, above, below = self._split(path)
        found = replace(one.look(below, choice), path=path)
        if isinstance(found, GroupExhibit):
            moved = tuple(replace(m, path=join(above, m.path)) for m in found.members)
            found = replace(found, members=moved)
        return found

    def picture(self, path: str, choice: Choice, side: int) -> Bytes:
        """Make the picture of an image; see `Hierarchy.picture`."""
        one, _, below = self._split(path)
        return one.picture(below, choice, side)

    def mask(self, path: str, name: str, choice: Choice) -> Bytes:
        """Make the picture of a label image; see `Hierarchy.mask`."""
        one, _, below = self._split(path)
        return one.mask(below, name, choice)

    def trail(self, path: str) -> list[tuple[str, str]]:
        """Give the groups on the way to a group."""
        trail = [(self.name, "")]
        if path:
            one, above, below = self._split(path)
            trail.append((above, above))
            trail += [(name, join(above, at)) for name, at in one.trail(below)[1:]]
        return trail

    @contextmanager
    def open(self, key: str) -> Iterator[Portion | None]:
        """Open a file of one of the hierarchies; None where there is no such file."""
        try:
            one, _, below = self._split(key)
        except OmeZarrFileNotFoundError:
            yield None
            return
        with one.open(below) as portion:
            yield portion

    def _split(self, path: str) -> tuple[Hierarchy, str, str]:
        """Give the hierarchy that a path leads into, its own path, and the rest."""
        for above in self.names:
            if path == above or path.startswith(f"{above}/"):
                with self.lock:
                    if above not in self.opened:
                        self.opened[above] = Hierarchy.at(self.folder / above)
                    return self.opened[above], above, path[len(above) + 1 :]
        msg = f"There is no OME-Zarr '{path}' below {self.folder}."
        raise OmeZarrFileNotFoundError(msg)


def _member(root: Path, row: Mapping[Any, Any]) -> Member:
    """Tell of one of them, by its row of the table."""
    path = str(row["path"])
    title = str(row["name"] or name_of(path))
    problem = row["problem"]
    if problem is None and inside(root, path) is None:
        problem = "it is a link that leads out of the folder"
    if problem is not None:
        return Member(path, title, problem=shown(str(problem)))
    axes = [str(key).removesuffix("_size") for key in row if str(key).endswith("_size")]
    sizes = [f"{axis} {row[f'{axis}_size']:,}" for axis in axes if row[f"{axis}_size"] is not None]
    pixels = [
        f"{axis} {quantity(row[f'{axis}_scale'], row.get(f'{axis}_unit'))}"
        for axis in axes
        if axis != "t" and row.get(f"{axis}_scale") is not None
    ]
    about = [path, str(row["kind"]), ", ".join(sizes), ", ".join(pixels)]
    if row["bytes"] is not None:
        about.append(f"{row['dtype']}, {readable(int(row['bytes']))}")
    return Member(path, title, tuple(filter(None, about)))
