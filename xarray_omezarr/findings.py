"""What a document is checked by, and what has been found: rules, findings, and parts of documents.

A rule is a sentence of the specification, the versions that say it, and a small function that gives
the parts of a document that break it. Rules stand in books, one for each section; versions share
them.
"""

from __future__ import annotations

import itertools
import math
import re
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from xarray_omezarr.spec import leads_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Check = Callable[["Part"], Iterable["Part"]]
    Enter = Callable[[Check | None], "Rule"]

Severity = Literal["error", "warning", "note"]

#: The dialects that rules know, oldest first. What lies between two releases counts as the later.
VERSIONS: Final = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.9")

#: The versions of each dialect, as they may be written where one has to be named.
SPELLINGS: Final = {
    **{version: (version,) for version in VERSIONS},
    "0.6": ("0.6", "0.6rc0"),
    "0.9": ("0.9.dev1",),
}

#: So many findings of one rule are told of one group; a broken table may have millions.
_MOST = 20


class _Nothing:
    """What stands for a key that is not there."""

    def __repr__(self) -> str:
        return "nothing"


_ABSENT: Final = _Nothing()

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 3


def dialect(version: object) -> str | None:
    """Give the dialect of a version as files write it; None for one that is not known.

    Examples
    --------
    >>> dialect("0.6rc0"), dialect("0.6.dev3"), dialect("0.7")
    ('0.6', '0.6', None)
    """
    if not isinstance(version, str):
        return None
    match = re.fullmatch(r"(0\.[1-6])|(0\.[569])[.-]?(dev|rc)[.-]?\d*", version)
    return (match[1] or match[2]) if match else None


def brief(value: object) -> str:
    """Show a value of a document, shortened, whatever its size."""
    return _SHORT.repr(value)


# ── documents ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Part:
    """A part of a JSON document, whether it is there or not, with the path that leads to it.

    Examples
    --------
    >>> axes = Part({"axes": [{"name": "y"}]})["axes"]
    >>> [axis["name"].path for axis in axes.entries()]
    ['axes[0].name']
    >>> axes["length"].absent
    True
    """

    value: Any
    path: str = ""

    def __getitem__(self, key: str) -> Part:
        found = self.value.get(key, _ABSENT) if isinstance(self.value, dict) else _ABSENT
        name = key if re.fullmatch(r"[\w-]+", key) else f"['{key}']"
        return Part(found, f"{self.path}{'.' if self.path and name[0] != '[' else ''}{name}")

    @property
    def absent(self) -> bool:
        """Whether there is nothing."""
        return self.value is _ABSENT

    def entries(self) -> Iterator[Part]:
        """Give what a list holds; nothing where this is none."""
        if isinstance(self.value, list):
            for index, value in enumerate(self.value):
                yield Part(value, f"{self.path}[{index}]")

    def objects(self) -> Iterator[Part]:
        """Give the objects in a list."""
        return (entry for entry in self.entries() if isinstance(entry.value, dict))


def text(value: object) -> bool:
    """Say whether a value is a string."""
    return isinstance(value, str)


def boolean(value: object) -> bool:
    """Say whether a value is true or false."""
    return isinstance(value, bool)


def mapping(value: object) -> bool:
    """Say whether a value is an object."""
    return isinstance(value, dict)


