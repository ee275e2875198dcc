"""Each setting is declared once: its flag, variable, default and help come from there. Unknown names are refused."""

import os
import re
import shlex
from dataclasses import Field, FrozenInstanceError
from errno import ENOENT
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from wsgiserver import cli
from wsgiserver.binds import Bind
from wsgiserver.other_servers import INSTEAD
from wsgiserver.settings import (
    GROUPS,
    VARIABLE_PREFIX,
    Settings,
    declared,
    flag_name,
    from_file,
    from_flags,
    from_variables,
    settle,
)
from wsgiserver.values import SettingError, flag, positive_size, seconds, seconds_or_never, size

# A valid value of each setting as text, its parsed value, and some invalid texts.
VALUES: dict[str, tuple[str, Any, list[str]]] = {
    "bind": ("127.0.0.1:1, unix:/x", (Bind("127.0.0.1:1"), Bind("unix:/x")), ["", " , "]),
    "socket_mode": ("600", 0o600, ["8", "u+x", "-1", "1777", ""]),
    "workers": ("auto", 0, ["0", "many", "-1", "1.5", "x", ""]),
    "threads": ("3", 3, ["0", "-1", "1.5", "x", ""]),
    "max_body": ("1k", 1024, ["", "k", "-1", "1.5m", "1t", "1 m m", "\xb2"]),
    "spool_memory": ("2M", 2 << 20, ["", "x"]),
    "spool_budget": ("1m", 1 << 20, ["x"]),
    "spool_dir": ("/x", "/x", []),
    "head_budget": ("1m", 1 << 20, ["x"]),
    "send_budget": ("1m", 1 << 20, ["x"]),
    "head_timeout": ("1.5", 1.5, ["0", "-1", "inf", "nan", "x", ""]),
    "body_idle_timeout": ("2", 2.0, ["0"]),
    "body_timeout": ("2", 2.0, ["0"]),
    "body_rate": ("2k", 2048, ["0", "x"]),
    "keep_alive": ("2", 2.0, ["0"]),
    "send_timeout": ("2", 2.0, ["0"]),
    "timeout": ("0", 0.0, ["-1", "x", ""]),
    "graceful_timeout": ("2", 2.0, ["0"]),
    "drain_delay": ("2.5", 2.5, ["-1", "x", ""]),
    "max_requests": ("1000", 1000, ["-1", "x"]),
    "max_requests_jitter": ("50", 50, ["-1", "x"]),
    "max_memory": ("1g", 1 << 30, ["-1", "x"]),
    "handoff": ("0.1", 0.1, ["0"]),
    "max_connections": ("5", 5, ["0"]),
    "max_connections_per_address": ("7", 7, ["-1", "x"]),
    "preload": ("yes", True, ["maybe"]),
    "worker_init": ("shop.hooks:connect", "shop.hooks:connect", ["", ":connect", "shop:1", "shop:connect()()"]),
    "reload": ("yes", True, ["maybe"]),
    "check_config": ("yes", True, ["maybe"]),
    "forwarded_allow_ips": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1"), []),
    "proxy_protocol": ("yes", True, ["maybe"]),
    "admin_bind": ("127.0.0.1:1, unix:/x", ("127.0.0.1:1", "unix:/x"), ["", " , "]),
    "access_log": ("no", False, ["", "maybe", "2"]),
    "access_logfile": ("/x", "/x", []),
    "config": ("/x", "/x", []),
}

# Settings that need another one, and the variable that sets it.
NEEDS = {"max_requests_jitter": ("MAX_REQUESTS", "9"), "proxy_protocol": ("FORWARDED_ALLOW_IPS", "*")}


def check(name: str, text: str, expected: Any) -> None:
    variable = VARIABLE_PREFIX + name.upper()
    if expected is SettingError:
        with pytest.raises(SettingError, match=variable) as error:
            from_variables({variable: text})
        assert repr(text) in str(error.value)
    else:
        assert from_variables({variable: text}) == {name: expected}
        assert from_flags({flag_name(name): text}) == {name: expected}
        if name != "config":
            assert from_file(f"{name} = '{text}'".encode(), "x.toml") == {name: expected}


