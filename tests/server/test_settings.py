"""Every setting is declared once: flag, variable, default and help all come from there, and nothing else is taken."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from wsgiserver import cli
from wsgiserver.binds import Bind
from wsgiserver.other_servers import INSTEAD
from wsgiserver.settings import (
    VARIABLE_PREFIX,
    Settings,
    declared,
    flag_name,
    from_file,
    from_flags,
    from_variables,
    settle,
)
from wsgiserver.values import SettingError, size

# One good value of each setting, as text and as what it becomes, and some that will not do.
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

# What makes no sense alone, and a variable that makes it do so.
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


def test_the_table_of_values_has_every_setting() -> None:
    assert list(VALUES) == [setting.name for setting in declared()]


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
        ("PORT", "here: where to listen is --bind HOST:PORT"),
        ("LIMIT_CONCURRENCY", "here: see --max-connections"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(SettingError, match=f"{VARIABLE_PREFIX}{name} .*{hint}"):
        from_variables({VARIABLE_PREFIX + name: "1"})


def test_variables_without_the_prefix_are_ignored() -> None:
    assert from_variables({"WORKERS": "x", "PATH": "/", "XWSGISERVER_WORKERS": "9"}) == {}


def given(*arguments: str) -> Settings:
    return cli._understood(["m:a", *arguments])[1]  # noqa: SLF001 - what a command line comes to


@pytest.mark.parametrize("name", VALUES)
def test_flag_beats_variable_beats_default(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value, _ = VALUES[name]
    default = getattr(Settings(), name)
    assert getattr(given(), name) == default
    assert default != value
    if name in NEEDS:
        monkeypatch.setenv(VARIABLE_PREFIX + NEEDS[name][0], NEEDS[name][1])
    if name == "config":  # it has to be there
        (tmp_path / "x").touch()
        text = value = str(tmp_path / "x")
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), text)
    assert getattr(given(), name) == value
    if isinstance(value, bool):
        no = flag_name(name).replace("--", "--no-")
        assert getattr(given(no if value else flag_name(name)), name) is not value
        return
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), "4" if "bind" not in name else ":4")
    assert getattr(given(flag_name(name), text), name) == value


def test_variables_and_flags_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("workers = 2\nthreads = 2\nkeep_alive = 2\n")
    monkeypatch.setenv("WSGISERVER_THREADS", "3")
    monkeypatch.setenv("WSGISERVER_KEEP_ALIVE", "3")
    settings = given("--config", str(file), "--keep-alive", "4")
    assert (settings.workers, settings.threads, settings.keep_alive) == (2, 3, 4.0)
    monkeypatch.setenv("WSGISERVER_CONFIG", str(file))
    assert given() == given("-c", str(file))


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
        ("workers = 0", "workers: '0' will not do: at least 1"),
        ("workers = 'x'", "workers: 'x' will not do"),
        ("workers = 1.5", "workers: 1.5 will not do: it is of type float"),
        ("workers = true", "workers: True will not do: it is of type bool"),
        ("keep_alive = true", "of type bool"),
        ("workers = [1]", "of type list"),
        ("access_log = 1", "of type int"),
        ("spool_dir = 5", "of type int; a string would do"),
        ("socket_mode = '660'", 0o660),
        ("socket_mode = 0o660", "socket_mode: 432 will not do: it is of type int"),
        ("socket_mode = 660", "of type int"),
        ("workers = 'auto'", 0),
        ("spool_dir = ['/x']", "of type list"),
        ("[workers]", "of type dict"),
        ("workers = 2026-11-21", "of type date"),
        ("bind = []", "at least one"),
        ("worker = 3", "worker is not a setting; the nearest is workers"),
        ("max-body = 3", "max-body is not a setting; the nearest is max_body"),
        ("config = 'y.toml'", "config is not a setting"),
        ("workers = 1\nworkers = 2", "x.toml: Cannot overwrite"),
        ("workers", "x.toml: Expected '='"),
    ],
)
def test_a_file_sets_values_or_is_refused_by_name(line: str, expected: Any) -> None:
    if isinstance(expected, str) and not expected.startswith("/"):
        with pytest.raises(SettingError, match=r"^x\.toml: ") as error:
            from_file(line.encode(), "x.toml")
        assert expected in str(error.value)
    else:
        (value,) = from_file(line.encode(), "x.toml").values()
        assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize("key", ["host", "port"])
def test_names_of_other_servers_settings_in_a_file_are_refused_with_a_hint(key: str) -> None:
    with pytest.raises(SettingError, match=f"^x.toml: {key} is not a setting here: where to listen is --bind"):
        from_file(f"{key} = 1".encode(), "x.toml")


def test_a_byte_order_mark_at_the_start_of_a_file_is_ignored(tmp_path: Path) -> None:
    """As Windows' editors put it there, with their ends of lines."""
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfworkers = 3\r\nmax_body = '1k'\r\n")
    settings = given("-c", str(tmp_path / "x.toml"))
    assert (settings.workers, settings.max_body) == (3, 1024)


