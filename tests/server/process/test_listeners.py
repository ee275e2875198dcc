"""Where to listen: names -> listening sockets, and invalid names."""

import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.harness import free_port, has_ipv6
from wsgiserver.process import listeners
from wsgiserver.process.listeners import Place, describe, host_and_port, inherited, places, refuse_overlaps


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
        ("127.0.0.1:\xb2", None),
        ("http://127.0.0.1:80/", None),
        ("", None),
    ],
)
def test_a_bind_is_parsed_as_host_and_port_or_refused(bind: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="is not HOST:PORT or unix:PATH"):
            host_and_port(bind)
        with pytest.raises(ValueError, match="is not HOST:PORT or unix:PATH"):
            listen(bind)
    else:
        assert host_and_port(bind) == expected


def test_a_port_beyond_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'127\.0\.0\.1:65536' has a port above 65535; write one such as 127"):
        host_and_port("127.0.0.1:65536")


def listen(bind: str, mode: int = 0o660) -> socket.socket:
    """Listen on a bind with one address."""
    (listener,) = listeners.listen(places(bind), mode)
    return listener


def check(bind: str, family: socket.AddressFamily) -> None:
    """The bind listens, and its description is an address that accepts connections."""
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


def test_an_ipv4_bind_listens_on_tcp() -> None:
    check("127.0.0.1:0", socket.AF_INET)
    check(":0", socket.AF_INET)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_an_ipv6_bind_listens_on_tcp() -> None:
    check("[::1]:0", socket.AF_INET6)


def test_a_unix_bind_listens_and_replaces_a_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    check(f"unix:{path}", socket.AF_UNIX)
    assert stat.S_ISSOCK(path.stat().st_mode)
    check(f"unix:{path}", socket.AF_UNIX)  # the first call left its socket behind


def test_a_unix_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 's'}"
    with listen(bind), pytest.raises(OSError, match="in use"):
        listen(bind)


def test_a_file_that_is_not_a_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        listen(f"unix:{path}")
    assert path.read_text() == "data"
    with pytest.raises(OSError, match="No such file"):
        listen(f"unix:{tmp_path}/missing/s")


def test_setting_the_mode_of_a_unix_socket_restores_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for mode in (0o600, 0o666, 0o770):
            with listen(f"unix:{tmp_path / 's'}", mode):
                assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
        with pytest.raises(OSError, match="No such file"):
            listen(f"unix:{tmp_path}/missing/s", 0o666)
    finally:
        assert os.umask(before) == 0o027


def test_the_variables_of_socket_activation_are_removed() -> None:
    for owner in ("1", ""):
        variables = {"LISTEN_FDS": "1", "LISTEN_PID": owner, "LISTEN_FDNAMES": "x", "OTHER": "y"}
        assert inherited(variables, pid=2) == []
        assert variables == {"OTHER": "y"}
    with pytest.raises(ValueError, match=r"^'x' is not a number of descriptors; write digits$"):
        inherited({"LISTEN_FDS": "x", "LISTEN_PID": "2"}, pid=2)
    assert inherited({}, pid=2) == []


def test_a_port_in_use_is_refused() -> None:
    with listen("127.0.0.1:0") as listener, pytest.raises(OSError, match="in use"):
        listen(describe(listener))


def test_a_port_can_be_reused_at_once() -> None:
    """Connections of the previous server are still in TIME_WAIT."""
    with listen("127.0.0.1:0") as listener:
        name = describe(listener)
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()
    listen(name).close()


# --- several binds ----------------------------------------------------------------------------------------------------


def answers(port: int) -> set[str]:
    """The addresses on which this port is open."""
    found = set()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            if client.connect_ex((host, port)) == 0:
                found.add(host)
    return found


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize(
    ("binds", "expected"),
    [
        (["0.0.0.0:{}", "[::]:{}"], {"127.0.0.1", "::1"}),
        (["[::]:{}", "0.0.0.0:{}"], {"127.0.0.1", "::1"}),
        ([":{}", "[::]:{}"], {"127.0.0.1", "::1"}),
        (["127.0.0.1:{}", "[::]:{}"], {"127.0.0.1", "::1"}),
        (["[::]:{}", "127.0.0.1:{}"], {"127.0.0.1", "::1"}),
        (["127.0.0.1:{}", "[::1]:{}"], {"127.0.0.1", "::1"}),
        (["[::]:{}"], {"127.0.0.1", "::1"}),  # the system's default: net.ipv6.bindv6only
        (["0.0.0.0:{}"], {"127.0.0.1"}),
        (["[::1]:{}"], {"::1"}),
    ],
)
def test_ipv4_and_ipv6_binds_can_share_one_port(binds: list[str], expected: set[str]) -> None:
    port = free_port()
    found = listeners.find({"--bind": [bind.format(port) for bind in binds]})
    with ExitStack() as opened:
        for group in listeners.listen_all(found, "--bind", 0o660):
            for listener in group:
                opened.enter_context(listener)
        assert answers(port) == expected


V4, V6 = (Place("name:0", socket.AF_INET, ("127.0.0.1", 0)), Place("name:0", socket.AF_INET6, ("::1", 0, 0, 0)))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("found", [[V4, V6], [V6, V4]], ids=["IPv4 first", "IPv6 first"])
def test_a_host_name_listens_on_all_its_addresses_with_one_port(found: list[Place]) -> None:
    """As for localhost: not every client uses its first address."""
    with ExitStack() as opened:
        bound = [opened.enter_context(listener) for listener in listeners.listen(found)]
        (port,) = {listener.getsockname()[1] for listener in bound}
        assert answers(port) == {"127.0.0.1", "::1"}


FOREIGN = Place("name:0", socket.AF_INET6, ("2001:db8::1", 0, 0, 0))  # RFC 3849: an address for documentation only


@pytest.mark.parametrize("found", [[V4, FOREIGN], [FOREIGN, V4]], ids=["missing last", "missing first"])
def test_an_address_of_a_host_name_that_this_machine_lacks_is_skipped(found: list[Place]) -> None:
    (listener,) = listeners.listen(found)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match=r"assign|not supported"):
        listeners.listen([FOREIGN])


def test_a_host_name_with_a_port_in_use_at_one_address_listens_nowhere() -> None:
    with listen("127.0.0.2:0") as taken:
        port = taken.getsockname()[1]
        found = [Place("name", socket.AF_INET, (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        with pytest.raises(OSError, match="in use"):
            listeners.listen(found)
        assert answers(port) == set()


@pytest.mark.parametrize(
    "binds",
    [["127.0.0.1:0", "127.0.0.1:0"], [":1", "[::]:1"], [":1", ":2"], ["unix:a", "unix:b"]],
    ids=" and ".join,
)
def test_binds_that_do_not_overlap_are_accepted(binds: list[str]) -> None:
    refuse_overlaps(place for bind in binds for place in places(bind))
