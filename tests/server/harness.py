"""Shared helpers of the server tests: limits of this process and features of this machine."""

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """Lower a limit of this process: RLIMIT_FSIZE simulates a full disk, RLIMIT_NOFILE a lack of descriptors."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def has_ipv6() -> bool:
    """Whether ::1 can be bound: a container may support IPv6 without an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port that is free for IPv4 and IPv6."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as probe:
        return int(probe.getsockname()[1])
