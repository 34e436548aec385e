"""What tests share: hypothesis profiles, an empty store, a plate, a cluster, a site, a bucket."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zarr.storage
from hypothesis import HealthCheck, Phase, settings

from tests import forks
from tests.helpers import cluster
from tests.servers import S3, S3Server, Site, s3_server, site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

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


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Hear of Ctrl-C also where a script has started the tests in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a plate that no test changes."""
    from tests.screening import put_plate

    return put_plate(tmp_path_factory.mktemp("template") / "plate.zarr")


@pytest.fixture
def plate(template: Path, tmp_path: Path) -> Path:
    """Give a plate of one's own."""
    return Path(shutil.copytree(template, tmp_path / "plate.zarr"))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Give a cluster of two processes, which gives a task up that has killed two."""
    with cluster(allowed_failures=1, set_as_default=False) as client:
        yield client


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have new processes be copies of one, as each would take seconds to import what it needs."""
    copies = forks.context()
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: copies)


@pytest.fixture
def memory() -> zarr.storage.MemoryStore:
    """Give an empty store that is gone with the test."""
    return zarr.storage.MemoryStore()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Site]:
    """Serve the folder `site` of the test's own, on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    with site(folder) as found:
        yield found


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch:
        # Whatever is set on this machine; and there is no role to be asked for over the network.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with s3_server() as server:
            yield server


@pytest.fixture
def s3(_s3_server: S3Server) -> Iterator[S3]:
    """Give an empty bucket: `s3.url`, with `s3.storage_options`."""
    _s3_server.asked.clear()
    yield _s3_server.bucket()
    _s3_server.answer = lambda _: None
