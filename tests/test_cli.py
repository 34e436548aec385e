"""The command: what it writes, what it says, and how it fails."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import xarray_omezarr
from xarray_omezarr import cli, cli_demo, remote, samples
from xarray_omezarr.cli_advice import in_options

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, without a word from the environment on colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


def run(*arguments: str, color: bool = False) -> Result:
    return CliRunner().invoke(cli.main, arguments, prog_name="omezarr", color=color)


def ran(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def failed(*arguments: str, code: int = 1) -> str:
    """Run what has to fail: with a message, nothing else, and no traceback."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def edit(path: Path | str, **ome: Any) -> None:  # noqa: ANN401
    """Change keys of an image's metadata."""
    file = Path(path) / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"].update(ome)
    file.write_text(json.dumps(document))


# ── the group ────────────────────────────────────────────────────────────────────────────────────


def test_validate_prints_a_verdict_and_exits_by_it(here: Path) -> None:
    samples.circle().omezarr.to_zarr(here / "circle.ome.zarr")
    assert "valid, OME-Zarr 0.5" in ran("validate", "circle.ome.zarr")
    edit(here / "circle.ome.zarr", version="0.7")
    result = run("validate", "--json", "circle.ome.zarr")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["valid"] is False


NAMES = cli.main.list_commands(click.Context(cli.main))


def test_help_names_the_commands() -> None:
    text = ran("--help")
    assert re.findall(r"^  ([a-z][\w-]+)  +[A-Z]", text, re.MULTILINE) == NAMES
    assert {"info", "create", "csv-to-labels", "validate", "upgrade", "edit"} <= set(NAMES)
    assert ran("-h") == text


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_a_screen_and_shows_an_example(name: str) -> None:
    lines = ran(name, "--help").splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"Usage: omezarr {name} [OPTIONS]")
    begin = next(i for i, line in enumerate(lines) if re.fullmatch("  Examples?:", line))
    assert all(re.match(rf"    (\w+=\S+ )?omezarr {name}\b", line) for line in lines[begin + 1 :])


@pytest.mark.parametrize("arguments", [["--help"], ["create", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
        import sys
        from xarray_omezarr.cli import main
        main({arguments}, standalone_mode=False)
        heavy = {{"zarr", "dask", "skimage", "fsspec", "numcodecs"}} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, stdout=subprocess.PIPE
    )


def test_version() -> None:
    assert importlib.metadata.version("xarray-omezarr") in ran("--version")


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "xarray_omezarr"], [str(Path(sys.executable).with_name("omezarr"))]],
)
def test_installed_command_starts(command: list[str]) -> None:
    if not Path(command[0]).exists():
        pytest.skip("the script is not installed beside this Python")
    told = subprocess.run([*command, "--version"], capture_output=True, check=True)
    assert told.stdout.startswith(b"omezarr, version ")


def test_command_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "xarray_omezarr.cli"]
    # A terminal of old: it has no ×, and gets another sign for it.
    env = {**os.environ, "PYTHONIOENCODING": "cp437", "PYTHONUTF8": "0"}

    def call(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*command, *arguments], capture_output=True, env=env, check=False)

    made = call("create", "--method", "circle", "circle.ome.zarr")
    assert (made.returncode, made.stderr) == (0, b"")
    assert b"(y 64 ? x 64, uint8)" in made.stdout
    told = call("info", "circle.ome.zarr")
    assert (told.returncode, told.stderr) == (0, b"")
    assert b"axis     y 64, 0.5 micrometer, from 10" in told.stdout
    assert b"\x1b" not in told.stdout

    refused = call("info", "nothing.ome.zarr")
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert refused.stderr.startswith(b"Error: ")
    assert b"nothing.ome.zarr" in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert b"Traceback" in call("--debug", "info", "nothing.ome.zarr").stderr


