"""A server whose connections share some threads."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

log = logging.getLogger(__name__)

#: So many requests are answered at a time; others wait.
THREADS: Final = 48
#: So many connections wait to be accepted.
_BACKLOG = 512
#: Seconds that the threads have to end.
_FAREWELL = 2.0


class Threads(HTTPServer):
    """A server whose connections share some threads, begun as they are needed."""

    request_queue_size = _BACKLOG
    allow_reuse_address = os.name != "nt"  # there it would share the port with others

    def __init__(self, handler: type[BaseHTTPRequestHandler], host: str, port: int) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self._waiting: queue.SimpleQueue[tuple[socket.socket, Any] | None] = queue.SimpleQueue()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind, without asking a name server what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self.allow_reuse_address)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def is_crowded(self) -> bool:
        """Say whether connections wait for a thread."""
        return not self._waiting.empty()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as typed there
        """Have a thread answer a connection."""
        with self._lock:
            self._open.add(request)
            if not self._idle and len(self._threads) < THREADS:
                name = f"xarray-omezarr-serve-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, daemon=True, name=name))
                self._threads[-1].start()
            else:
                self._idle -= self._idle > 0
        self._waiting.put((request, client_address))

    def _work(self) -> None:
        while (found := self._waiting.get()) is not None:
            request, address = found
            try:
                self.finish_request(request, address)
            except Exception:  # noqa: BLE001 - of one connection, no other is to know
                self.handle_error(request, address)
            finally:
                with self._lock:
                    self._open.discard(request)
                self.shutdown_request(request)
                with self._lock:
                    self._idle += 1

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Note that a connection broke."""
        log.debug("a connection broke: %s", sys.exception())

    def server_close(self) -> None:
        """Close all connections, and let the threads end."""
        super().server_close()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            threads, self._threads = self._threads, []
        for _ in threads:
            self._waiting.put(None)
        end = time.monotonic() + _FAREWELL
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
