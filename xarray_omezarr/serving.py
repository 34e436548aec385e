"""A hierarchy over HTTP on this machine: its files, and the pages on which it is looked at."""

from __future__ import annotations

import ipaddress
import threading
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from xarray_omezarr import page
from xarray_omezarr.answers import Handler, Site
from xarray_omezarr.connections import Threads
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.exhibits import Hierarchy
from xarray_omezarr.gates import VALIDATOR, Gate
from xarray_omezarr.guess import local_path
from xarray_omezarr.shelves import Shelf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xarray_omezarr.gates import Viewer

#: The port that is tried first, and how many after it.
_PORT, _TRIED = 8000, 100
_PORTS = 2**16


def serve(
    path: Any,  # noqa: ANN401 - whatever the engine opens
    *,
    group: str | None = None,
    viewer: Viewer = "page",
    host: str = "127.0.0.1",
    port: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Server:
    """Show a hierarchy in the browser: serve its files, and pages to look at it, on this machine.

    The pages work without any network and without JavaScript. An image is shown with its labels,
    channels and planes to choose; a plate as a grid of its wells, with a page for each field; a
    series and a scene as lists. What is at a URL, or in a zip archive, is read through its store.
    Of a folder that is no OME-Zarr itself, all that are below it are listed (`find`), and nothing
    else in it can be seen.

    Only requests that name this machine are answered, only `GET`, `HEAD` and `OPTIONS`, and only
    with what is below the hierarchy: no symbolic link leads out of it. Nothing is written.

    Parameters
    ----------
    path : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where the hierarchy is, as for `xarray.open_dataset`.
    group : str, optional
        The path of a group in it that is served instead of all.
    viewer : {"page", "validator"}, default "page"
        What `Server.viewer_url` opens: the pages of this package, or the OME-NGFF validator online,
        whose site may then read the files. No other may, ever.
    host : str, default "127.0.0.1"
        The address to listen at. Any but that of this machine itself lets others on the network
        read the hierarchy; the validator reads from this machine alone.
    port : int, optional
        The port to listen at; 0 for any that is free. By default the first one from 8000
        on that is free.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    Server
        It serves until it is closed; as a context manager, until the block ends.

    Raises
    ------
    OmeZarrError
        Where there is nothing to look at, or the port cannot be had.

    Examples
    --------
    >>> import urllib.request
    >>> samples.coins().omezarr.to_zarr("coins.ome.zarr")
    >>> with serve("coins.ome.zarr", port=0) as server:
    ...     answer = urllib.request.urlopen(f"{server.data_url}/zarr.json")
    >>> answer.status, answer.headers["Content-Type"]
    (200, 'application/json')
    """
    if viewer not in {"page", "validator"}:
        msg = f"viewer={viewer!r:.40}: expected 'page' or 'validator'."
        raise OmeZarrError(msg)
    shown: Hierarchy | Shelf
    # What is nothing to look at is said here, not in the browser.
    try:
        shown = Hierarchy.at(path, group, storage_options)
    except OmeZarrError:
        folder = None if group or viewer == "validator" else local_path(path)
        if folder is None or not folder.is_dir():
            raise
        shown = Shelf.of(folder)
        if not shown.names:
            raise
    try:
        return Server(shown, viewer, host, port)
    except BaseException:
        shown.close()
        raise


class Server:
    """A hierarchy that is being served; `serve` makes one.

    It is closed at the end of a `with` block, or by `close`.
    """

    def __init__(
        self, hierarchy: Hierarchy | Shelf, viewer: Viewer, host: str, port: int | None
    ) -> None:
        self._hierarchy = hierarchy
        self._viewer = viewer
        self._http = _listening(Site(hierarchy, Gate(viewer, host)), host, port)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True,
            name="xarray-omezarr-serve",
        )  # fmt: skip
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the first page, like ``http://127.0.0.1:8000``."""
        host, port = self._http.server_address[:2]
        name = str(host)
        if ipaddress.ip_address(name).is_unspecified:
            name = "127.0.0.1"
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

    @property
    def data_url(self) -> str:
        """The address of the hierarchy's files, for other programs of this machine."""
        return f"{self.url}{page.DATA}{quote(self._hierarchy.name)}"

    @property
    def viewer_url(self) -> str:
        """The address to open in a browser."""
        if self._viewer == "page":
            return f"{self.url}/"
        return f"{VALIDATOR}?source={quote(self.data_url, safe=':/')}"

    def open(self) -> bool:
        """Open it in the browser, and say whether there is one."""
        return webbrowser.open(self.viewer_url)

    def wait(self) -> None:
        """Wait until the server is closed, or Ctrl-C is pressed."""
        with suppress(KeyboardInterrupt):
            # A wait without a limit cannot be interrupted everywhere.
            while self._thread.is_alive():
                self._thread.join(0.5)

    def close(self) -> None:
        """Stop serving, and close all connections."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        self._hierarchy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server of {self._hierarchy.where('')} at {self.url}>"


def _listening(site: Site, host: str, port: int | None) -> Threads:
    """Listen at a port, or the first that is free."""
    wanted = [*range(_PORT, _PORT + _TRIED), 0] if port is None else [port]
    if not all(isinstance(one, int) and 0 <= one < _PORTS for one in wanted):
        msg = f"port={port!r:.40}: expected a number up to 65535; 0 is any that is free."
        raise OmeZarrError(msg)
    handler = type("SiteHandler", (Handler,), {"site": site})
    reason = ""
    for one in wanted:
        try:
            return Threads(handler, host, one)
        except OSError as error:
            reason = error.strerror or str(error)
    what = f"port={port}" if port is not None else f"host={host!r}"
    msg = f"{what} cannot be listened at: {reason}. port=0 takes any port that is free."
    raise OmeZarrError(msg)