def number(value: object) -> bool:
    """Say whether a value is a number that JSON has: no NaN, no infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)


def whole(least: int | None = None, most: int | None = None) -> Callable[[object], bool]:
    """Give the test for whole numbers within bounds. 1.0 is one: JSON has no other numbers."""

    def test(value: object) -> bool:
        if not number(value) or int(value) != value:  # type: ignore[call-overload]
            return False
        return (least is None or value >= least) and (most is None or value <= most)  # type: ignore[operator]

    return test


def matching(pattern: str) -> Callable[[object], bool]:
    """Give the test for strings that match a pattern as a whole."""
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def listing(test: Callable[[object], bool], least: int = 0) -> Callable[[object], bool]:
    """Give the test for lists of at least so many entries, each of which passes a test."""
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(test, value))


def inside(value: object) -> bool:
    """Say whether a path leads below the group that names it, and nowhere else."""
    return isinstance(value, str) and leads_below(value)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Rule:
    """A sentence of the specification, and what enforces it."""

    severity: Severity
    subject: str
    """What it is about: "plate", "axes", ... ."""
    sentence: str
    section: str
    versions: frozenset[str]
    check: Check | None = None
    """Gives the parts that break it; None where more than one document is needed for that."""

    def broken(self, version: str, file: str, pointer: str, found: str) -> Finding:
        """Give the finding that this rule is broken."""
        return Finding(
            self.severity, file, pointer, self.sentence, f"{version}, {self.section}", found
        )


@dataclass(frozen=True)
class Finding:
    """A place that breaks a rule."""

    severity: Severity
    """"error" breaks a MUST, "warning" a SHOULD, "note" is worth knowing."""
    file: str
    """Path below the root of what was validated."""
    pointer: str
    """Path within the JSON of that file, like ``ome.multiscales[0].axes``."""
    rule: str
    """The sentence of the specification that it breaks."""
    section: str
    """Version and section where that sentence stands."""
    found: str
    """What was found instead."""

    @property
    def place(self) -> str:
        """File and JSON path in one."""
        return " ".join(filter(None, [self.file, self.pointer]))


@dataclass(frozen=True)
class Book:
    """The rules of a section."""

    section: str
    rules: list[Rule] = field(default_factory=list)

    def must(
        self, subject: str, sentence: str, since: str = "0.1", until: str = VERSIONS[-1]
    ) -> Enter:
        """Enter a rule that every file has to keep, with the function that looks for breaches."""
        return self._entry("error", subject, sentence, since, until)

    def should(
        self, subject: str, sentence: str, since: str = "0.1", until: str = VERSIONS[-1]
    ) -> Enter:
        """Enter a rule that there may be reasons not to keep."""
        return self._entry("warning", subject, sentence, since, until)

    def note(
        self, subject: str, sentence: str, since: str = "0.1", until: str = VERSIONS[-1]
    ) -> Enter:
        """Enter what is worth knowing, and breaks nothing."""
        return self._entry("note", subject, sentence, since, until)

    def _entry(
        self, severity: Severity, subject: str, sentence: str, since: str, until: str
    ) -> Enter:
        versions = VERSIONS[VERSIONS.index(since) : VERSIONS.index(until) + 1]

        def enter(check: Check | None) -> Rule:
            rule = Rule(severity, subject, sentence, self.section, frozenset(versions), check)
            self.rules.append(rule)
            return rule

        return enter


def field_of(
    key: str, test: Callable[[object], bool] = lambda _: True, *, needed: bool = False
) -> Check:
    """Give the check of one key of an object: that it is there if needed, and passes a test."""

    def check(part: Part) -> Iterator[Part]:
        found = part[key]
        if needed if found.absent else not test(found.value):
            yield found

    return check


def needed(key: str, test: Callable[[object], bool] = lambda _: True) -> Check:
    """Give the check that a key is there, and passes a test."""
    return field_of(key, test, needed=True)


def repeated(parts: Iterable[Part]) -> Iterator[Part]:
    """Give the parts whose values have come before; values of any kind."""
    seen: set[str] = set()
    for part in parts:
        if part.absent:
            continue
        value = f"{part.value!r}" if isinstance(part.value, (str, int, float)) else None
        key = value if value is not None else f"{_canonical(part.value)!r}"
        if key in seen:
            yield part
        seen.add(key)


def _canonical(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return sorted((key, _canonical(item)) for key, item in value.items())
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def look(
    rules: Iterable[Rule], subjects: Iterable[tuple[str, Part]], version: str, file: str
) -> Iterator[Finding]:
    """Check the parts of a document by the rules of a version."""
    by_subject: dict[str, list[Rule]] = {}
    for rule in rules:
        if version in rule.versions and rule.check is not None:
            by_subject.setdefault(rule.subject, []).append(rule)
    counts: dict[int, int] = {}
    for subject, part in subjects:
        for rule in by_subject.get(subject, ()):
            assert rule.check is not None  # noqa: S101 - so they were chosen
            room = _MOST - counts.get(id(rule), 0)
            for broken in itertools.islice(rule.check(part), max(room, 0)):
                counts[id(rule)] = counts.get(id(rule), 0) + 1
                yield rule.broken(version, file, broken.path, brief(broken.value))
