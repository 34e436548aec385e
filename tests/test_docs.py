"""The documentation: what it names is there, what is there is named, what it says happens."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr
import yaml

import xarray_omezarr

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
#: What opens a window has no example that could run.
WINDOWS = {"xarray_omezarr.viewers.show"}
#: What a build leaves behind.
BUILT = {"_build", "generated", "jupyter_execute", "_static", "_templates"}
OBJECTS: dict[str, Any] = {
    "Dataset": xr.Dataset,
    "DataArray": xr.DataArray,
    "DataTree": xr.DataTree,
}


def pages() -> list[Path]:
    return [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if not BUILT.intersection(path.relative_to(DOCS).parts)
    ]


@cache
def reference() -> frozenset[str]:
    """Give all names that the reference describes, whole."""
    names, module = set(), ""
    for line in (DOCS / "api.md").read_text("utf-8").splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r" {3}([A-Za-z_][\w.]*)$", line):
            names.add(f"{module}.{found[1]}")
    return frozenset(names)


def resolve(name: str) -> Any:  # noqa: ANN401 - whatever has a name
    """Give what a name means."""
    head, *rest = name.split(".")
    found: Any = importlib.import_module(head)
    for number, part in enumerate(rest, 1):
        if not hasattr(found, part):
            importlib.import_module(".".join([head, *rest[:number]]))
        found = getattr(found, part)
    return found


def test_every_public_name_of_the_package_stands_in_the_reference() -> None:
    described = [resolve(name) for name in reference()]
    # A class may stand there under the module that it is of.
    missing = [
        name for name in xarray_omezarr.__all__ if getattr(xarray_omezarr, name) not in described
    ]
    assert missing == []


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_method_of_the_accessor_stands_in_the_reference(kind: str) -> None:
    accessor = OBJECTS[kind].omezarr
    names = {f"xarray.{kind}.omezarr.{name}" for name in dir(accessor) if not name.startswith("_")}
    described = {name for name in reference() if name.startswith(f"xarray.{kind}.")}
    assert names == described


def test_every_name_of_the_reference_is_there() -> None:
    for name in reference():
        assert resolve(name) is not None


def examples(name: str) -> Iterator[doctest.Example]:
    found = resolve(name)
    finder = doctest.DocTestFinder(recurse=isinstance(found, type))
    for test in finder.find(found, name):
        yield from test.examples


def test_every_function_of_the_reference_has_an_example() -> None:
    functions = {
        name
        for name in reference()
        if callable(found := resolve(name)) and not isinstance(found, type)
    }
    assert {name for name in functions - WINDOWS if not any(examples(name))} == set()


def test_examples_run_with_the_suite(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getoption("doctestmodules")
    assert "xarray_omezarr" in pytestconfig.getini("testpaths")


def toctree(page: Path) -> Iterator[Path]:
    """Give the pages that a page lists."""
    for block in re.finditer(
        r"^```\{toctree\}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        for line in filter(None, map(str.strip, block[1].splitlines())):
            if not line.startswith(":"):
                target = re.sub(r".*<(.*)>", r"\1", line)
                yield (page.parent / f"{target}.md").resolve()


def test_every_page_is_in_one_table_of_contents() -> None:
    listed = [entry for page in pages() for entry in toctree(page)]
    assert sorted(listed) == [page for page in pages() if page != DOCS / "index.md"]


def test_every_page_of_the_gallery_has_a_card_and_runs() -> None:
    index = (DOCS / "gallery" / "index.md").read_text("utf-8")
    for page in (DOCS / "gallery").glob("*.md"):
        if page.name != "index.md":
            text = page.read_text("utf-8")
            assert f":link: {page.stem}\n" in index
            assert text.startswith("---\nfile_format: mystnb\n")
            assert "```{code-cell}" in text
            assert "skip-execution" not in text


def test_every_module_stands_on_the_map() -> None:
    table, _, _ = (DOCS / "design.md").read_text("utf-8").partition("## Reading")
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {path.stem for path in (ROOT / "xarray_omezarr").glob("*.py")}
    assert sorted(named) == sorted(there - {"__init__"})


def test_no_outputs_are_stored() -> None:
    assert [path for path in DOCS.rglob("*.ipynb") if not BUILT & set(path.parts)] == []
    drawn = re.findall(r'"([\w-]+\.png)"', (DOCS / "make_figures.py").read_text("utf-8"))
    assert {path.name for path in (DOCS / "_static").glob("*.*")} == {"style.css", *drawn}


def messages() -> Iterator[str]:
    """Give the texts of the package, with NUL for what is put into them."""
    for path in (ROOT / "xarray_omezarr").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_of_the_guide_are_those_of_the_package() -> None:
    known = list(messages())
    page = (DOCS / "guide" / "troubleshooting.md").read_text("utf-8")
    found = re.findall(r"^(`.*`)\n: (.*)", page, re.MULTILINE)
    assert len(found) > 50
    unknown = []
    for quoted, advice in found:
        for message in re.findall(r"`([^`]+)`", quoted):
            # "…" and what is in quotation marks stands for anything, and so do numbers.
            parts = re.split(r"…|'[^']*'|\b\d+\b", message)
            fixed = [part.strip(" ;,.'") for part in parts]
            if not advice.startswith("From xarray") and not all(
                any(part in text for text in known) for part in fixed
            ):
                unknown.append(message)
    assert unknown == []


def run(script: str, *args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / script), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def site(folder: Path, **texts: str) -> Path:
    """Lay out pages of HTML."""
    for name, body in texts.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>\n")
    return folder


def test_links_that_hold(tmp_path: Path) -> None:
    site(
        tmp_path,
        index='<a href="other.html#deep%20er">x</a> <a href="#here">x</a> <p id="here"/> '
        '<a href="https://elsewhere.example/gone">x</a> <a href="mailto:a@b">x</a>',
        other='<p id="deep er"/> <a href="index.html?q=1">x</a> <a href="#">x</a>',
    )
    done = run("check_links.py", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ('<a href="gone.html">x</a>', "index.html:1: gone.html: there is no such file"),
        ('<a href="#gone">x</a>', "index.html:1: #gone: there is no such place on the page"),
        (
            '<a href="other.html#gone">x</a>',
            "index.html:1: other.html#gone: there is no such place on the page",
        ),
        ('<img src="gone.png">', "index.html:1: gone.png: there is no such file"),
    ],
)
def test_links_that_lead_nowhere(tmp_path: Path, link: str, reason: str) -> None:
    done = run("check_links.py", site(tmp_path, index=link, other="x"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"{reason}\n"


def test_links_of_what_was_not_built(tmp_path: Path) -> None:
    done = run("check_links.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "make docs" in done.stderr


def follow(folder: Path, page: str) -> subprocess.CompletedProcess[str]:
    """Follow a page in this environment."""
    (folder / "page.md").write_text(page)
    return run("try_pages.py", "--here", folder / "page.md", cwd=folder)


def test_pages_that_give_what_they_say(tmp_path: Path) -> None:
    done = follow(
        tmp_path,
        """\
