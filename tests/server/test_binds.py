"""Binds and their options: the same meaning as a flag, as a variable and in a file."""

import re
from typing import Any

import pytest

from wsgiserver.binds import PROTOCOLS, Bind, Options, binds, describe
from wsgiserver.process.wiring import KINDS
from wsgiserver.settings import from_file, from_flags, from_variables, options, settle
from wsgiserver.values import SettingError

PROXIES = ("10.0.0.0/8", "fd00::/8")
ALL = {"scheme": "https", "proxy_protocol": True, "forwarded_allow_ips": PROXIES}

# Text -> its meaning.
TEXTS: dict[str, list[Bind]] = {
    ":8000": [Bind(":8000")],
    ":8000,scheme=https": [Bind(":8000", {"scheme": "https"})],
    ":1, scheme=https , :2": [Bind(":1", {"scheme": "https"}), Bind(":2")],
    ":1,:2,scheme=https": [Bind(":1"), Bind(":2", {"scheme": "https"})],
    "[::1]:8000,proxy-protocol=on,scheme=https,forwarded-allow-ips=10.0.0.0/8+fd00::/8": [Bind("[::1]:8000", ALL)],
    "[fe80::1%eth0]:8000,proxy-protocol=off": [Bind("[fe80::1%eth0]:8000", {"proxy_protocol": False})],
    "unix:/run/web.sock,scheme=https": [Bind("unix:/run/web.sock", {"scheme": "https"})],
    "unix:a=b": [Bind("unix:a=b")],
    "unix:/scheme=https,scheme=http": [Bind("unix:/scheme=https", {"scheme": "http"})],
    "fd://3,scheme=https": [Bind("fd://3", {"scheme": "https"})],
    ":1,forwarded-allow-ips=*": [Bind(":1", {"forwarded_allow_ips": ("*",)})],
    ":1,forwarded-allow-ips=": [Bind(":1", {"forwarded_allow_ips": ()})],
    ":1,protocol=http": [Bind(":1", {"protocol": "http"})],
}

# Text -> the error message.
INVALID_TEXTS = {
    ":1,scheme=ftp": "--bind :1: scheme: 'ftp' is not known here; write http or https",
    ":1,protocol=fastcgi": "--bind :1: protocol: 'fastcgi' is not known here; write http",
    ":1,proxy-protocol=2": "--bind :1: proxy-protocol: '2' is neither yes nor no; write yes or no, or on or off",
    ":1,proxy-protocl=on": "--bind :1: proxy-protocl is not an option of a listener; the nearest is proxy-protocol",
    ":1,proxy_protocol=on": "--bind :1: proxy_protocol is not an option of a listener; the nearest is proxy-protocol",
    ":1,backlog=5": (
        "--bind :1: backlog is not an option of a listener; use one of protocol, scheme, "
        "proxy-protocol, forwarded-allow-ips"
    ),
    ":1,proxy-protocol": ("--bind: ':1,proxy-protocol' has proxy-protocol without a value; write proxy-protocol=VALUE"),
    ":1,scheme=http,scheme=https": "--bind: ':1,scheme=http,scheme=https' has scheme twice for :1; leave one out",
    "scheme=https": (
        "--bind: 'scheme=https' has scheme=https before any address; write HOST:PORT or "
        "unix:PATH, such as 127.0.0.1:8000"
    ),
    "scheme=https,:1": (
        "--bind: 'scheme=https,:1' has scheme=https before any address; write HOST:PORT or "
        "unix:PATH, such as 127.0.0.1:8000"
    ),
    ",": "--bind: ',' has no address; write HOST:PORT or unix:PATH, such as 127.0.0.1:8000",
}

