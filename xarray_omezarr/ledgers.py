"""Tables that grow field by field, on a disk or in memory, and are continued where they broke off.

Beside a table lies its journal, lines of JSON: which fields are in it, and which were begun. A CSV
file grows by all rows of a field at a time. The journal says beforehand where they will end, and
what they add up to: whatever is killed, at most the last field is torn, which shows, and is cut
off. A Parquet table is a folder with a file for each field, which are there whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import os
import warnings
import zlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from xarray_omezarr import sheets
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.guess import local_path
from xarray_omezarr.harvest import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    Entry = dict[str, Any]
    """A line of a journal."""

#: What is longer is cut: names of files have an end.
_LONGEST = 100


class Ledger(ABC):
    """A table, and what is known of its fields, which go by their paths below the plate."""

    done: set[str]
    """The fields whose rows are in it, be they none."""
    begun: set[str]
    """Those that an earlier run has begun, and perhaps not finished."""

    @abstractmethod
    def begin(self, path: str) -> None:
        """Note that work on a field begins, before any of it is done."""

    @abstractmethod
    def add(self, path: str, rows: pd.DataFrame) -> None:
        """Add the rows of a field."""

    @abstractmethod
    def read(self) -> pd.DataFrame:
        """Give all rows, as they came; also after it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Let others write to it."""


def open_ledger(output: object, keys: Sequence[str]) -> Ledger:
    """Begin a table, or continue it.

    Parameters
    ----------
    output
        A path that ends in `.csv` or `.parquet`; None for a table that is kept in memory.
    keys
        Those of `harvest.KEYS` that the rows have.

    Raises
    ------
    OmeZarrError
        Where there is something else, somebody else is writing to it, or it was changed since.
    """
    if output is None:
        return _Memory(keys)
    path = local_path(output)
    path = None if path is None else path.absolute()
    if path is None:
        msg = f"output={output!r}: expected a path on this machine, of a .csv or a .parquet."
        raise OmeZarrError(msg)
    kind = {".csv": _Csv, ".parquet": _Parquet}.get(path.suffix.lower())
    if kind is None:
        msg = f"output={str(path)!r}: expected a path that ends in .csv or .parquet."
        raise OmeZarrError(msg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return kind(path, keys)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OmeZarrError:
    return OmeZarrError(
        f"{path} cannot be written to: {error}. Once that is mended, run it again: what is done is "
        "kept."
    )


def _joined(frames: Sequence[pd.DataFrame], keys: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame({key: [] for key in keys})
    with warnings.catch_warnings():
        # pandas 2 announces that columns without a value will count when types are found.
        warnings.simplefilter("ignore", FutureWarning)
        return pd.concat(filled, ignore_index=True)


class _Memory(Ledger):
    def __init__(self, keys: Sequence[str]) -> None:
        self.done, self.begun = set(), set()
        self._keys = keys
        self._frames: list[pd.DataFrame] = []

    def begin(self, path: str) -> None:
        self.begun.add(path)

    def add(self, path: str, rows: pd.DataFrame) -> None:
        self.done.add(path)
        self._frames.append(rows)

    def read(self) -> pd.DataFrame:
        return _joined(self._frames, self._keys)

    def close(self) -> None:
        """Nobody else can write to it."""


# ── journals ─────────────────────────────────────────────────────────────────────────────────────


class _Journal:
    """Lines of JSON in a file that only one process writes to at a time."""

    def __init__(self, path: Path, table: Path) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)
        if not _locked(self._file.fileno()):
            self._file.close()
            msg = f"{table} is being written to by another run. Wait for it, or choose another one."
            raise OmeZarrError(msg)
        self._file.seek(0)
        content = self._file.read()
        # A line without its end is of one who was killed.
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        try:
            self.entries = _entries(whole)
        except ValueError as error:
            self._file.close()
            msg = f"{path} is not the journal of {table.name}: {error}. Remove both to begin anew."
            raise OmeZarrError(msg) from error

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        _write_all(self._file.fileno(), _lines([entry]))
        self.entries.append(entry)

    def replace(self, entries: Sequence[Entry]) -> None:
        """Have other entries from now on."""
        self._file.truncate(0)
        _write_all(self._file.fileno(), _lines(entries))
        self.entries = list(entries)

    def of(self, kind: str) -> set[str]:
        """Give the fields that entries of a kind are about."""
        return {entry[kind] for entry in self.entries if kind in entry}

    def close(self) -> None:
        """Let others write."""
        self._file.close()


def _entries(lines: bytes) -> list[Entry]:
    return _without_undone([json.loads(line) for line in lines.splitlines()])


def _without_undone(entries: Iterable[Entry]) -> list[Entry]:
    kept: list[Entry] = []
    for entry in entries:
        if "undone" in entry:
            kept = [one for one in kept if one.get("done") != entry["undone"]]
        else:
            kept.append(entry)
    return kept


def _lines(entries: Sequence[Entry]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _locked(handle: int) -> bool:
    """Lock an open file, for as long as it is open; where nothing can be locked, trust."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────


