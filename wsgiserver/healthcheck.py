"""`wsgiserver healthcheck [--ready] [BIND]`: queries the admin listener of a server on this machine, for containers.

It exits with 0 for "yes", and with 1 and one line of explanation for anything else, after `PATIENCE` at most. An image
needs no other program for its health check. Only the address of the server is known here, so that the command starts
fast.
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Final

from wsgiserver.process.listeners import host_and_port

BIND_VARIABLE: Final = "WSGISERVER_ADMIN_BIND"
TIMEOUT: Final = 5.0  # seconds
_NO_BIND: Final = f"neither BIND nor {BIND_VARIABLE} is set; write BIND, such as 127.0.0.1:9000"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="wsgiserver healthcheck", description="Query the health of a running server.")
    parser.add_argument(
        "--ready",
        action="store_true",
        help="query whether it takes requests (/readyz), not only whether it lives (/healthz)",
    )
    parser.add_argument(
        "bind",
        nargs="?",
        default=os.environ.get(BIND_VARIABLE, ""),
        help=f"address of its admin listener (default: {BIND_VARIABLE})",
    )
    given = parser.parse_args(arguments)
    bind = given.bind.partition(",")[0].strip()
    try:
        status, text = ask(bind, "/readyz" if given.ready else "/healthz", TIMEOUT) if bind else (0, _NO_BIND)
    except (OSError, ValueError) as error:
        status, text = 0, str(error.strerror or error) if isinstance(error, OSError) else str(error)
    if status != 200:  # noqa: PLR2004 - OK
        print(f"wsgiserver healthcheck: {text.strip()}", file=sys.stderr)  # noqa: T201 - the command line speaks
        return 1
    return 0


def ask(bind: str, path: str, patience: float) -> tuple[int, str]:
    """Return status and body of the response. Raises OSError where there is none, ValueError for another server's."""
    deadline = monotonic() + patience
    answer = b""
    with _connected(bind, patience) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while received := sock.recv(4096):
            answer += received
            sock.settimeout(max(deadline - monotonic(), 0.001))  # 0 would mean to wait forever, or not at all
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    match = re.match(r"HTTP/1\.1 ([0-9]{3}) ", head)
    if match is None or not body:
        raise ValueError(f"{bind} does not answer as a wsgiserver does; BIND has to be the --admin-bind of one")
    return int(match[1]), body


def _connected(bind: str, patience: float) -> socket.socket:
    if not bind.startswith("unix:"):
        host, port = host_and_port(bind)  # "any address" is this machine, when called
        return socket.create_connection((host or "127.0.0.1", port), patience)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(patience)
    sock.connect(bind.removeprefix("unix:"))
    return sock
