"""What is kept when a write is interrupted, and what is made of it then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import kills

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("what", kills.SCENARIOS)
def test_killed_at_any_operation(tmp_path: Path, what: str) -> None:
    """`python -m tests.kills` kills more often."""
    for told, error in kills.trials(what, tmp_path, kills=5, kind="operation"):
        assert error is None, f"{told}: {error}"


@pytest.mark.parametrize("what", ["fresh", "replace-labels", "append", "region", "add"])
def test_killed_at_any_time(tmp_path: Path, what: str) -> None:
    for told, error in kills.trials(what, tmp_path, kills=2, kind="time"):
        assert error is None, f"{told}: {error}"