class _Csv(Ledger):
    """A file to whose end the rows of one field after the other are written."""

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self._path, self._keys = path, list(keys)
        beside = path.with_name(f"{path.name}.journal")
        if path.exists() and path.stat().st_size and not beside.exists():
            msg = (
                f"{path} exists, and nothing beside it says which fields are in it ({beside.name}):"
                " it was left untouched. Choose another output, or remove it."
            )
            raise OmeZarrError(msg)
        self._journal = _Journal(beside, path)
        self._wider = path.with_name(f"{path.name}.wider")
        self._its_journal = path.with_name(f"{path.name}.wider.journal")
        try:
            self._recover()
        except BaseException:
            self._journal.close()
            raise
        self.done, self.begun = self._journal.of("done"), self._journal.of("begun")
        self._file = path.open("ab", buffering=0)
        with path.open(encoding="utf-8", newline="") as file:
            self._columns: list[str] = next(csv.reader(file), [])

    def _recover(self) -> None:
        if self._journal.entries and not self._path.exists():
            # Whoever removes a table wants a new one.
            self._journal.replace([])
        if self._its_journal.exists():
            # A column was being added. It was if the file is the one that the new journal is of.
            entries = _entries(self._its_journal.read_bytes())
            if _whole(self._path, entries) == len(_ends(entries)):
                self._journal.replace(entries)
        for left in (self._wider, self._its_journal, self._its_journal.with_suffix(".partial")):
            left.unlink(missing_ok=True)
        ends = _ends(self._journal.entries)
        whole = _whole(self._path, self._journal.entries)
        size = self._path.stat().st_size if self._path.exists() else 0
        last = ends[-1]["end"] if ends else 0
        if whole == len(ends) and size == last:
            return
        if whole != len(ends) - 1 or size >= last:
            msg = (
                f"{self._path} was changed by somebody else since its last field was added. Choose "
                f"another output; or remove it, to begin anew."
            )
            raise OmeZarrError(msg)
        # The last field is torn: it was being written when its writer was killed.
        os.truncate(self._path, ends[-2]["end"] if whole else 0)
        self._journal.add({"undone": ends[-1]["done"]})
        self._journal.entries = _without_undone(self._journal.entries)

    def begin(self, path: str) -> None:
        self._journal.add({"begun": path})

    def add(self, path: str, rows: pd.DataFrame) -> None:
        try:
            self._add(path, rows)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _add(self, path: str, rows: pd.DataFrame) -> None:
        text = ""
        if len(rows):
            new = [name for name in rows.columns if name not in self._columns]
            if not self._columns:
                text = _line(new)
                self._columns = new
            elif new:
                self._widen(new)
            body = rows.reindex(columns=self._columns)
            text += body.to_csv(index=False, header=False, lineterminator="\n")
        content = text.encode(errors="backslashreplace")
        before = (_ends(self._journal.entries) or [{"end": 0, "crc": 0}])[-1]
        end, crc = before["end"] + len(content), zlib.crc32(content, before["crc"])
        self._journal.add({"done": path, "rows": len(rows), "end": end, "crc": crc})
        _write_all(self._file.fileno(), content)
        self.done.add(path)

    def _widen(self, new: Sequence[str]) -> None:
        """Give the table further columns, without a value in the rows that there are."""
        entries: list[Entry] = []
        crc = start = 0
        with self._path.open("rb") as old, self._wider.open("wb") as wider:
            for entry in self._journal.entries:
                if "done" not in entry:
                    entries.append(entry)
                    continue
                lines = old.read(entry["end"] - start).decode()
                start = entry["end"]
                text = io.StringIO(newline="")
                writer = csv.writer(text, lineterminator="\n")
                for number, row in enumerate(csv.reader(io.StringIO(lines, newline=""))):
                    header = not wider.tell() and not number
                    writer.writerow([*row, *(new if header else [""] * len(new))])
                content = text.getvalue().encode()
                wider.write(content)
                crc = zlib.crc32(content, crc)
                entries.append({**entry, "end": wider.tell(), "crc": crc})
        partial = self._its_journal.with_suffix(".partial")
        partial.write_bytes(_lines(entries))
        partial.replace(self._its_journal)
        self._file.close()
        self._wider.replace(self._path)
        self._journal.replace(entries)
        self._its_journal.unlink()
        self._file = self._path.open("ab", buffering=0)
        self._columns = [*self._columns, *new]

    def read(self) -> pd.DataFrame:
        import pandas as pd

        if not self._columns:
            return _joined([], self._keys)
        # A row may be called "NA", and a column "01".
        texts = [key for key in KEYS[:-1] if key in self._columns]
        others = [name for name in self._columns if name not in texts]
        options: dict[str, Any] = {
            "dtype": {**dict.fromkeys(texts, str), "acquisition": "Int64"},
            "keep_default_na": False,
            "na_values": {name: sorted(sheets.MISSING) for name in others},
            **sheets.exactly(),
        }
        frame: pd.DataFrame = pd.read_csv(self._path, **options)
        return frame

    def close(self) -> None:
        self._file.close()
        self._journal.close()


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _ends(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if "end" in entry]


