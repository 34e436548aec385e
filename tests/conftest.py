"""What all tests share: the hypothesis profiles and a store in memory."""

from __future__ import annotations

import os

import pytest
import zarr.storage
from hypothesis import HealthCheck, Phase, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

# "ci" is small and gives the same examples each time; "default" looks further and differs from run
# to run. `pytest --hypothesis-profile=ci` or HYPOTHESIS_PROFILE=ci chooses.
settings.register_profile(
    "ci",
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # shrinking a test that writes takes minutes
    suppress_health_check=_SLOW,
)
settings.register_profile("default", max_examples=40, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"),
)


@pytest.fixture
def memory() -> zarr.storage.MemoryStore:
    """Give an empty store that is gone with the test."""
    return zarr.storage.MemoryStore()
