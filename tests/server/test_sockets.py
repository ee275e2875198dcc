"""Where to listen: names -> listening sockets, and what is no name."""

import os
import socket
import stat
from pathlib import Path

import pytest

from wsgiserver.sockets import describe, host_and_port, inherited, listen


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        (":8000", ("", 8000)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:80", ("::", 80)),
        ("8000", None),
        ("127.0.0.1", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:x", None),
        ("127.0.0.1:-1", None),
        ("127.0.0.1:+1", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:\xb2", None),
        ("http://127.0.0.1:80/", None),
        ("", None),
    ],
)
def test_names(bind: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="is not HOST:PORT or unix:PATH"):
            host_and_port(bind)
        with pytest.raises(ValueError, match="is not HOST:PORT or unix:PATH"):
            listen(bind)
    else:
        assert host_and_port(bind) == expected


def check(bind: str, family: socket.AddressFamily) -> None:
    """It listens, can be described, and what it is described as can be connected to."""
    with listen(bind) as listener:
        assert not listener.getblocking()
        name = describe(listener)
        address = name.removeprefix("unix:") if name.startswith("unix:") else host_and_port(name)
        with socket.socket(family) as client:
            client.connect(address)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.family == family
                if family != socket.AF_UNIX:
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_tcp() -> None:
    check("127.0.0.1:0", socket.AF_INET)
    check(":0", socket.AF_INET)


def has_ipv6() -> bool:
    """Whether ::1 can be bound: a container may know IPv6 and have no address of it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_tcp_over_ipv6() -> None:
    check("[::1]:0", socket.AF_INET6)


def test_unix(tmp_path: Path) -> None:
    path = tmp_path / "s"
    check(f"unix:{path}", socket.AF_UNIX)
    assert stat.S_ISSOCK(path.stat().st_mode)
    check(f"unix:{path}", socket.AF_UNIX)  # left behind by the first


def test_a_socket_that_somebody_listens_on_is_not_taken_over(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 's'}"
    with listen(bind), pytest.raises(OSError, match="in use"):
        listen(bind)


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        listen(f"unix:{path}")
    assert path.read_text() == "data"
    with pytest.raises(OSError, match="No such file"):
        listen(f"unix:{tmp_path}/missing/s")


def test_the_mode_of_a_unix_socket_leaves_that_of_other_files_alone(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for mode in (0o600, 0o666, 0o770):
            with listen(f"unix:{tmp_path / 's'}", mode):
                assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
        with pytest.raises(OSError, match="No such file"):
            listen(f"unix:{tmp_path}/missing/s", 0o666)
    finally:
        assert os.umask(before) == 0o027


def test_variables_of_inherited_sockets_are_removed() -> None:
    for owner in ("1", ""):
        variables = {"LISTEN_FDS": "1", "LISTEN_PID": owner, "LISTEN_FDNAMES": "x", "OTHER": "y"}
        assert inherited(variables, pid=2) == []
        assert variables == {"OTHER": "y"}
    with pytest.raises(ValueError, match="invalid literal"):
        inherited({"LISTEN_FDS": "x", "LISTEN_PID": "2"}, pid=2)
    assert inherited({}, pid=2) == []


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1:0") as listener, pytest.raises(OSError, match="in use"):
        listen(describe(listener))


def test_a_port_can_be_taken_again_at_once() -> None:
    """Connections of the server before are still in TIME_WAIT."""
    with listen("127.0.0.1:0") as listener:
        name = describe(listener)
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()
    listen(name).close()
