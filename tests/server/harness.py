"""What the server's tests share beside tests/wire: limits of this process, and what this machine has."""

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """Let the kernel refuse this process more: RLIMIT_FSIZE stands for a full disk, RLIMIT_NOFILE for descriptors."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def has_ipv6() -> bool:
    """Whether ::1 can be bound: a container may know IPv6 and have no address of it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def port_that_is_free() -> int:
    """Of either family."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as probe:
        return int(probe.getsockname()[1])