@pytest.mark.parametrize(
    "data", ["workers = 3".encode("utf-16"), "spool_dir = '/Größe'".encode("latin-1")], ids=["UTF-16", "Latin-1"]
)
def test_a_file_that_is_not_utf_8_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(SettingError, match=r"^x\.toml: this is not UTF-8.*save it anew as UTF-8"):
        from_file(data, "x.toml")


def test_a_gunicorn_configuration_file_is_refused_with_a_hint() -> None:
    with pytest.raises(SettingError, match=r"^gunicorn.conf.py: .*; it has to be TOML, as in: workers = 2"):
        from_file(b"import os\nbind = ':8000'\n", "gunicorn.conf.py")


def test_a_repeated_flag_adds_binds_and_replaces_other_values() -> None:
    assert given("-b", ":1", "--bind", ":2,:3").bind == (Bind(":1"), Bind(":2"), Bind(":3"))
    assert given("-w", "2", "-w", "3").workers == 3


def test_short_flags_are_accepted() -> None:
    settings = given("-b", ":1", "-w", "7", "-t", "9")
    assert (settings.bind, settings.workers, settings.timeout) == ((Bind(":1"),), 7, 9.0)


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for setting in declared():
        assert "--" + setting.name.replace("_", "-") in text
        assert setting.metadata["meaning"] in text
        assert f"({setting.metadata['shown']})" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m:a", "--workers", "none"], "--workers: 'none' will not do"),
        (["m:a", "--max-body", "lots"], "--max-body: 'lots' will not do: a size is a number"),
        (["m:a", "--bind", "nowhere"], "--bind: 'nowhere' is not HOST:PORT"),
        (["m:a", "--bind", ""], "--bind: '' will not do"),
        (["m:a", "--forwarded-allow-ips", "nginx"], "--forwarded-allow-ips: 'nginx' does not appear to be"),
        (["m:a", "--spool-dir", "/no/such"], "--spool-dir: no file can be made there"),
        (["m:a", "--access-logfile", "/no/such/file"], "--access-logfile: [Errno 2] No such file"),
        (["m:a", "--access-logfile", "/x", "--no-access-log"], "--no-access-log excludes --access-logfile"),
        (["m:a", "--config", "/no/such/file"], "--config: [Errno 2] No such file"),
        (["m:a", "--worker", "2"], "--worker is not a setting; the nearest is --workers"),
        (["m:a", "--keepalive=2"], "--keepalive is not a setting; the nearest is --keep-alive"),
        (["m:a", "--nonsense"], "--nonsense is not a setting; wsgiserver --help shows all"),
        (["m:a", "n:b"], "n:b is one argument too many: there is one MODULE:APP"),
        (
            ["m:a", "0.0.0.0:8000"],
            "0.0.0.0:8000 is one argument too many: if it is where to listen: --bind 0.0.0.0:8000",
        ),
        (["m:a", "-k", "gthread"], "-k is not a setting here: there is one kind of worker; --threads says"),
        (["m:a", "--statsd-host=x"], "--statsd-host is not a setting here: /metrics of --admin-bind"),
        (
            ["m:a", "--host", "0.0.0.0", "--port", "8000"],
            "--host is not a setting here: where to listen is --bind HOST:PORT",
        ),
        (["--host", "0.0.0.0", "m:a"], "--host is not a setting here: where to listen is --bind HOST:PORT"),
        (["m:a", "--port=8000"], "--port is not a setting here: where to listen is --bind HOST:PORT"),
        (["m:a", "-p", "8000"], "-p is not a setting here: it stays in the foreground"),
        (["m:a", "-p8000"], "where to listen is --bind HOST:PORT"),
        (["m:a", "--listen=*:8080"], "--listen is not a setting here: where to listen is --bind HOST:PORT"),
        (["m:a", "--bind", "*:8080"], "--bind: '*:8080': for every address, leave the star out: :8080"),
        (["m:create_app", "--factory"], "a factory is written with its brackets, as MODULE:create_app()"),
        (["m:a", "--reload-dir", "x"], "--reload looks at the files"),
        (["m:a", "--ssl-keyfile=x"], "TLS is the business of a proxy in front"),
        (["m:a", "--limit-concurrency", "9"], "see --max-connections"),
        (["m:a()("], "MODULE:APP: 'a()(' is neither a name nor a call"),
        (["m:a(x)"], "MODULE:APP: 'a(x)': arguments have to be literals"),
        (["app/wsgi.py"], "MODULE:APP: 'app/wsgi.py' is not the name of a module"),
        (["m:a", "-b", "127.0.0.1:9", "-b", "127.0.0.1:9"], "127.0.0.1:9 is there twice: leave one out"),
        (["m:a", "-b", "127.0.0.1:9", "-b", "0.0.0.0:9"], "0.0.0.0:9 includes 127.0.0.1:9: leave one out"),
        (
            ["m:a", "-b", "127.0.0.1:9", "-b", "localhost:9"],
            "127.0.0.1:9 is at the same place as localhost:9: leave one out",
        ),
        (["m:a", "-b", "unix:/x", "-b", "unix:/y/../x"], "unix:/x is at the same place as unix:/y/../x"),
        (["m:a", "-b", "127.0.0.1:9", "--admin-bind", "127.0.0.1:9"], "--admin-bind: 127.0.0.1:9 is there twice"),
        (["m:a", "-b", ":9,127.0.0.1:9", "--check-config"], ":9 includes 127.0.0.1:9"),
        (
            ["m:a", "-b", ":9,shceme=https", "--check-config"],
            "shceme is not an option of a listener; the nearest is scheme",
        ),
        (
            ["m:a", "-b", ":9,proxy-protocol=on", "--check-config"],
            "--bind :9: proxy-protocol needs forwarded-allow-ips",
        ),
        (
            ["m:a", "-b", ":9,forwarded-allow-ips=10.0.0.0/8+nginx", "--check-config"],
            "--bind :9: forwarded-allow-ips: 'nginx' does not appear to be",
        ),
        (["m:a", "-b", "127.0.0.1:9", "-b", "127.0.0.1:9,scheme=https"], "127.0.0.1:9 is there twice: leave one out"),
    ],
)
def test_unusable_settings_end_with_code_2_and_a_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_missing_application_ends_with_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2


def test_the_hints_for_flags_of_other_servers_name_existing_flags() -> None:
    known = {flag_name(setting.name) for setting in declared()}
    assert len({flag for flags in INSTEAD for flag in flags.split()}) == sum(len(flags.split()) for flags in INSTEAD)
    for flags, instead in INSTEAD.items():
        assert not set(flags.split()) & {*known, *(setting.metadata["short"] for setting in declared())}
        assert {word.strip(",;.") for word in instead.split() if word.startswith("--")} <= known


def test_contradictory_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="excludes"):
        settle({"access_logfile": "/x"}, {"access_log": False})
    with pytest.raises(SettingError, match="needs --forwarded"):
        settle({"proxy_protocol": True})
    assert settle({"proxy_protocol": True, "forwarded_allow_ips": ("*",)}).proxy_protocol
    with pytest.raises(SettingError, match="needs"):
        settle({"max_requests_jitter": 5})
    assert settle({"access_logfile": "/x"}, {"access_logfile": "-"}, {"access_log": False}).access_log is False


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().workers = 2  # type: ignore[misc] # that it is refused is the test