def _whole(path: Path, entries: Sequence[Entry]) -> int:
    """Count the fields at the beginning of a file that are as the journal has them."""
    crc = start = whole = 0
    if not path.exists():
        return 0
    with path.open("rb") as file:
        for entry in _ends(entries):
            crc = zlib.crc32(file.read(entry["end"] - start), crc)
            start = entry["end"]
            if crc != entry["crc"] or file.tell() != start:
                break
            whole += 1
    return whole


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────


class _Parquet(Ledger):
    """A folder with a file for each field."""

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            msg = (
                f"{path}: Parquet needs pyarrow, which is not installed: pip install pyarrow. A "
                "path that ends in .csv needs nothing."
            )
            raise OmeZarrError(msg)
        self._path, self._keys = path, keys
        # What begins with "_" is no part of the table, for all who read such folders.
        beside = path / "_journal"
        if path.exists() and not path.is_dir():
            msg = f"{path} is a file; a table here is a folder. It was left untouched."
            raise OmeZarrError(msg)
        if path.is_dir() and not beside.exists() and any(path.iterdir()):
            msg = (
                f"{path} exists, and nothing in it says which fields are there ({beside.name}): it "
                "was left untouched. Choose another output, or remove it."
            )
            raise OmeZarrError(msg)
        path.mkdir(exist_ok=True)
        self._journal = _Journal(beside, path)
        self.done, self.begun = self._journal.of("done"), self._journal.of("begun")
        lost = [one for one in self._journal.entries if one.get("rows")]
        lost = [one for one in lost if not self._part(one["done"]).exists()]
        self.done -= {one["done"] for one in lost}

    def _part(self, path: str) -> Path:
        name = quote(path, safe="")
        if len(name) > _LONGEST:
            name = f"{name[:_LONGEST]}-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
        return self._path / f"field-{name}.parquet"

    def begin(self, path: str) -> None:
        self._journal.add({"begun": path})

    def add(self, path: str, rows: pd.DataFrame) -> None:
        try:
            if len(rows):
                partial = self._path / "_partial"
                rows.to_parquet(partial, engine="pyarrow", index=False)
                partial.replace(self._part(path))
            self._journal.add({"done": path, "rows": len(rows)})
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self.done.add(path)

    def read(self) -> pd.DataFrame:
        import pandas as pd

        parts = [self._part(one["done"]) for one in self._journal.entries if one.get("rows")]
        # One by one: together, they would have to have the same columns, of the same types.
        frames = [pd.read_parquet(part, engine="pyarrow") for part in dict.fromkeys(parts)]
        return _joined(frames, self._keys)

    def close(self) -> None:
        self._journal.close()
