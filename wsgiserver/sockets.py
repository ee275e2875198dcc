"""Where to listen: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH` -> a listening socket; or what systemd has opened.

No policy in here.
"""

import contextlib
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

BACKLOG: Final = 2048  # connections the kernel keeps for us; it takes the smaller of this and net.core.somaxconn

FIRST_INHERITED: Final = 3  # descriptor, as sd_listen_fds(3) has it


def listen(bind: str, mode: int = 0o660) -> socket.socket:
    """Return a non-blocking listening socket; `mode` is that of a unix socket's file.

    Raises ValueError for a bind that is none, OSError if it is taken.
    """
    path = bind.removeprefix("unix:")
    listener = _tcp(*host_and_port(bind)) if path == bind else _unix(Path(path), mode)
    listener.setblocking(False)
    return listener


def inherited(environment: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """Return the listening sockets that systemd, or who does as it does, has opened for process `pid`.

    The variables that say so are removed: they are not meant for processes that this one starts (sd_listen_fds(3)).
    Raises ValueError or OSError for what is no listening socket.
    """
    count, owner, _ = (environment.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    return [_adopt(FIRST_INHERITED + n) for n in range(int(count))] if count and owner == str(pid) else []


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    listener = socket.socket(fileno=fd)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"descriptor {fd} is no listening socket")
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def host_and_port(bind: str) -> tuple[str, int]:
    """Take `127.0.0.1:8000`, `[::1]:8000` or `:8000` apart."""
    host, colon, port = bind.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:  # noqa: PLR2004 - the last port
        raise ValueError(f"{bind!r} is not HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


def describe(listener: socket.socket) -> str:
    """Return a socket's own name as a bind: the real port where 0 was asked for."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(path: Path, mode: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _is_alive(path):  # anything else is not ours to remove
            path.unlink()  # left by an earlier run
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~mode)  # so that there is no moment in which the file has another mode
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _is_alive(path: Path) -> bool:
    """Whether somebody listens there: a path can be bound over, and the one who had it would never know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)  # seconds; a full backlog is somebody, too
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True