def test_the_table_of_values_names_every_setting() -> None:
    assert sorted(VALUES) == sorted(setting.name for setting in declared())


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_accepts_valid_and_refuses_invalid_values(name: str) -> None:
    text, value, bad = VALUES[name]
    check(name, text, value)
    for each in bad:
        check(name, each, SettingError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1", 1), ("1k", 1 << 10), ("1K", 1 << 10), ("100m", 100 << 20), ("2G", 2 << 30), (" 5 ", 5)],
)
def test_sizes_are_parsed_with_k_m_and_g(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_booleans_are_parsed_from_words(text: str) -> None:
    check("access_log", text, expected=True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WORKER", "the nearest is WSGISERVER_WORKERS"),
        ("KEEPALIVE", "the nearest is WSGISERVER_KEEP_ALIVE"),
        ("GRACEFUL", "the nearest is WSGISERVER_"),
        ("", "is not a setting"),
        ("workers", "is not a setting"),
        ("PORT", "here: write the address as --bind HOST:PORT"),
        ("LIMIT_CONCURRENCY", "here: use --max-connections"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(SettingError, match=f"{VARIABLE_PREFIX}{name} .*{hint}"):
        from_variables({VARIABLE_PREFIX + name: "1"})


def test_variables_without_the_prefix_are_ignored() -> None:
    assert from_variables({"WORKERS": "x", "PATH": "/", "XWSGISERVER_WORKERS": "9"}) == {}


def parsed(*arguments: str) -> Settings:
    return cli._understood(["m:a", *arguments])[1]  # noqa: SLF001 - the settings of a command line


@pytest.mark.parametrize("name", VALUES)
def test_flag_beats_variable_beats_default(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value, _ = VALUES[name]
    default = getattr(Settings(), name)
    assert getattr(parsed(), name) == default
    assert default != value
    if name in NEEDS:
        monkeypatch.setenv(VARIABLE_PREFIX + NEEDS[name][0], NEEDS[name][1])
    if name == "config":  # the file has to exist
        (tmp_path / "x").touch()
        text = value = str(tmp_path / "x")
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), text)
    assert getattr(parsed(), name) == value
    if isinstance(value, bool):
        no = flag_name(name).replace("--", "--no-")
        assert getattr(parsed(no if value else flag_name(name)), name) is not value
        return
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), "4" if "bind" not in name else ":4")
    assert getattr(parsed(flag_name(name), text), name) == value


def test_variables_and_flags_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("workers = 2\nthreads = 2\nkeep_alive = 2\n")
    monkeypatch.setenv("WSGISERVER_THREADS", "3")
    monkeypatch.setenv("WSGISERVER_KEEP_ALIVE", "3")
    settings = parsed("--config", str(file), "--keep-alive", "4")
    assert (settings.workers, settings.threads, settings.keep_alive) == (2, 3, 4.0)
    monkeypatch.setenv("WSGISERVER_CONFIG", str(file))
    assert parsed() == parsed("-c", str(file))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("workers = 3", 3),
        ("workers = '3'", 3),
        ("keep_alive = 3", 3.0),
        ("keep_alive = 0.5", 0.5),
        ("max_body = 1000", 1000),
        ("max_body = '1k'", 1024),
        ("access_log = false", False),
        ("bind = ':1, :2'", (Bind(":1"), Bind(":2"))),
        ("bind = [':1', ':2']", (Bind(":1"), Bind(":2"))),
        ("spool_dir = '/x'", "/x"),
        ("workers = 0", "x.toml: workers: '0' is not a whole number above 0; write one such as 4, or auto"),
        ("workers = 'x'", "x.toml: workers: 'x' is not a whole number above 0; write one such as 4, or auto"),
        ("workers = 1.5", "x.toml: workers: 1.5 is of type float; write a whole number or a string"),
        ("workers = true", "x.toml: workers: True is of type bool; write a whole number or a string"),
        ("keep_alive = true", "x.toml: keep_alive: True is of type bool; write a number or a string"),
        ("workers = [1]", "x.toml: workers: [1] is of type list; write a whole number or a string"),
        ("access_log = 1", "x.toml: access_log: 1 is of type int; write true or false, or a string"),
        ("spool_dir = 5", "x.toml: spool_dir: 5 is of type int; write a string"),
        ("socket_mode = '660'", 0o660),
        ("socket_mode = 0o660", "x.toml: socket_mode: 432 is of type int; write a string"),
        ("socket_mode = 660", "x.toml: socket_mode: 660 is of type int; write a string"),
        ("workers = 'auto'", 0),
        ("spool_dir = ['/x']", "x.toml: spool_dir: ['/x'] is of type list; write a string"),
        ("[workers]", "x.toml: workers: {} is of type dict; write a whole number or a string"),
        (
            "workers = 2026-11-21",
            "x.toml: workers: datetime.date(2026, 11, 21) is of type date; write a whole number or a string",
        ),
        ("bind = []", "x.toml: bind: '' has no address; write HOST:PORT or unix:PATH, such as 127.0.0.1:8000"),
        ("worker = 3", "x.toml: worker is not a setting; the nearest is workers"),
        ("max-body = 3", "x.toml: max-body is not a setting; the nearest is max_body"),
        ("config = 'y.toml'", "x.toml: config is not a setting; the nearest is check_config"),
        (
            "workers = 1\nworkers = 2",
            "x.toml: the last line sets a name that has a value already; leave one of them out",
        ),
        ("workers", "x.toml: the last line is not TOML; write NAME = VALUE, such as workers = 2"),
    ],
)
def test_a_file_sets_values_or_is_refused_by_name(line: str, expected: Any) -> None:
    if isinstance(expected, str) and not expected.startswith("/"):
        with pytest.raises(SettingError, match=r"^x\.toml: ") as error:
            from_file(line.encode(), "x.toml")
        assert str(error.value) == expected
    else:
        (value,) = from_file(line.encode(), "x.toml").values()
        assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize("key", ["host", "port"])
