"""Who may ask a server on this machine, and for what.

Whoever names this machine in `Host` may, so that no name of somebody else's leads here (DNS
rebinding); and no other site in `Origin`, but the one viewer that was asked for.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final, Literal

from xarray_omezarr.page import DATA

Viewer = Literal["page", "validator"]

#: Where the OME-NGFF validator is, and the only site that may read the files when it is wanted.
VALIDATOR: Final = "https://ome.github.io/ome-ngff-validator/"
VALIDATOR_ORIGIN: Final = "https://ome.github.io"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Gate:
    """Who may ask."""

    viewer: Viewer
    host: str

    def is_named(self, host: str) -> bool:
        """Say whether a `Host` header names this machine.

        Names of others may lead here as well, by their name server; an address cannot.
        """
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower()
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            known = {"localhost", self.host.lower()}
            if not self.is_closed:
                known |= {socket.gethostname().lower(), socket.getfqdn().lower()}
            return name in known
        return address.is_loopback or not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Say whether only this machine itself is listened to."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def admits(self, origin: str, host: str, path: str) -> bool:
        """Say whether a site may ask: the pages themselves, and the viewer for files."""
        if origin.lower() == f"http://{host}".lower():
            return True
        viewing = self.viewer == "validator" and path.startswith(DATA)
        return viewing and origin == VALIDATOR_ORIGIN