@pytest.mark.parametrize(
    "arguments", [["--debug", "info", "nothing.ome.zarr"], ["info", "nothing.ome.zarr", "--debug"]]
)
def test_debug_shows_where_an_error_comes_from(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback")
    assert re.search(r"^Error: There is nothing at nothing.ome.zarr", result.stderr, re.MULTILINE)


def test_what_nobody_thought_of_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> xr.Dataset:
        return dict[str, xr.Dataset]()["surprise"]

    monkeypatch.setattr(samples, "coins", broken)
    text = failed("create", "coins.ome.zarr")
    assert "KeyError: 'surprise'" in text
    assert "omezarr --debug" in text


@pytest.mark.parametrize(("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_terminals_alone(
    environment: dict[str, str], *, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("create", "--method", "circle", "circle.ome.zarr")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert ("\x1b" in run("info", "circle.ome.zarr", color=True).output) is colored
    assert "\x1b" not in run("info", "circle.ome.zarr").output


def test_warnings_are_lines_on_stderr() -> None:
    ran("create", "--method", "astronaut", "astronaut.ome.zarr")
    edit("astronaut.ome.zarr", omero={"channels": [{"label": "only one"}]})
    result = run("info", "astronaut.ome.zarr")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: ")
    assert ".py" not in result.stderr
    assert "channel" not in result.stdout


# ── the world around ─────────────────────────────────────────────────────────────────────────────


def shell(line: str, name: str = "bash", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, where `omezarr` is the command of this package."""
    folder = Path("bin")
    folder.mkdir(exist_ok=True)
    script = folder / "omezarr"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m xarray_omezarr "$@"\n')
    script.chmod(0o755)
    env = {**os.environ, "PATH": f"{folder.resolve()}:{os.environ['PATH']}", **environment}
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"there is no {name}")
    return subprocess.run(
        [program, "-c", line],
        capture_output=True,
        env=env,
        check=False,
        text=True,
        encoding="utf-8",
    )


def test_output_that_nobody_reads() -> None:
    samples.circle().omezarr.to_zarr("circle.ome.zarr")
    told = shell("omezarr info circle.ome.zarr | true; omezarr info circle.ome.zarr >&- 2>&-")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_does_not_fit() -> None:
    told = shell("omezarr --help > /dev/full; omezarr info nothing > /dev/full")
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "Error: There is nothing at nothing" in told.stderr


def test_a_locale_without_letters() -> None:
    samples.circle().omezarr.to_zarr("käse.ome.zarr")
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = shell("omezarr info *.ome.zarr", **bare)
    assert told.returncode == 0, told.stderr
    assert "y 64, 0.5 micrometer" in told.stdout


def test_a_narrow_terminal() -> None:
    told = shell("omezarr --help && omezarr create --help", COLUMNS="40")
    assert told.returncode == 0
    help_lines = told.stdout.partition("Usage: omezarr create")[0].splitlines()
    assert max(map(len, help_lines)) <= 60


def test_interrupted_it_says_so_and_leaves_nothing(here: Path) -> None:
    command = [sys.executable, "-m", "xarray_omezarr", "-v", "create", "big.ome.zarr"]
    command += ["--method", "fluorescence", "--shape", "64,2,64,1024,1024"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        # It tells what it is about to write.
        assert process.stderr.readline().startswith(b"INFO xarray_omezarr: writing big.ome.zarr")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert err.endswith(b"Interrupted.\n")
    assert b"Traceback" not in err
    # What is there is no image yet, and in nobody's way.
    assert "Error: " in failed("info", "big.ome.zarr")
    ran("create", "big.ome.zarr", "--method", "circle")
    assert xr.open_dataset("big.ome.zarr", engine="omezarr").load().identical(samples.circle())
    assert [path.name for path in here.iterdir()] == ["big.ome.zarr"]


@pytest.mark.parametrize("module", ["xarray", "click", "zarr"])
def test_interrupted_while_it_imports(module: str, here: Path) -> None:
    # A module that is interrupted, as it is imported, and would go on as if nothing had been.
    (here / f"{module}.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n    print(1)\n"
        "except Exception:\n    print('an exception')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(here)!r}); import _omezarr_command as c; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", "nothing"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"\nInterrupted.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_a_bar_is_shown_on_terminals_unless_it_is_to_be_quiet() -> None:
    import fcntl
    import pty
    import struct
    import termios

    def told(*arguments: str) -> bytes:
        """Run the command with a terminal for its standard error."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
            command = [sys.executable, "-m", "xarray_omezarr", *arguments]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
            os.write(theirs, b"\nthe end")
            os.close(theirs)
            assert done.returncode == 0
            found = b""
            with contextlib.suppress(OSError):  # what Linux says where nobody writes any more
                while part := terminal.read(4096):
                    found += part
        return found.removesuffix(b"the end").strip()

    shown = told("create", "a.ome.zarr", "--method", "fluorescence")
    assert re.search(rb"100%\|.*M/4\.00M.*B/s", shown), shown
    assert told("create", "b.ome.zarr", "--method", "fluorescence", "-q") == b""


def test_bash_completes_subcommands_options_and_values() -> None:
    told = shell("""
        eval "$(_OMEZARR_COMPLETE=bash_source omezarr)"
        compopt() { echo compopt "$@"; }
        complete_() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _omezarr_completion omezarr; echo "${COMPREPLY[*]}"
        }
        complete_ omezarr ""
        complete_ omezarr val
        complete_ omezarr create --me
        complete_ omezarr create --method a
        complete_ omezarr info ""
    """)
    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        " ".join(NAMES), "validate", "--method", "astronaut", "compopt -o default", ""
    ]  # fmt: skip


def test_zsh_completes_subcommands_options_and_values() -> None:
    told = shell(
        """
        compdef() { }; compadd() { print -- $completions }; _path_files() { print files }
        _describe() { print -l -- $completions_with_descriptions }
        eval "$(_OMEZARR_COMPLETE=zsh_source omezarr)"
        complete_() { words=("$@"); CURRENT=$#; _omezarr_completion }
        complete_ omezarr con
        complete_ omezarr create --me
        complete_ omezarr create --method a
        complete_ omezarr info ""
        """,
        "zsh",
    )
    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        f"convert:{cli.COMMANDS['convert'][1]}", "--method:The sample.", "astronaut", "files"
    ]  # fmt: skip


def test_fish_completes_subcommands_options_and_values(here: Path) -> None:
    (here / "some.zarr").mkdir()
    told = shell(
        """
        _OMEZARR_COMPLETE=fish_source omezarr | source
        complete -C "omezarr "
        complete -C "omezarr create --me"
        complete -C "omezarr create --method a"
        complete -C "omezarr info so"
        """,
        "fish",
        HOME=str(here),
    )
    assert told.stderr == ""
    *names, option, choice, path = told.stdout.splitlines()
    assert names == sorted(f"{name}\t{text}" for name, (_, text) in cli.COMMANDS.items())
    assert (option, choice) == ("--method\tThe sample.", "astronaut")
    assert path.startswith("some.zarr/")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("craete", "'create'"),
        ("Info", "'info'"),
        ("csv_to_label", "'csv-to-labels'"),
        ("help", "type 'omezarr --help'"),
    ],
)
def test_what_was_meant_is_suggested(typed: str, meant: str) -> None:
    assert meant in failed(typed, code=2)


