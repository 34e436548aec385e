"""A verdict as a value: what was looked at, and what was found."""

from __future__ import annotations

import html
import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from xarray_omezarr.findings import Finding, Severity

#: Of more findings that are alike, the first is told, and how many there are.
_MOST: Final = 5
#: Colours that can be read on white and on black.
_COLORS: Final = {"error": "#c62828", "warning": "#b26a00", "note": "#607d8b"}


@dataclass(frozen=True)
class Census:
    """The chunks of an array, counted; of a sharded array, its shards."""

    path: str
    expected: int
    """As many as the shape asks for."""
    present: int
    empty: int
    """Files without a byte."""
    truncated: int
    """Files that are shorter than what has to be in them."""
    sharded: bool

    @property
    def absent(self) -> int:
        """Those that are not stored: they read as the fill value."""
        return self.expected - self.present

    def __str__(self) -> str:
        kind = "shards" if self.sharded else "chunks"
        parts = {"absent": self.absent, "empty": self.empty, "truncated": self.truncated}
        told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
        return f"{self.path}: {self.expected:,} {kind}" + (f", {told}" if told else ", all there")


@dataclass(frozen=True, repr=False)
class Report:
    """What came of validating a hierarchy. It is true where no MUST of its version is broken.

    Printing it tells the findings, each with its place and the rule that it breaks; of very many
    that are alike, as those of a plate's fields, the first and their number. Notebooks show a table
    of all.

    See Also
    --------
    xarray_omezarr.validate : Makes it.
    """

    target: str
    """What was validated."""
    version: str | None
    """The version that it was held against."""
    groups: int
    """How many groups were looked at."""
    arrays: int
    """How many arrays."""
    findings: tuple[Finding, ...] = ()
    """What was found, errors first."""
    census: tuple[Census, ...] = ()
    """The chunks of each array, where they were asked for and could be listed."""

    def __bool__(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What breaks a MUST."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What breaks a SHOULD."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return self._of("note")

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        verdict = "valid" if self else "not valid"
        counts: Counter[str] = Counter(finding.severity for finding in self.findings)
        told = [f"{n} {key}{'s' * (n > 1)}" for key in _COLORS if (n := counts[key])]
        found = ", ".join(told) or "nothing to complain of"
        return (
            f"{printable(self.target)}: {verdict}, OME-Zarr {self.version} ({found}; "
            f"{self.groups} group{'s' * (self.groups != 1)} and "
            f"{self.arrays} array{'s' * (self.arrays != 1)} looked at)"
        )

    def __str__(self) -> str:
        lines = [self.summary]
        counts = Counter(map(_sameness, self.findings))
        told = set()
        for finding in self.findings:
            same = _sameness(finding)
            if same in told:
                continue
            place = printable(finding.place) or "the group itself"
            lines.append(f"  {finding.severity:8} {place}: {printable(finding.found)}")
            lines.append(f"           {finding.rule} [{finding.section}]")
            if counts[same] > _MOST:
                told.add(same)
                lines.append(f"           The same at {counts[same] - 1:,} other places.")
        lines += [f"  chunks   {printable(str(census))}" for census in self.census]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = [
            [finding.severity, finding.place, finding.found, f"{finding.rule} [{finding.section}]"]
            for finding in self.findings
        ]
        rows = "".join(
            f'<tr><td style="color:{_COLORS[row[0]]}">{row[0]}</td>'
            + "".join(
                f'<td style="text-align:left">{html.escape(printable(cell))}</td>'
                for cell in row[1:]
            )
            + "</tr>"
            for row in cells
        )
        counted = "".join(f"<li>{html.escape(printable(str(one)))}</li>" for one in self.census)
        head = "".join(f"<th>{name}</th>" for name in ("", "place", "found", "rule"))
        return (
            f"<div><b>{html.escape(self.summary)}</b>"
            + (f"<table><tr>{head}</tr>{rows}</table>" if rows else "")
            + (f"<ul>{counted}</ul>" if counted else "")
            + "</div>"
        )

    def to_json(self) -> str:
        """Give the report as JSON, for programs.

        Returns
        -------
        str
            An object with ``valid``, ``version``, ``target``, ``groups``, ``arrays``, ``findings``
            and ``census``.
        """
        facts = {
            "valid": bool(self),
            "version": self.version,
            "target": self.target,
            "groups": self.groups,
            "arrays": self.arrays,
            "findings": [asdict(finding) for finding in self.findings],
            "census": [{**asdict(one), "absent": one.absent} for one in self.census],
        }
        return json.dumps(facts, indent=2)


def _sameness(finding: Finding) -> tuple[str, ...]:
    """Give what is alike in findings at several places."""
    return (finding.severity, finding.found, finding.rule, finding.section)


def printable(value: str) -> str:
    """Give a text without what would control a terminal; names in files may hold anything."""
    return value if value.isprintable() else repr(value)[1:-1]
