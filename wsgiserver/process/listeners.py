"""Where to listen: `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH` -> places -> listening sockets; or the sockets of systemd.

A host may have several addresses, as localhost usually has; each is a place. All places of a server are determined
before the first is opened, because `[::]:PORT` takes IPv4 connections too, unless an IPv4 place has the same port.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

BACKLOG: Final = 2048  # connections the kernel keeps for us; it takes the smaller of this and net.core.somaxconn

MAX_PORT: Final = 65535
FIRST_INHERITED: Final = 3  # descriptor, as sd_listen_fds(3) has it
_ANY_HOST: Final = {"0.0.0.0", "::"}
# An address that a name has and this machine has not, as ::1 in a container without IPv6.
_UNAVAILABLE_ERRORS: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Place(NamedTuple):
    """One address to listen on, and the bind that it comes from."""

    bind: str
    family: int
    address: Any  # as socket.bind() takes it: host, port, and more for IPv6; or the path of a unix socket

    def includes(self, other: "Place") -> bool:
        """Return whether a listener here takes all connections to `other`. Port 0 is a different one each time."""
        if self.family != other.family:
            return False
        if self.family == socket.AF_UNIX:
            return bool(os.path.realpath(self.address) == os.path.realpath(other.address))
        port: int = self.address[1]
        is_same: bool = self.address == other.address
        return port != 0 and (is_same or (self.address[0] in _ANY_HOST and port == other.address[1]))


def places(bind: str) -> list[Place]:
    """Return every address of a bind. Raises ValueError for a malformed bind, OSError for an unknown host."""
    path = bind.removeprefix("unix:")
    if path != bind:
        return [Place(bind, socket.AF_UNIX, path)]
    host, port = host_and_port(bind)
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(Place(bind, family, address) for family, _, _, _, address in found))


def refuse_overlaps(wanted: Iterable[Place]) -> None:
    """Raise ValueError for two places of which one includes the other; only one of them could be opened."""
    for one, other in combinations(wanted, 2):
        outer, inner = (one, other) if one.includes(other) else (other, one)
        if outer.includes(inner):
            same = "is given twice" if one.bind == other.bind else f"is the same address as {other.bind}"
            text = same if inner.includes(outer) else f"includes {inner.bind}"
            raise ValueError(f"{outer.bind} {text}; leave one out")


Found = Mapping[str, Sequence[Sequence[Place]]]  # flag -> binds -> places


def find(binds: Mapping[str, Iterable[str]]) -> Found:
    """Return all places of a server: `binds` are those of each flag.

    Raises ValueError, which begins with the flag, for a bind that is none, or two that exclude each other; OSError for
    a host that is unknown.
    """
    found: dict[str, list[list[Place]]] = {}
    for flag, given in binds.items():
        for bind in given:
            try:
                found.setdefault(flag, []).append(places(bind))
                refuse_overlaps(_all(found))
            except ValueError as error:
                raise ValueError(f"{flag}: {error}") from error
            except OSError as error:
                raise _cannot_listen(bind, error) from error
    return found


def listen_all(found: Found, flag: str, mode: int) -> list[list[socket.socket]]:
    """Return the listening sockets of each bind of one flag.

    Raises OSError, which names the bind, if one is taken; then none is left open.
    """
    ipv4_ports = {place.address[1] for place in _all(found) if place.family == socket.AF_INET}
    opened: list[list[socket.socket]] = []
    for wanted in found.get(flag, ()):
        try:
            opened.append(listen(wanted, mode, ipv4_ports))
        except OSError as error:
            for listener in chain.from_iterable(opened):
                listener.close()
            raise _cannot_listen(wanted[0].bind, error) from error
    return opened


def _all(found: Found) -> list[Place]:
    return [place for binds in found.values() for one in binds for place in one]


def _cannot_listen(bind: str, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot listen on {bind}: {error.strerror or error}")


def listen(wanted: Sequence[Place], mode: int = 0o660, ipv4_ports: Iterable[int] = ()) -> list[socket.socket]:
    """Return non-blocking listening sockets for the places of one bind, as many of them as this machine has.

    `mode` is that of a unix socket's file, `ipv4_ports` those that are listened on by IPv4. Raises OSError if one is
    taken, or none is here.
    """
    listeners: list[socket.socket] = []
    for place in wanted:
        try:
            listeners.append(_open(_with_port_of(listeners, place), mode, ipv4_ports))
        except OSError as error:
            is_last = place is wanted[-1]
            if error.errno not in _UNAVAILABLE_ERRORS or (is_last and not listeners):
                for listener in listeners:
                    listener.close()
                raise
    return listeners


def _with_port_of(listeners: list[socket.socket], place: Place) -> Place:
    """The other addresses of a name get the port that the kernel chose for the first one."""
    if not listeners or place.address[1]:
        return place
    host, _, *more = place.address
    return place._replace(address=(host, listeners[0].getsockname()[1], *more))


def _open(place: Place, mode: int, ipv4_ports: Iterable[int]) -> socket.socket:
    if place.family == socket.AF_UNIX:
        listener = _unix(Path(place.address), mode)
    else:
        listener = _tcp(place, is_ipv6_only=place.address[0] == "::" and place.address[1] in ipv4_ports)
    listener.setblocking(False)
    return listener


def inherited(environment: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """Return the listening sockets that systemd, or a program like it, has opened for process `pid`.

    The variables that name them are removed: they are not meant for processes that this one starts (sd_listen_fds(3)).
    Raises ValueError or OSError for a descriptor that is not a listening socket.
    """
    count, owner, _ = (environment.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    if not count or owner != str(pid):
        return []
    if not (count.isascii() and count.isdigit()):
        raise ValueError(f"{count!r} is not a number of descriptors; write digits")
    return [_adopt(FIRST_INHERITED + n) for n in range(int(count))]


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    listener = socket.socket(fileno=fd)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"descriptor {fd} is not a listening socket; pass sockets that listen")
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def host_and_port(bind: str) -> tuple[str, int]:
    """Take `127.0.0.1:8000`, `[::1]:8000` or `:8000` apart."""
    host, colon, port = bind.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{bind!r} is not HOST:PORT or unix:PATH; write one such as 127.0.0.1:8000")
    if int(port) > MAX_PORT:
        raise ValueError(f"{bind!r} has a port above {MAX_PORT}; write one such as 127.0.0.1:8000")
    if host == "*":
        raise ValueError(f"{bind!r} has a star for the host; for every address write :{port}, or [::]:{port} with IPv6")
    return host.removeprefix("[").removesuffix("]"), int(port)


def describe(listener: socket.socket) -> str:
    """Return the address of a socket as a bind, with the real port instead of 0."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _tcp(place: Place, *, is_ipv6_only: bool) -> socket.socket:
    listener = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        if is_ipv6_only:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # ipv6(7)
        listener.bind(place.address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(path: Path, mode: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _is_alive(path):  # nothing else is removed
            path.unlink()  # left by an earlier run
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):  # Linux: the file is then born with no more than this, whatever the umask
        os.fchmod(listener.fileno(), mode)
    try:
        listener.bind(str(path))
        path.chmod(mode)  # before a client can connect; a umask would apply to all threads
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_alive(path: Path) -> bool:
    """Return whether a process listens there. A path can be bound again, which that process would not notice."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)  # seconds; a full backlog means a listener too
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True