def test_a_key_that_other_servers_know_is_refused_with_what_to_write(key: str) -> None:
    with pytest.raises(SettingError, match=f"^x.toml: {key} is not a setting here: write the address as --bind"):
        from_file(f"{key} = 1".encode(), "x.toml")


def test_a_byte_order_mark_at_the_start_of_a_file_is_ignored(tmp_path: Path) -> None:
    """Windows editors write such files, with CRLF line ends."""
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfworkers = 3\r\nmax_body = '1k'\r\n")
    settings = parsed("-c", str(tmp_path / "x.toml"))
    assert (settings.workers, settings.max_body) == (3, 1024)


@pytest.mark.parametrize(
    "data", ["workers = 3".encode("utf-16"), "spool_dir = '/Größe'".encode("latin-1")], ids=["UTF-16", "Latin-1"]
)
def test_a_file_that_is_not_utf_8_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(
        SettingError, match=r"^x\.toml: this file is not UTF-8, as TOML has to be; save it again as UTF-8$"
    ):
        from_file(data, "x.toml")


def test_a_configuration_file_of_gunicorn_is_not_toml() -> None:
    message = r"^gunicorn.conf.py: line 1 is not TOML; write NAME = VALUE, such as workers = 2$"
    with pytest.raises(SettingError, match=message):
        from_file(b"import os\nbind = ':8000'\n", "gunicorn.conf.py")


def test_a_repeated_flag_adds_binds_and_replaces_other_values() -> None:
    assert parsed("-b", ":1", "--bind", ":2,:3").bind == (Bind(":1"), Bind(":2"), Bind(":3"))
    assert parsed("-w", "2", "-w", "3").workers == 3


def test_short_flags_are_accepted() -> None:
    settings = parsed("-b", ":1", "-w", "7", "-t", "9")
    assert (settings.bind, settings.workers, settings.timeout) == ((Bind(":1"),), 7, 9.0)


# --- The text of --help --------------------------------------------------------------------------------------------

DURATIONS = (seconds, seconds_or_never)
SIZES = (size, positive_size)
# A meaning that starts with one of these depends on the name of its setting.
NOT_A_NOUN = {
    "a",
    "an",
    "the",
    "this",
    "these",
    "for",
    "in",
    "on",
    "after",
    "at",
    "by",
    "with",
    "without",
    "of",
    "only",
    "same",
    "what",
    "where",
    "which",
    "how",
}
VERBS = {"check", "load", "replace", "require", "write"}  # first words of the switches


