"""Follow a page as a new user does: paste its lines one by one, and see what each of them gives.

    python docs/try_pages.py README.md docs/start.md          # `make fresh`: in a new environment
    python docs/try_pages.py --here README.md                 # in the environment that this runs in

For each page there are a new virtual environment and an empty folder. `pip install` of this package
installs a wheel that is built before, and nothing comes from the checkout. Commands are the lines
of `console` blocks that begin with `$`, with the lines of output below them; statements are those
of `python` and `{code-cell}` blocks. What a statement gives is checked where a comment says so,
`# → (303, 384)`; what is not said, such as an error or a warning, may not be there. "..." stands
for anything.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
import venv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.resolve()
NAME = "xarray-omezarr"
#: How a command begins that needs the checkout, which a new user has not got.
IN_CHECKOUT = ("make", "git", "pip install .", 'pip install "."', 'pip install ".[')


@dataclass(frozen=True)
class Step:
    """A line of a page: a command or a statement, where it stands, and what it is said to give."""

    kind: str
    line: int
    source: str
    expected: str | None


def steps(text: str) -> list[Step]:
    """Take the commands and statements off a page of Markdown, in their order."""
    found: list[Step] = []
    for block in re.finditer(r"^(```+)(.*)\n((?:.*\n)*?)\1$", text, re.MULTILINE):
        start = text.count("\n", 0, block.start(3)) + 1
        kind, _, language = block[2].partition(" ")
        if kind == "console":
            found += commands(block[3], start)
        elif kind == "python" or (kind == "{code-cell}" and language in ("", "python", "ipython3")):
            found += statements(block[3], start)
    return found


def commands(block: str, start: int) -> list[Step]:
    """Take the commands off a block of a console, with the output that follows each."""
    found = []
    for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
        command, _, output = part.partition("\n")
        if command.startswith("$ "):
            line = start + block.count("\n", 0, block.index(part))
            source = re.sub(r"\s{2,}#.*", "", command[2:]).strip()
            found.append(Step("command", line, source, output.strip() or None))
    return found


def statements(block: str, start: int) -> list[Step]:
    """Take the statements off a block of Python, each with the comment that says what it gives."""
    # Options of a cell are comments for us.
    block = re.sub(r"^(:\w|%)", r"#\1", block, flags=re.MULTILINE)
    lines = block.splitlines()
    found = []
    for node in ast.parse(block).body:
        assert node.end_lineno is not None  # noqa: S101 (parsed from text)
        said = re.search(r"#\s*→\s*(.*)$", lines[node.end_lineno - 1])
        source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        found.append(
            Step("statement", start + node.lineno - 1, source, said[1].strip() if said else None)
        )
    return found


def run_statement(source: str, names: dict[str, Any]) -> str:
    """Run a statement as a prompt does, and give what it shows; a warning counts as shown."""
    shown = io.StringIO()

    def show(value: object) -> None:
        if value is not None:
            shown.write(f"{value!r}\n")

    hook, sys.displayhook = sys.displayhook, show
    try:
        with contextlib.redirect_stdout(shown), warnings.catch_warnings(record=True) as warned:
            code = ast.Interactive(ast.parse(source).body)
            exec(compile(code, "<page>", "single"), names)  # noqa: S102 (our own page)
    finally:
        sys.displayhook = hook
    shown.writelines(f"Warning: {warning.message}\n" for warning in warned)
    return shown.getvalue()


def from_wheel(command: str, wheel: str) -> str:
    """Give a call of pip that takes this package from a wheel, whatever an index has."""
    named = re.compile(rf"{NAME}(\[[\w,]+\])?")
    words = shlex.split(command, comments=True)
    return shlex.join(f"{word} @ {wheel}" if named.fullmatch(word) else word for word in words)


def run_command(source: str) -> str:
    """Run a command, and give what it prints."""
    done = subprocess.run(  # noqa: S602 (our own page)
        source, shell=True, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        msg = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        raise RuntimeError(msg)
    return done.stdout


def follow(page: Path, wheel: str | None) -> list[str]:
    """Go through a page in the folder that this runs in, and give what was not as it says.

    What raises ends it, since what follows would need it.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    # Commands are those of this environment, activated or not.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    # Whatever a notebook would draw is drawn without a window.
    os.environ.setdefault("MPLBACKEND", "agg")
    same = doctest.OutputChecker().check_output
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    wrong = []
    for step in steps(page.read_text("utf-8")):
        pip = step.source.startswith("pip ")
        if step.kind == "command" and (
            step.source.startswith(IN_CHECKOUT) or (pip and wheel is None)
        ):
            continue
        source = from_wheel(step.source, wheel) if pip and wheel else step.source
        print(f"{page.name}:{step.line}: {step.source}", flush=True)
        try:
            command = step.kind == "command"
            given = run_command(source) if command else run_statement(source, names)
        except Exception:  # noqa: BLE001 (whatever goes wrong on a page is reported)
            wrong.append(f"{page.name}:{step.line}: {step.source}\n{traceback.format_exc()}")
            break
        if step.expected is None:
            # What is shown without being announced is for the eye, but a warning is not.
            if "Warning: " in given:
                wrong.append(f"{page.name}:{step.line}: {step.source}\n{given}")
        elif not same(f"{step.expected}\n", given, flags):
            wrong.append(
                f"{page.name}:{step.line}: {step.source}\n"
                f"expected: {step.expected}\ngot:      {given.strip()}"
            )
    return wrong


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True)  # noqa: S603
    (wheel,) = folder.glob("*.whl")
    return wheel


def follow_anew(page: Path, wheel: Path, folder: Path) -> int:
    """Go through a page in a new environment and an empty folder."""
    venv.create(folder / "environment", with_pip=True)
    (folder / "empty").mkdir()
    bin_ = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    } | {
        "PATH": os.pathsep.join((str(bin_), os.environ["PATH"])),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    # `-P`: what lies beside this script is not on the way.
    command = [str(bin_ / "python"), "-P", __file__, "--here", "--wheel", wheel.as_uri(), str(page)]
    print(shlex.join(command), flush=True)
    return subprocess.run(  # noqa: S603
        command, cwd=folder / "empty", env=environment, check=False
    ).returncode


def main() -> None:
    """Follow the pages that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--here", action="store_true", help="in this environment and folder")
    parser.add_argument("--wheel", metavar="URL", help="with --here: run `pip`, too, with this")
    given = parser.parse_args()
    pages = [page.resolve() for page in given.pages]
    if given.here:
        wrong = [line for page in pages for line in follow(page, given.wheel)]
        sys.exit("\n\n".join(["", *wrong]) if wrong else None)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        failed = []
        for page in pages:
            with tempfile.TemporaryDirectory() as folder:
                if follow_anew(page, wheel, Path(folder)):
                    failed.append(page.name)
    sys.exit(f"Not as they say: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
