"""What subcommands share: how arguments are read, and how much is told."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from xarray_omezarr import OmeZarrWarning, cli_support, options
from xarray_omezarr.cli_support import (
    BYTES,
    NAMES,
    NUMBERS,
    REGION,
    STORE,
    WELLS,
    pairs,
    sizes,
    version_option,
)

if TYPE_CHECKING:
    from click.testing import Result

NUMBER = pairs(float, "z=2,y=0.5")
SIZES = sizes("z=1,y=256")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (NUMBER, "z=2,y=0.5", {"z": 2.0, "y": 0.5}),
        (NUMBER, " z = 2 , y=1e-3,", {"z": 2.0, "y": 0.001}),
        (pairs(str, "t=second"), "t=second", {"t": "second"}),
        (SIZES, "256", 256),
        (SIZES, "z=1,y=256", {"z": 1, "y": 256}),
        (REGION, "x=100:200um", {"x": slice("100.0 micrometer", "200.0 micrometer")}),
        (REGION, "x=0.1mm:200 µm", {"x": slice("0.1 millimeter", "200.0 micrometer")}),
        (REGION, "x=1:2,t=:90s", {"x": slice(1.0, 2.0), "t": slice(None, "90.0 second")}),
        (REGION, "x=-5um:", {"x": slice("-5.0 micrometer", None)}),
        (WELLS, "A/1, B2,C/*", ("A/1", "B2", "C/*")),
        (NAMES, "DAPI,GFP", ("DAPI", "GFP")),
        (NUMBERS, "0,2", (0, 2)),
        (BYTES, "2 GiB", 2**31),
        (STORE, "s3://bucket/x.zarr", "s3://bucket/x.zarr"),
    ],
)
def test_arguments_are_read(kind: click.ParamType[Any], text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (NUMBER, "z", "'z' is not an axis and its value, like 'z=2,y=0.5'"),
        (NUMBER, "z=", "'z=' is not an axis"),
        (NUMBER, "=2", "'=2' is not an axis"),
        (NUMBER, "z=1,,y=2", "has an empty entry"),
        (NUMBER, "z=1,z=2", "'z' is given twice"),
        (NUMBER, "z=a", "'z=a' does not have a value like those of 'z=2,y=0.5'"),
        (SIZES, "0", "'0' is neither a whole number of 1 or more nor like 'z=1,y=256'"),
        (SIZES, "y=1.5", "'y=1.5' does not have a value"),
        (SIZES, "y=0", "'y=0' does not have a value"),
        (REGION, "x=5", "'x=5' is not a range like 'x=100:200um'"),
        (REGION, "x=:", "'x=:' is not a range"),
        (REGION, "x=1:2:3", "'x=1:2:3' is not a range"),
        (REGION, "x=a:b", "x: 'a' is no quantity"),
        (NUMBERS, "0,-1", "'0,-1' is not a list of numbers like '0,1,2'"),
        (NUMBERS, "a", "'a' is not a list of numbers"),
        (WELLS, "", "'' has an empty entry"),
        (BYTES, "2 apples", "is no number of bytes"),
        (STORE, "", "It is empty; name a path or a URL"),
    ],
)
def test_arguments_that_are_not_understood(
    kind: click.ParamType[Any], text: str, message: str
) -> None:
    with pytest.raises(click.BadParameter) as found:
        kind.convert(text, None, None)
    assert message in found.value.message
    assert found.value.exit_code == cli_support.USAGE


def test_defaults_are_taken_as_they_are() -> None:
    assert NUMBER.convert({"z": math.pi}, None, None) == {"z": math.pi}


@click.group()
@click.pass_context
def group(ctx: click.Context) -> None:
    cli_support.begin(ctx)


@group.command()
@version_option("0.5")
def speak(version: str) -> None:
    """Say all that can be said."""
    cli_support.say(f"said {version}, bar {options.get('progress')}")
    click.echo("asked")
    for _ in range(2):
        warnings.warn("ours", OmeZarrWarning, stacklevel=1)
        warnings.warn("https://me:word@host/", UserWarning, stacklevel=1)
    log = logging.getLogger("somewhere")
    log.debug("signature=%s", "secret")
    try:
        int("a")
    except ValueError:
        log.exception("failed")


cli_support.with_common_options(group)
cli_support.with_common_options(speak)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_as_much_is_told_as_is_wanted() -> None:
    hook, level = sys.unraisablehook, logging.getLogger().level
    result = run("speak")
    assert result.stdout == "said 0.5, bar True\nasked\n"
    assert result.stderr == "Warning: ours\n"

    for arguments in (["-q", "speak"], ["speak", "-q"], ["-v", "speak", "-qq"]):
        result = run(*arguments)
        assert result.stdout == "asked\n"
        assert result.stderr == ""

    for arguments in (["-v", "speak"], ["speak", "-v"]):
        told = run(*arguments).stderr
        assert "Warning: https://***@host/\n" in told
        assert "ERROR somewhere: failed\n" in told
        assert "Traceback" not in told
        assert "DEBUG" not in told

    told = run("-v", "speak", "--verbose").stderr
    assert "DEBUG somewhere: signature=***\n" in told
    assert "Traceback" in run("--debug", "speak", "-v").stderr

    assert options.get("progress") is False
    assert sys.unraisablehook is hook
    assert logging.getLogger().level == level


def test_versions_go_by_the_name_that_ome_zarr_has_too() -> None:
    assert "said 0.4" in run("speak", "--format", "0.4").stdout
    assert "said 0.6" in run("speak", "--version", "0.6").stdout


def test_ends_of_help_texts() -> None:
    assert cli_support.examples("a b") == "\b\nExample:\n  a b"
    assert cli_support.examples("a", "b") == "\b\nExamples:\n  a\n  b"


def test_reports_are_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    class Report:
        def __str__(self) -> str:
            return "text"

        def to_json(self) -> str:
            return '{"a": 1}'

    cli_support.print_report(Report(), as_json=False)
    cli_support.print_report(Report(), as_json=True)
    cli_support.print_report({"a": "µ"}, as_json=True)
    assert capsys.readouterr().out == 'text\n{"a": 1}\n{\n  "a": "\\u00b5"\n}\n'