def printed_help(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as error:
        cli.main(["--help"])
    assert error.value.code == 0
    return capsys.readouterr().out


def test_help_has_each_setting_with_its_meaning_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    text = " ".join(printed_help(capsys).split())
    for setting in declared():
        assert re.search(rf"{flag_name(setting.name)}[, ]", text)
        assert f"{setting.metadata['meaning']} (default: {setting.metadata['shown']})" in text


def test_help_has_each_setting_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """The groups have the order of their table, and the settings of a group are adjacent."""
    text = printed_help(capsys)
    titles = [text.index(f"\n{title}:\n") for title in GROUPS]
    assert titles == sorted(titles)
    assert [name for name, _ in groupby(setting.metadata["group"] for setting in declared())] == list(GROUPS)
    assert re.findall(r"(?m)^  (-.*?)(?:, --|  )", text[: titles[0]]) == ["-h", "--version"]


@pytest.mark.parametrize("setting", declared(), ids=lambda setting: setting.name)
def test_the_meaning_of_a_setting_can_be_read_alone(setting: Field[Any]) -> None:
    meaning, shown, parse = (setting.metadata[key] for key in ("meaning", "shown", "parse"))
    first = meaning.split()[0]
    assert not meaning.endswith(".")
    if parse is flag:
        assert first in VERBS
        return
    assert first.islower() or first == "TOML"
    assert first not in {*NOT_A_NOUN, *VERBS}
    if parse in DURATIONS:
        assert first == "seconds"
        assert re.fullmatch(r"[0-9.]+ seconds", shown)
    if parse in SIZES:
        assert first == "bytes"
        assert re.fullmatch(r"[0-9]+[kmg]|0", shown)


def test_help_ends_with_two_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    examples = printed_help(capsys).partition("\nexamples:\n")[2].splitlines()
    assert len(examples) == 2
    for line in examples:
        program, *arguments = shlex.split(line)
        assert program == "wsgiserver"
        assert cli._understood(arguments)[1] != Settings()  # noqa: SLF001 - the settings of a command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m:a", "--workers", "none"], "--workers: 'none' is not a whole number above 0; write one such as 4, or auto"),
        (
            ["m:a", "--max-body", "lots"],
            "--max-body: 'lots' is not a size; use digits followed by k, m or g, such as 100m",
        ),
        (
            ["m:a", "--bind", "nowhere"],
            "--bind: 'nowhere' is not HOST:PORT or unix:PATH; write one such as 127.0.0.1:8000",
        ),
        (["m:a", "--bind", ""], "--bind: '' has no address; write HOST:PORT or unix:PATH, such as 127.0.0.1:8000"),
        (
            ["m:a", "--forwarded-allow-ips", "nginx"],
            "--forwarded-allow-ips: 'nginx' is not an address or a network; write one such as 10.0.0.1 or 10.0.0.0/8",
        ),
        (
            ["m:a", "--spool-dir", "/no/such"],
            (
                "--spool-dir: no file can be created in /no/such (No such file or directory); name a "
                "directory that this user may write to"
            ),
        ),
        (
            ["m:a", "--access-logfile", "/no/such/file"],
            (
                "--access-logfile: /no/such/file cannot be opened (No such file or directory); name a "
                "file that this user may write to"
            ),
        ),
        (
            ["m:a", "--access-logfile", "/x", "--no-access-log"],
            "--no-access-log turns off the log that --access-logfile names a file for; leave one of them out",
        ),
        (
            ["m:a", "--config", "/no/such/file"],
            "--config: /no/such/file cannot be read (No such file or directory); name a TOML file",
        ),
        (["m:a", "--worker", "2"], "--worker is not a setting; the nearest is --workers"),
        (["m:a", "--keepalive=2"], "--keepalive is not a setting; the nearest is --keep-alive"),
        (["m:a", "--nonsense"], "--nonsense is not a setting; wsgiserver --help shows all"),
        (["m:a", "n:b"], "n:b is one argument too many; write only one MODULE:APP"),
        (["m:a", "0.0.0.0:8000"], "0.0.0.0:8000 is one argument too many; to listen there, write --bind 0.0.0.0:8000"),
        (
            ["m:a", "-k", "gthread"],
            "-k is not a setting here: there is one kind of worker; --threads is how many requests each runs at once",
        ),
        (
            ["m:a", "--statsd-host=x"],
            "--statsd-host is not a setting here: have Prometheus read /metrics of --admin-bind",
        ),
        (
            ["m:a", "--host", "0.0.0.0", "--port", "8000"],
            "--host is not a setting here: write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000",
        ),
        (
            ["--host", "0.0.0.0", "m:a"],
            "--host is not a setting here: write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000",
        ),
        (
            ["m:a", "--port=8000"],
            "--port is not a setting here: write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000",
        ),
        (
            ["m:a", "-p", "8000"],
            (
                "-p is not a setting here: the server stays in the foreground, for systemd or a "
                "container; for a port, write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000"
            ),
        ),
        (
            ["m:a", "-p8000"],
            (
                "-p8000 is not a setting here: the server stays in the foreground, for systemd or a "
                "container; for a port, write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000"
            ),
        ),
        (
            ["m:a", "--listen=*:8080"],
            "--listen is not a setting here: write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000",
        ),
        (
            ["m:a", "--bind", "*:8080"],
            "--bind: '*:8080' has a star for the host; for every address write :8080, or [::]:8080 with IPv6",
        ),
        (
            ["m:create_app", "--factory"],
            "--factory is not a setting here: write a factory with its brackets, as MODULE:create_app()",
        ),
        (
            ["m:a", "--reload-dir", "x"],
            (
                "--reload-dir is not a setting here: use --reload, which watches the files of all "
                "modules that were loaded"
            ),
        ),
        (["m:a", "--ssl-keyfile=x"], "--ssl-keyfile is not a setting here: let a proxy in front do TLS"),
        (["m:a", "--limit-concurrency", "9"], "--limit-concurrency is not a setting here: use --max-connections"),
        (
            ["m:a()("],
            (
                "MODULE:APP: 'm:a()(' has neither a name nor a call after the colon; write one such as "
                "config.wsgi:application or shop:create_app(debug=False)"
            ),
        ),
        (
            ["m:a(x)"],
            (
                "MODULE:APP: 'm:a(x)' has an argument that is not a literal; use strings, numbers, "
                "True, False, None, and lists, tuples and dictionaries of them"
            ),
        ),
        (
            ["app/wsgi.py"],
            (
                "MODULE:APP: 'app/wsgi.py' does not begin with the name of a module; write one such as "
                "config.wsgi:application or shop:create_app(debug=False)"
            ),
        ),
        (["m:a", "-b", "127.0.0.1:9", "-b", "127.0.0.1:9"], "--bind: 127.0.0.1:9 is given twice; leave one out"),
        (["m:a", "-b", "127.0.0.1:9", "-b", "0.0.0.0:9"], "--bind: 0.0.0.0:9 includes 127.0.0.1:9; leave one out"),
        (
            ["m:a", "-b", "127.0.0.1:9", "-b", "localhost:9"],
            "--bind: 127.0.0.1:9 is the same address as localhost:9; leave one out",
        ),
        (
            ["m:a", "-b", "unix:/x", "-b", "unix:/y/../x"],
            "--bind: unix:/x is the same address as unix:/y/../x; leave one out",
        ),
        (
            ["m:a", "-b", "127.0.0.1:9", "--admin-bind", "127.0.0.1:9"],
            "--admin-bind: 127.0.0.1:9 is given twice; leave one out",
        ),
        (["m:a", "-b", ":9,127.0.0.1:9", "--check-config"], "--bind: :9 includes 127.0.0.1:9; leave one out"),
        (
            ["m:a", "-b", ":9,shceme=https", "--check-config"],
            "--bind :9: shceme is not an option of a listener; the nearest is scheme",
        ),
        (
            ["m:a", "-b", ":9,proxy-protocol=on", "--check-config"],
            "--bind :9: proxy-protocol needs forwarded-allow-ips, the proxies that are trusted; set both",
        ),
        (
            ["m:a", "-b", ":9,forwarded-allow-ips=10.0.0.0/8+nginx", "--check-config"],
            (
                "--bind :9: forwarded-allow-ips: 'nginx' is not an address or a network; write one "
                "such as 10.0.0.1 or 10.0.0.0/8"
            ),
        ),
        (
            ["m:a", "-b", "127.0.0.1:9", "-b", "127.0.0.1:9,scheme=https"],
            "--bind: 127.0.0.1:9 is given twice; leave one out",
        ),
        (
            ["m:a", "--timeout", "abc"],
            "--timeout: 'abc' is not a number of seconds; write one such as 30 or 0.5, or 0 to disable it",
        ),
        (
            ["m:a", "--timeout", "-1"],
            "--timeout: '-1' is not a number of seconds; write one such as 30 or 0.5, or 0 to disable it",
        ),
        (
            ["m:a", "--head-timeout", "0"],
            "--head-timeout: '0' is not a number of seconds above 0; write one such as 30 or 0.5",
        ),
        (["m:a", "--threads", "1.5"], "--threads: '1.5' is not a whole number above 0; write one such as 4"),
        (["m:a", "--max-requests", "x"], "--max-requests: 'x' is not a whole number; write 0, or one such as 1000"),
        (
            ["m:a", "--socket-mode", "8"],
            "--socket-mode: '8' is not a set of permissions; write octal digits such as 660",
        ),
        (
            ["m:a", "--body-rate", "0"],
            "--body-rate: '0' is not above 0; use digits followed by k, m or g, such as 100m",
        ),
        (
            ["m:a", "--worker-init", "shop:1"],
            (
                "--worker-init: 'shop:1' has neither a name nor a call after the colon; write one such "
                "as config.wsgi:application or shop:create_app(debug=False)"
            ),
        ),
        (["m:a", "--workers", "201"], "--workers: 201 workers are too many; use at most 200"),
        (
            ["m:a", "--preload", "--reload"],
            (
                "--preload loads the application once, but --reload loads it again after each change; "
                "leave one of them out"
            ),
        ),
        (
            ["m:a", "--max-requests-jitter", "5"],
            "--max-requests-jitter has no effect without --max-requests; set both or neither",
        ),
        (
            ["m:a", "--proxy-protocol"],
            "--proxy-protocol needs --forwarded-allow-ips, the proxies that are trusted; set both",
        ),
        (
            ["m:a", "--bind", "127.0.0.1:70000"],
            "--bind: '127.0.0.1:70000' has a port above 65535; write one such as 127.0.0.1:8000",
        ),
    ],
)
def test_unusable_settings_end_with_code_2_and_a_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"wsgiserver: {message}\n"