```console
$ make demo
$ python -c "print('out', 1)"   # a comment
out 1
$ python -c "open('made', 'w').write('x')"
```

```python
import os
numbers = [
    1,
    2,
]
numbers  # → [1, 2]
numbers * 100  # → [1, ..., 2]
for number in numbers:
    print(number)
os.path.exists("made")  # → True
len(numbers)  # the number of them
```
""",
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            "```python\nx = 1\nx + 1  # → 3\n```\n",
            "page.md:3: x + 1  # → 3\nexpected: 3\ngot:      2",
        ),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nimport warnings\nwarnings.warn('odd')\n```\n", "Warning: odd"),
        ("```console\n$ echo one\ntwo\n```\n", "expected: two\ngot:      one"),
        ("```console\n$ exit 3\n```\n", "exit code 3"),
        ("```{code-cell} python\n:tags: [x]\nnothing\n```\n", "page.md:3: nothing"),
    ],
)
def test_pages_that_give_something_else(tmp_path: Path, page: str, said: str) -> None:
    done = follow(tmp_path, page)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_lines_for_a_new_user(tmp_path: Path, page: str) -> None:
    # On the built wheel, in a new environment: `make fresh`.
    done = run("try_pages.py", "--here", ROOT / page, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    # What CFF 1.2.0 asks for, and those of its other keys that are used.
    required = {"authors", "cff-version", "message", "title"}
    assert required <= citation.keys() <= required | {
        "abstract", "keywords", "license", "type", "version"
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == project["authors"]
    assert citation["license"] == project["license"]
    assert citation["title"] == project["name"]
    assert str(citation["version"]) == project["version"]


def test_every_version_of_the_changelog_tells_users_what_changes() -> None:
    def versions(page: Path) -> list[str]:
        return re.findall(r"^## (\d+\.\d+\.\d+)", page.read_text("utf-8"), re.MULTILINE)

    assert versions(DOCS / "whats-new.md") == versions(ROOT / "CHANGELOG.md")
