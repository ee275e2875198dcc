"""Where to listen: names -> listening sockets, and what is no name."""

import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.harness import has_ipv6, port_that_is_free
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
def test_names(bind: str, expected: tuple[str, int] | None) -> None:
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
    """On a bind that has one address."""
    (listener,) = listeners.listen(places(bind), mode)
    return listener


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
    with pytest.raises(ValueError, match=r"^'x' is not a number of descriptors; write digits$"):
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


# --- several at once --------------------------------------------------------------------------------------------------


def answers(port: int) -> set[str]:
    """The addresses at which something listens on this port."""
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
        (["[::]:{}"], {"127.0.0.1", "::1"}),  # as the system has it: net.ipv6.bindv6only
        (["0.0.0.0:{}"], {"127.0.0.1"}),
        (["[::1]:{}"], {"::1"}),
    ],
)
def test_both_families_on_one_port(binds: list[str], expected: set[str]) -> None:
    port = port_that_is_free()
    found = listeners.find({"--bind": [bind.format(port) for bind in binds]})
    with ExitStack() as opened:
        for of_a_bind in listeners.listen_all(found, "--bind", 0o660):
            for listener in of_a_bind:
                opened.enter_context(listener)
        assert answers(port) == expected


V4, V6 = (Place("name:0", socket.AF_INET, ("127.0.0.1", 0)), Place("name:0", socket.AF_INET6, ("::1", 0, 0, 0)))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("found", [[V4, V6], [V6, V4]])
def test_a_name_is_listened_on_at_all_of_its_addresses_by_one_port(found: list[Place]) -> None:
    """As localhost, whose first address is not the one that every client takes."""
    with ExitStack() as opened:
        bound = [opened.enter_context(listener) for listener in listeners.listen(found)]
        (port,) = {listener.getsockname()[1] for listener in bound}
        assert answers(port) == {"127.0.0.1", "::1"}


NOT_OURS = Place("name:0", socket.AF_INET6, ("2001:db8::1", 0, 0, 0))  # RFC 3849: nobody has it


@pytest.mark.parametrize("found", [[V4, NOT_OURS], [NOT_OURS, V4]])
def test_an_address_of_a_name_that_this_machine_has_not_is_left_out(found: list[Place]) -> None:
    (listener,) = listeners.listen(found)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match=r"assign|not supported"):
        listeners.listen([NOT_OURS])


def test_a_name_whose_port_is_taken_at_one_address_is_not_listened_on_at_the_others() -> None:
    with listen("127.0.0.2:0") as taken:
        port = taken.getsockname()[1]
        found = [Place("name", socket.AF_INET, (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        with pytest.raises(OSError, match="in use"):
            listeners.listen(found)
        assert answers(port) == set()


@pytest.mark.parametrize(
    "binds", [["127.0.0.1:0", "127.0.0.1:0"], [":1", "[::]:1"], [":1", ":2"], ["unix:a", "unix:b"]]
)
def test_places_that_do_not_overlap(binds: list[str]) -> None:
    refuse_overlaps(place for bind in binds for place in places(bind))
