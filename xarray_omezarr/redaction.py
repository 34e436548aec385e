"""What may be shown of names and messages that can hold credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: What stands where a secret was.
HIDDEN = "***"
#: Who comes, in a URL. Before the "@" of Azure's is a container, which is none.
_USER = re.compile(
    r"(?i)\b((?!abfss?:|wasbs?:|az:)[a-z][a-z0-9+.-]{0,20}://)[^/?#\s'\"<>]{1,2000}@"
)
#: All that a URL says after its path: tokens and signatures go by many names.
_QUERY = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s?'\"<>]{0,2000})\?[^\s'\"<>)\]]*")
#: The same where the rest of the URL is not told.
_PARAMETERS = re.compile(
    r"(?i)\b(x-amz-[a-z-]+|sig|signature|(?:access_?|sas_?)?token|awsaccesskeyid|api_?key|password)"
    r"=[^&\s'\"<>)]+"
)
#: What a request says of who makes it.
_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization['\":\s]{1,5})(?:basic|bearer)?\s*[^'\",\s]+")
#: Options whose values are nobody's business.
_SECRET = re.compile(
    r"(?i)(key|secret|token|pass|sas|sig|cred|auth|connection_?string|cookie|user|login)"
)
#: Shorter ones would be found in any text.
_SHORTEST = 4


def shown(text: str, secrets: Iterable[str] = ()) -> str:
    """Give a name or a message without the credentials in it.

    Parameters
    ----------
    text
        Anything, with any number of URLs in it.
    secrets
        What must not appear besides.

    Examples
    --------
    >>> shown("https://me:word@host/image.zarr?X-Amz-Signature=1f")
    'https://***@host/image.zarr?***'
    >>> shown("InvalidKey: 0815", ["0815"])
    'InvalidKey: ***'
    """
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return _PARAMETERS.sub(rf"\1={HIDDEN}", text)


def secrets_in(options: Mapping[str, Any]) -> frozenset[str]:
    """Give the values of options that must not appear anywhere.

    Examples
    --------
    >>> sorted(secrets_in({"anon": False, "s3": {"key": "AKIA0", "secret": "word"}}))
    ['AKIA0', 'word']
    """
    return frozenset(value for value in _secrets(options, inside=False) if len(value) >= _SHORTEST)


def _secrets(value: object, *, inside: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, inside=inside or bool(_SECRET.search(str(name))))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item, inside=inside)
    elif isinstance(value, str) and inside:
        yield value