def test_options_are_suggested_too() -> None:
    assert re.search(r"No such option:? '?--jsn'?.*--json", failed("info", "x", "--jsn", code=2))


def test_messages_name_options_instead_of_arguments() -> None:
    def describe(text: str) -> str:
        return in_options(text, cli.main.get_command(click.Context(cli.main), "edit"))

    assert describe("Name one by group=. Or repair=True!") == "Name one by --group. Or --repair!"
    assert describe("group='a' and wells='b'") == "--group 'a' and wells='b'"
    assert describe("Ask for name=2, by name= (--name).") == "Ask for --name 2, by --name."
    assert describe("names=('a',)") == "names=('a',)"
    assert describe("Write it again: resume=True goes on.") == "Write it again: --resume goes on."
    assert in_options("group=.", None) == "group=."


@pytest.mark.parametrize(
    ("advice", "instead"),
    [
        ("a exists. Write to another path, or use mode='w' to replace the image.",
         "a exists. Write to another path."),
        ("Write to another path, use mode='a' to add to it, or use mode='w' to replace the others.",
         "Write to another path."),
        ("Write to it by region=, or use mode='w' to give it up.", "Write to another path."),
        ("Open one: group='A/1/0', group='A/1/1'; or all of them by xr.open_datatree.",
         "Open one: 'A/1/0', 'A/1/1'."),
        ("Name one of the images by group=.", "Name one of the images by its path."),
        ("such as axes='zyx' (AXES).", "such as AXES 'zyx'."),
        ("Ask for levels=2 or more.", "Ask for --levels 2 or more."),
        ("Upgrade it first (xarray_omezarr.upgrade, omezarr upgrade).",
         "Upgrade it first (omezarr upgrade)."),
        ("Upgrade it first (xarray_omezarr.upgrade).", "Upgrade it first (omezarr upgrade)."),
    ],
)  # fmt: skip
def test_messages_advise_what_a_command_can_do(advice: str, instead: str) -> None:
    assert in_options(advice, cli.main.get_command(click.Context(cli.main), "scale")) == instead