# Table of a file -> its meaning or the error message.
TABLES: dict[str, list[Bind] | str] = {
    "address = ':1'": [Bind(":1")],
    "address = ':1'\nscheme = 'https'\nproxy_protocol = true\nforwarded_allow_ips = ['10.0.0.0/8', 'fd00::/8']": [
        Bind(":1", ALL)
    ],
    "address = ':1'\nproxy_protocol = 'on'\nforwarded_allow_ips = '10.0.0.0/8, ::1'": [
        Bind(":1", {"proxy_protocol": True, "forwarded_allow_ips": ("10.0.0.0/8", "::1")})
    ],
    "address = ':1'\nforwarded_allow_ips = []": [Bind(":1", {"forwarded_allow_ips": ()})],
    "address = ':1'\n[[bind]]\naddress = 'unix:/x'": [Bind(":1"), Bind("unix:/x")],
    "scheme = 'https'": (
        "x.toml: bind: address = None is not one address; write HOST:PORT or unix:PATH, such "
        "as 127.0.0.1:8000, in quotes"
    ),
    "address = 8000": (
        "x.toml: bind: address = 8000 is not one address; write HOST:PORT or unix:PATH, such "
        "as 127.0.0.1:8000, in quotes"
    ),
    "address = ''": (
        "x.toml: bind: address = '' is not one address; write HOST:PORT or unix:PATH, such as 127.0.0.1:8000, in quotes"
    ),
    "address = ':1,scheme=https'": (
        "x.toml: bind: address = ':1,scheme=https' is not one address; write HOST:PORT or "
        "unix:PATH, such as 127.0.0.1:8000, in quotes"
    ),
    "address = ':1'\nproxy = true": (
        "x.toml: bind :1: proxy is not an option of a listener; use one of protocol, scheme, "
        "proxy_protocol, forwarded_allow_ips"
    ),
    "address = ':1'\nproxy-protocol = true": (
        "x.toml: bind :1: proxy-protocol is not an option of a listener; the nearest is proxy_protocol"
    ),
    "address = ':1'\nproxy_protocol = 1": (
        "x.toml: bind :1: proxy_protocol: 1 is of type int; write true or false, or a string"
    ),
    "address = ':1'\nscheme = true": "x.toml: bind :1: scheme: True is of type bool; write a string",
    "address = ':1'\nscheme = ['https']": "x.toml: bind :1: scheme: ['https'] is of type list; write a string",
    "address = ':1'\nforwarded_allow_ips = [1]": (
        "x.toml: bind :1: forwarded_allow_ips: 1 is of type int; write a string"
    ),
    "address = ':1'\nscheme = 'ftp'": "x.toml: bind :1: scheme: 'ftp' is not known here; write http or https",
    "address = ':1'\nscheme = 'http'\nscheme = 'https'": (
        "x.toml: line 4 sets a name that has a value already; leave one of them out"
    ),
    "address = ':1'\n[bind.more]\nx = 1": (
        "x.toml: bind :1: more is not an option of a listener; use one of protocol, scheme, "
        "proxy_protocol, forwarded_allow_ips"
    ),
}


def check(text: str, expected: Any) -> None:
    """The text has the same meaning in each source."""
    assert from_flags({"--bind": [text]}) == {"bind": expected}
    assert from_variables({"WSGISERVER_BIND": text}) == {"bind": expected}
    assert from_file(f'bind = "{text}"'.encode(), "x.toml") == {"bind": expected}
    assert from_file(f'bind = ["{text}"]'.encode(), "x.toml") == {"bind": expected}


@pytest.mark.parametrize("text", TEXTS)
def test_a_bind_and_its_options_are_parsed_from_text(text: str) -> None:
    check(text, tuple(TEXTS[text]))


@pytest.mark.parametrize("text", INVALID_TEXTS)
def test_an_invalid_bind_is_refused_with_the_text_of_the_user(text: str) -> None:
    with pytest.raises(SettingError) as error:
        from_flags({"--bind": [":9", text]})
    assert str(error.value) == INVALID_TEXTS[text]


@pytest.mark.parametrize("table", TABLES)
def test_a_bind_and_its_options_are_parsed_from_a_toml_table(table: str) -> None:
    expected = TABLES[table]
    if isinstance(expected, str):
        with pytest.raises(SettingError, match=f"^{re.escape(expected)}$"):
            from_file(f"[[bind]]\n{table}\n".encode(), "x.toml")
    else:
        assert from_file(f"[[bind]]\n{table}\n".encode(), "x.toml") == {"bind": tuple(expected)}


