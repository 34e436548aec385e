"""URLs of fsspec: what file system they name, and with which options it is asked for little."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.redaction import secrets_in, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    Options = dict[str, Any]

#: As many connections to a server as there are requests in flight.
_CONNECTIONS = 32
#: A server that says nothing for so many seconds is dead. However long an answer takes as a whole,
#: it comes bit by bit.
SILENCE = 60.0
#: How a missing package is got.
_EXTRA = 'pip install "xarray-omezarr[remote]"'
#: Packages by the protocols that need them, where fsspec does not name them itself.
_PACKAGES = {
    **dict.fromkeys(["http", "https"], "aiohttp"),
    **dict.fromkeys(["s3", "s3a"], "s3fs"),
    **dict.fromkeys(["gs", "gcs"], "gcsfs"),
    **dict.fromkeys(["abfs", "abfss", "az", "adl"], "adlfs"),
}


def file_system(
    url: str, options: Mapping[str, Any] | None = None, *, whole: bool = False
) -> tuple[Any, str]:
    """Make the file system that a URL names; without a request.

    Parameters
    ----------
    url
        A URL that fsspec knows, a chain of several among them.
    options
        What fsspec needs for it: those of a part of a chain under the name of its protocol.
    whole
        Whether the URL is that of one object, and not of a folder.

    Returns
    -------
    files, path
        The file system, asynchronous if it can be; and the path in it.
    """
    from fsspec.core import url_to_fs

    chain = url.split("::")
    given = {name: dict(v) if isinstance(v, dict) else v for name, v in (options or {}).items()}
    try:
        chain[-1], hidden = _without_credentials(chain[-1], whole=whole)
        for part in chain:
            protocol = part.partition("://")[0]
            own = given.pop(protocol, {})
            if len(chain) == 1:
                # Options need not stand under the name here.
                own, given = {**own, **given}, {"asynchronous": not whole}
            if part == chain[-1]:
                own |= {name: {**value, **own.get(name, {})} for name, value in hidden.items()}
            given[protocol] = {**_defaults(protocol, own), **own}
        files, path = url_to_fs("::".join(chain), **given)
    except ImportError as error:
        raise OmeZarrError(_missing(url, error)) from error
    except (ValueError, TypeError) as error:
        secrets = secrets_in(options or {})
        msg = f"{shown(url)} cannot be opened: {shown(str(error), secrets)}"
        raise OmeZarrError(msg) from (error if shown(str(error), secrets) == str(error) else None)
    return files, path


def asynchronous(files: Any) -> Any:  # noqa: ANN401 - of any package
    """Give a file system as Zarr takes it."""
    from fsspec.implementations.cached import CachingFileSystem

    if isinstance(files, CachingFileSystem):
        from xarray_omezarr.caches import CachedFiles

        return CachedFiles(files)
    if files.async_impl and files.asynchronous:
        return files
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    return AsyncFileSystemWrapper(files, asynchronous=True)


def _without_credentials(url: str, *, whole: bool) -> tuple[str, Options]:
    """Take credentials out of a URL of HTTP, to where requests have them and names do not.

    What follows the path of a folder has to follow that of each object in it.
    """
    if not re.match(r"(?i)https?://", url):
        return url, {}
    parts = urlsplit(url)
    found: Options = {}
    if parts.username is not None:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = b64encode(who.encode()).decode()
        found["headers"] = {"Authorization": f"Basic {token}"}
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    if parts.query and not whole:
        found["params"] = dict(parse_qsl(parts.query, keep_blank_values=True))
        parts = parts._replace(query="")
    return urlunsplit(parts), found


def _defaults(protocol: str, given: Mapping[str, Any]) -> Options:
    """Give options that make requests few and side by side, where nobody has said otherwise."""
    if protocol in {"http", "https"}:
        from aiohttp import ClientTimeout

        patience = ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        return {"client_kwargs": {"timeout": patience, **given.get("client_kwargs", {})}}
    if protocol in {"s3", "s3a"}:
        connections = {"max_pool_connections": _CONNECTIONS, **given.get("config_kwargs", {})}
        # Else it asks for the size of each object first; and believes what it once has listed.
        return {"config_kwargs": connections, "max_concurrency": 1, "use_listings_cache": False}
    return {}


def _missing(url: str, error: ImportError) -> str:
    protocols = [part.partition("://")[0] for part in url.split("::")]
    package = next((_PACKAGES[p] for p in reversed(protocols) if p in _PACKAGES), None)
    if package is None:
        return f"{shown(url)} cannot be opened: {error}"
    return f"{shown(url)} needs the package {package}, which is not installed: {_EXTRA}."