def test_credentials_are_those_of_the_environment() -> None:
    for error in (PermissionError("denied"), RuntimeError("http://169.254.169.254/")):
        told = in_options(str(remote.failure("s3://a/b", error)), None)
        assert "FSSPEC_S3_ANON=true" in told
        assert "storage_options" not in told
        assert "missing_on_403" not in told


# ── create ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("method", ["coins", "astronaut", "circle"])
def test_create_writes_the_sample(method: str, version: str) -> None:
    text = ran("create", "image.ome.zarr", "--method", method, "--version", version)
    assert f"Wrote {method}" in text
    assert f"OME-Zarr {version}: image.ome.zarr" in text
    ds = xr.open_dataset("image.ome.zarr", engine="omezarr")
    xr.testing.assert_identical(ds.load(), getattr(samples, method)())
    assert ds.image.encoding["omezarr"]["version"] == version
    label = {"coins": "coins", "astronaut": "circles", "circle": "circle"}[method]
    labels = xr.open_dataarray("image.ome.zarr", engine="omezarr", group=f"labels/{label}")
    xr.testing.assert_equal(labels.squeeze(), getattr(samples, method)()[label])
    assert xarray_omezarr.info(f"image.ome.zarr/labels/{label}").kind == "label image"
    group = zarr.open_group("image.ome.zarr", mode="r")
    assert group.metadata.zarr_format == {"0.4": 2, "0.5": 3}[version]


def test_create_by_default_is_coins_in_the_newest_version() -> None:
    ran("create", "image.ome.zarr")
    ds = xr.open_dataset("image.ome.zarr", engine="omezarr")
    assert ds.identical(samples.coins())
    assert ds.image.encoding["omezarr"]["version"] == "0.5"


@pytest.mark.parametrize(
    ("shape", "dims"), [("30,40", "yx"), ("2,30,40", "zyx"), ("2,1,3,30,40", "tczyx")]
)
def test_create_fluorescence_of_any_shape_and_seed(shape: str, dims: str) -> None:
    ran("create", "cells.ome.zarr", "--method", "fluorescence", "--shape", shape, "--seed", "7")
    expected = samples.fluorescence([int(n) for n in shape.split(",")], tuple(dims), seed=7)
    assert xr.open_dataset("cells.ome.zarr", engine="omezarr").identical(expected)


def test_create_refuses_what_exists(here: Path) -> None:
    ran("create", "image.ome.zarr", "--method", "circle")
    files = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    text = failed("create", "image.ome.zarr")
    assert re.fullmatch(r"Error: .*image\.ome\.zarr exists\. .*\n", text)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create"], "Missing argument 'PATH'"),
        (["create", "x", "--method", "cat"], "'cat' is not one of 'coins', 'astronaut'"),
        (["create", "x", "--version", "0.3"], "'0.3' is not one of '0.4', '0.5'"),
        (["create", "x", "--seed", "1"], "--method plate; coins is a fixed picture"),
        (["create", "x", "--method", "fluorescence", "--seed", "a"], "not a valid integer"),
        (["create", "x", "--method", "fluorescence", "--shape", "5"], "'5' is not two to five"),
        (["create", "x", "--method", "fluorescence", "--shape", "5,0"], "two to five sizes of 1"),
        (["create", "x", "--method", "fluorescence", "--shape", "5,b"], "like 2,2,8,256,256"),
        (["info"], "Missing argument 'PATH'"),
        (["info", "x", "y"], "unexpected extra argument"),
        (["frobnicate"], "No such command"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, here: Path) -> None:
    assert message in failed(*arguments, code=2)
    assert not list(here.iterdir())


