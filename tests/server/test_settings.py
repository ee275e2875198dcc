"""Every setting is declared once: flag, variable, default and help all come from there, and nothing else is taken."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from wsgiserver import cli
from wsgiserver.settings import VARIABLE_PREFIX, SettingError, Settings, declared, from_variables, parse, size

# One good value of each setting, as text and as what it becomes, and some that will not do.
VALUES: dict[str, tuple[str, Any, list[str]]] = {
    "bind": ("127.0.0.1:1, unix:/x", ("127.0.0.1:1", "unix:/x"), ["", " , "]),
    "workers": ("3", 3, ["0", "-1", "1.5", "x", ""]),
    "threads": ("3", 3, ["0", "-1", "1.5", "x", ""]),
    "max_body": ("1k", 1024, ["", "k", "-1", "1.5m", "1t", "1 m m", "\xb2"]),
    "spool_memory": ("2M", 2 << 20, ["", "x"]),
    "spool_dir": ("/x", "/x", []),
    "head_timeout": ("1.5", 1.5, ["0", "-1", "inf", "nan", "x", ""]),
    "body_idle_timeout": ("2", 2.0, ["0"]),
    "body_timeout": ("2", 2.0, ["0"]),
    "body_rate": ("2k", 2048, ["0", "x"]),
    "keep_alive": ("2", 2.0, ["0"]),
    "send_timeout": ("2", 2.0, ["0"]),
    "timeout": ("0", 0.0, ["-1", "x", ""]),
    "graceful_timeout": ("2", 2.0, ["0"]),
    "handoff": ("0.1", 0.1, ["0"]),
    "max_connections": ("5", 5, ["0"]),
    "max_connections_per_address": ("7", 7, ["-1", "x"]),
    "forwarded_allow_ips": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1"), []),
    "admin_bind": ("127.0.0.1:1, unix:/x", ("127.0.0.1:1", "unix:/x"), ["", " , "]),
    "access_log": ("no", False, ["", "maybe", "2"]),
}


def check(name: str, text: str, expected: Any) -> None:
    variable = VARIABLE_PREFIX + name.upper()
    if expected is SettingError:
        with pytest.raises(SettingError, match=variable) as error:
            from_variables({variable: text})
        assert repr(text) in str(error.value)
    else:
        assert from_variables({variable: text}) == {name: expected}
        assert parse(name, text, "--x") == expected


def test_the_table_above_is_whole() -> None:
    assert list(VALUES) == [setting.name for setting in declared()]


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    text, value, bad = VALUES[name]
    check(name, text, value)
    for each in bad:
        check(name, each, SettingError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1", 1), ("1k", 1 << 10), ("1K", 1 << 10), ("100m", 100 << 20), ("2G", 2 << 30), (" 5 ", 5)],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_yes(text: str) -> None:
    check("access_log", text, expected=True)


@pytest.mark.parametrize("variable", ["WSGISERVER_WORKER", "WSGISERVER_", "WSGISERVER_workers", "WSGISERVER_X"])
def test_a_variable_that_is_no_setting_is_refused(variable: str) -> None:
    with pytest.raises(SettingError, match=f"{variable} is not a setting; there are: .*WSGISERVER_WORKERS"):
        from_variables({variable: "1"})


def test_other_variables_are_none_of_its_business() -> None:
    assert from_variables({"WORKERS": "x", "PATH": "/", "XWSGISERVER_WORKERS": "9"}) == {}


def given(*arguments: str) -> Settings:
    given = vars(cli._parser().parse_args(["m:a", *arguments]))  # noqa: SLF001 - a flag of each setting
    del given["application"]
    return cli._settings(given)  # noqa: SLF001


@pytest.mark.parametrize("name", VALUES)
def test_flag_beats_variable_beats_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value, _ = VALUES[name]
    flag = "--" + name.replace("_", "-")
    default = getattr(Settings(), name)
    assert getattr(given(), name) == default
    assert default != value
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), text)
    assert getattr(given(), name) == value
    if name == "access_log":
        assert given("--access-log").access_log is True
        monkeypatch.setenv("WSGISERVER_ACCESS_LOG", "yes")
        assert given("--no-access-log").access_log is False
        return
    monkeypatch.setenv(VARIABLE_PREFIX + name.upper(), "4" if "bind" not in name else ":4")
    assert getattr(given(flag, text), name) == value


def test_short_flags() -> None:
    settings = given("-b", ":1", "-w", "7")
    assert (settings.bind, settings.workers) == ((":1",), 7)


def test_every_setting_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
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
    ],
)
def test_unusable_settings_end_with_code_2_and_say_which(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["m:a", "--worker", "2"], ["m:a", "--nonsense"], ["m:a", "n:b"]])
def test_unknown_flags_and_abbreviations_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().workers = 2  # type: ignore[misc] # that it is refused is the test