SPELLED = {
    "forwarded_allow_ips": (
        "nginx",
        ": 'nginx' is not an address or a network; write one such as 10.0.0.1 or 10.0.0.0/8",
    ),
    "bind": ("nowhere", ": 'nowhere' is not HOST:PORT or unix:PATH; write one such as 127.0.0.1:8000"),
    "workers": ("201", ": 201 workers are too many; use at most 200"),
    "spool_dir": (
        "/no/such",
        f": no file can be created in /no/such ({os.strerror(ENOENT)}); name a directory that this user may write to",
    ),
    "max_requests_jitter": ("5", " has no effect without {}; set both or neither"),
    "proxy_protocol": ("yes", " needs {}, the proxies that are trusted; set both"),
}
OTHER = {"max_requests_jitter": "max_requests", "proxy_protocol": "forwarded_allow_ips"}


@pytest.mark.parametrize("name", SPELLED)
def test_messages_name_a_setting_as_it_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = SPELLED[name]
    flag_and_value = [flag_name(name)] if text == "yes" else [flag_name(name), text]
    assert cli.main(["m:a", *flag_and_value]) == 2
    assert capsys.readouterr().err == f"wsgiserver: {flag_name(name)}{message.format(flag_name(OTHER.get(name, '')))}\n"

    file = tmp_path / "x.toml"
    file.write_text(f"{name} = '{text}'\n")
    assert cli.main(["m:a", "-c", str(file)]) == 2
    assert capsys.readouterr().err == f"wsgiserver: {file}: {name}{message.format(f'{file}: {OTHER.get(name)}')}\n"

    variable, other = VARIABLE_PREFIX + name.upper(), VARIABLE_PREFIX + OTHER.get(name, "").upper()
    monkeypatch.setenv(variable, text)
    assert cli.main(["m:a"]) == 2
    assert capsys.readouterr().err == f"wsgiserver: {variable}{message.format(other)}\n"


def test_a_missing_application_ends_with_code_2() -> None:
    with pytest.raises(SystemExit) as error:
        cli.main([])
    assert error.value.code == 2


def test_the_hints_for_flags_of_other_servers_name_existing_flags() -> None:
    known = {flag_name(setting.name) for setting in declared()}
    assert len({flag for flags in INSTEAD for flag in flags.split()}) == sum(len(flags.split()) for flags in INSTEAD)
    for flags, instead in INSTEAD.items():
        assert not set(flags.split()) & {*known, *(setting.metadata["short"] for setting in declared())}
        assert {word.strip(",;.") for word in instead.split() if word.startswith("--")} <= known


def test_contradictory_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="turns off the log"):
        settle({"access_logfile": "/x"}, {"access_log": False})
    with pytest.raises(SettingError, match="needs --forwarded"):
        settle({"proxy_protocol": True})
    assert settle({"proxy_protocol": True, "forwarded_allow_ips": ("*",)}).proxy_protocol
    with pytest.raises(SettingError, match="has no effect without"):
        settle({"max_requests_jitter": 5})
    assert settle({"access_logfile": "/x"}, {"access_logfile": "-"}, {"access_log": False}).access_log is False


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().workers = 2  # type: ignore[misc] # that it is refused is the test