# ── info ─────────────────────────────────────────────────────────────────────────────────────────


def test_info_of_an_image_with_all_there_is() -> None:
    ds = samples.fluorescence((2, 2, 3, 300, 260))
    ds.omezarr.to_zarr(
        "cells.ome.zarr", chunks={"y": 100, "x": 130}, shards={"y": 200, "x": 260}, levels=2
    )
    facts = json.loads(ran("info", "--json", "cells.ome.zarr"))
    assert facts == xarray_omezarr.info("cells.ome.zarr").to_dict()
    assert facts["path"] == "cells.ome.zarr"
    assert facts["kind"] == "image"
    assert facts["version"] == "0.5"
    assert facts["name"] == "fluorescence"
    assert facts["dtype"] == "uint16"
    assert facts["axes"][:2] == [
        {"name": "t", "size": 2, "scale": 30.0, "translation": 0.0, "unit": "second"},
        {"name": "c", "size": 2},
    ]
    assert facts["axes"][4] == {
        "name": "x", "size": 260, "scale": 0.325, "translation": 0.0, "unit": "micrometer"
    }  # fmt: skip
    first, second = facts["levels"]
    assert first["shape"] == [2, 2, 3, 300, 260]
    assert first["chunks"][3:] == [100, 130]
    assert first["shards"][3:] == [200, 260]
    assert first["bytes"] == 2 * 2 * 3 * 300 * 260 * 2
    assert second["shape"] == [2, 2, 3, 150, 130]
    assert second["scale"] == {"t": 30.0, "z": 1.0, "y": 0.65, "x": 0.65}
    assert facts["channels"][1]["label"] == "GFP"
    assert facts["channels"][1]["color"] == "00FF00"
    assert facts["channels"][1]["window_max"] == 4095.0

    text = ran("info", "cells.ome.zarr")
    assert text.startswith("cells.ome.zarr\n  kind     image\n  version  0.5\n")
    assert "  axis     t 2, 30 second\n  axis     c 2\n" in text
    row = r"^  0 +2×2×3×300×260 +\S*100×130 +\S*200×260 .* 1\.785 MiB$"
    assert re.search(row, text, re.MULTILINE)
    assert re.search(r"^  1 +2×2×3×150×130 ", text, re.MULTILINE)
    assert re.search(r"^  channel  DAPI: color 0000FF, .*max 4095", text, re.MULTILINE)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_info_of_a_bare_image(version: str) -> None:
    bare = xr.DataArray([[1, 2, 3], [4, 5, 6]], dims=("y", "x"), name="image").astype("int16")
    bare.omezarr.to_zarr("bare.ome.zarr", version=version, compressors=())
    facts = xarray_omezarr.info("bare.ome.zarr").to_dict()
    assert facts["name"] is None
    assert facts["version"] == version
    assert facts["channels"] == []
    assert facts["axes"][1] == {
        "name": "x", "size": 3, "scale": 1.0, "translation": 0.0, "unit": None
    }  # fmt: skip
    assert facts["levels"] == [
        {
            "level": 0, "path": "0", "shape": [2, 3], "scale": {"y": 1.0, "x": 1.0},
            "chunks": [2, 3], "shards": None, "codecs": [], "bytes": 12,
        }
    ]  # fmt: skip
    assert "name" not in ran("info", "bare.ome.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_info_names_codecs(version: str) -> None:
    samples.circle().omezarr.to_zarr("circle.ome.zarr", version=version)
    (codec,) = xarray_omezarr.info("circle.ome.zarr").to_dict()["levels"][0]["codecs"]
    assert re.fullmatch(r"\w+\(\w+(, \d)?\)", codec)
    assert codec in ran("info", "circle.ome.zarr")


def test_info_of_a_single_channel_without_an_axis() -> None:
    ds = samples.astronaut().sel(c="green")
    ds[["image"]].omezarr.to_zarr("green.ome.zarr")
    (channel,) = xarray_omezarr.info("green.ome.zarr").to_dict()["channels"]
    assert (channel["label"], channel["color"]) == ("green", "00FF00")


def test_info_of_a_label_image() -> None:
    ran("create", "image.ome.zarr", "--method", "circle")
    text = ran("info", "image.ome.zarr/labels/circle")
    assert "  kind     label image\n" in text
    assert "  name     circle\n  dtype    int32\n" in text


def test_info_of_what_is_no_image(here: Path) -> None:
    zarr.open_group("plain.zarr", mode="w")
    (here / "file.txt").write_text("no image")
    for path in ("plain.zarr", "file.txt", "nothing.ome.zarr"):
        text = failed("info", path)
        assert text.startswith("Error: ")
        assert path in text


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────


def test_demo_goes_the_whole_way(here: Path) -> None:
    (here / "omezarr-demo").mkdir()  # somebody else's
    text = ran("demo")
    directory = here / "omezarr-demo-2"
    assert text.endswith(f"The files lie in\n{directory}\n")
    assert not list((here / "omezarr-demo").iterdir())

    versions = {"coins": "0.5", "astronaut": "0.5", "cells": "0.5", "cells-v04": "0.4"}
    images = {f"{name}{end}.ome.zarr" for name in versions for end in ("", "-result")}
    assert {path.name for path in directory.iterdir()} == images
    for name, version in versions.items():
        for end in ("", "-result"):
            assert xarray_omezarr.info(directory / f"{name}{end}.ome.zarr").version == version

    lines = [line for line in text.splitlines() if re.match(r"[a-z]", line)]
    # Every line has its purpose before it, and the time it took after it.
    assert len(re.findall(r"^# .*\n\S.*\n(?:  .*\n)*  \[\d+\.\d{3} s\]$", text, re.MULTILINE)) == 38
    assert sum("xr.testing.assert_" in line for line in lines) == 9
    assert "9 checks" in text

    # The lines are Python that does what was done.
    (here / "again").mkdir()
    with contextlib.chdir(here / "again"):
        exec("\n".join(lines), {})  # noqa: S102 - what the demo itself has printed
    for image in images:
        again = xr.open_dataset(here / "again" / image, engine="omezarr")
        assert again.identical(xr.open_dataset(directory / image, engine="omezarr"))


SMALL = cli_demo.Example(
    name="small",
    source="samples.circle()",
    region="y=slice(20, 30)",
    purpose="invert",
    formula='255 - region["0"].image',
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_demo, "EXAMPLES", [SMALL])


@pytest.mark.usefixtures("small")
def test_demo_writes_where_it_is_told_to(here: Path) -> None:
    ran("demo", "some/where")
    result = xr.open_dataarray(here / "some/where/small-result.ome.zarr", engine="omezarr")
    assert result.identical(255 - samples.circle().image.sel(y=slice(20, 30)))

    assert "some/where is not empty" in failed("demo", "some/where")
    (here / "file").write_text("")
    assert failed("demo", "file") == "Error: file: File exists\n"
    (here / "empty").mkdir()
    ran("demo", "empty")


@pytest.mark.usefixtures("small")
def test_demo_counts_its_directories(here: Path) -> None:
    for _ in range(3):
        ran("demo")
    names = sorted(path.name for path in here.iterdir())
    assert names == ["omezarr-demo", "omezarr-demo-2", "omezarr-demo-3"]


@pytest.mark.usefixtures("small")
def test_demo_fails_if_a_check_does(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = samples.circle

    def fickle() -> xr.Dataset:
        # Written as one thing, and another when it is compared.
        ds = circle()
        monkeypatch.setattr(type(ds), "identical", lambda *_: False)
        monkeypatch.setattr(xr.DataArray, "identical", lambda *_: False)
        return ds

    monkeypatch.setattr(samples, "circle", fickle)
    result = run("demo")
    assert result.exit_code == 1
    assert "All is well" not in result.stdout
    assert result.stderr.startswith("Error: The check failed.")
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("small")
def test_demo_passes_errors_on(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    def full() -> xr.Dataset:
        raise OSError(28, "No space left on device", "circle")

    monkeypatch.setattr(samples, "circle", full)
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr == "Error: circle: No space left on device\n"
    assert Path.cwd() == here