def test_texts_and_tables_can_be_mixed_in_a_file() -> None:
    line = b"bind = [':1,scheme=https', {address = ':2', scheme = 'https'}, ':3']"
    expected = (Bind(":1", {"scheme": "https"}), Bind(":2", {"scheme": "https"}), Bind(":3"))
    assert from_file(line, "x.toml") == {"bind": expected}


def test_an_option_cannot_follow_the_address_of_another_flag() -> None:
    with pytest.raises(SettingError, match=r"^--bind: 'scheme=https' has scheme=https before any address"):
        from_flags({"--bind": [":1", "scheme=https"]})


@pytest.mark.parametrize("text", [":1,scheme=https", "scheme=https"])
def test_the_admin_listener_takes_no_options(text: str) -> None:
    with pytest.raises(
        SettingError, match=r"^--admin-bind: '.*' has the option scheme=https, which only --bind takes; leave it out$"
    ):
        from_flags({"--admin-bind": [text]})


def test_a_setting_is_the_default_of_the_bind_option_with_its_name() -> None:
    texts = [":1", ":2,proxy-protocol=off", ":3,forwarded-allow-ips=::1", ":4,scheme=https"]
    settings = settle(from_flags({"--bind": texts, "--proxy-protocol": "yes", "--forwarded-allow-ips": "10.0.0.1"}))
    found = [options(settings, bind) for bind in settings.bind]
    assert [entry.proxy_protocol for entry in found] == [True, False, True, True]
    assert [entry.forwarded_allow_ips for entry in found] == [("10.0.0.1",), ("10.0.0.1",), ("::1",), ("10.0.0.1",)]
    assert [entry.scheme for entry in found] == ["http", "http", "http", "https"]
    assert options(settings) == found[0], "inherited listeners have the same options"


NEED = "proxy-protocol needs forwarded-allow-ips, the proxies that are trusted; set both"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--bind": ":1,proxy-protocol=on"}, f"--bind :1: {NEED}"),
        ({"--bind": ":1,proxy-protocol=on,forwarded-allow-ips="}, f"--bind :1: {NEED}"),
        ({"--bind": ":1,scheme=https,:2,proxy-protocol=on"}, f"--bind :2: {NEED}"),
        (
            {"--bind": ":1,forwarded-allow-ips=", "--proxy-protocol": "on", "--forwarded-allow-ips": "*"},
            f"--bind :1: {NEED}",
        ),
        (
            {"--proxy-protocol": "on"},
            "--proxy-protocol needs --forwarded-allow-ips, the proxies that are trusted; set both",
        ),
        ({"--bind": ":1,proxy-protocol=off", "--proxy-protocol": "on"}, ""),
        ({"--bind": ":1,forwarded-allow-ips=::1", "--proxy-protocol": "on"}, ""),
        ({"--bind": ":1,proxy-protocol=on", "--forwarded-allow-ips": "::1"}, ""),
        ({"--bind": "unix:/x,proxy-protocol=on,forwarded-allow-ips=*"}, ""),
    ],
)
def test_contradictory_options_of_a_bind_are_refused(flags: dict[str, str], message: str) -> None:
    if message:
        with pytest.raises(SettingError, match=rf"^{re.escape(message)}$"):
            settle(from_flags(flags))
    else:
        settle(from_flags(flags))


@pytest.mark.parametrize("text", TEXTS)
def test_a_described_bind_is_parsed_to_the_same_bind(text: str) -> None:
    for bind in TEXTS[text]:
        expected = Options(**bind.given)
        (again,) = binds(describe(bind.address, expected))
        assert (again.address, Options(**again.given)) == (bind.address, expected)


def test_every_protocol_has_a_kind_of_connection() -> None:
    assert {protocol for protocol, _ in KINDS} == set(PROTOCOLS)
