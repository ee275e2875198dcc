"""The scripts read .env as both generations of Compose do, and refuse a line that these read differently."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.ops import dotenv

ROOT = Path(__file__).resolve().parents[1]
SURROUNDINGS = {"HOME": "/home/of/nobody"}
BEFORE = "OTHER=other\nEMPTY=\n"  # earlier lines

# Text after VALUE= -> the value.
VALUES = {
    "a": "a",
    "a\r": "a",
    '"a"\r': "a",
    "'a'\r": "a",
    "": "",
    '""': "",
    "  a  ": "a",
    "\ta\t": "a",
    "a # why": "a",
    "a#b": "a#b",
    "#b": "#b",
    '"a # b"': "a # b",
    '"a" # why': "a",
    "'a b'#why": "a b",
    "a b": "a b",
    "a=b": "a=b",
    'a"b"': 'a"b"',
    "it's": "it's",
    "ä": "ä",
    r'"a\"b"': 'a"b',
    r'"a\nb"': "a\nb",
    r'"a\tb"': "a\tb",
    r'"a\\b"': r"a\b",
    r'"a\db"': r"a\db",
    r"a\nb": r"a\nb",
    r"'a\nb'": r"a\nb",
    r"'a\'b'": "a'b",
    r'"a\\\\b"': r"a\\b",
    r'"a\\\"b"': r"a\"b",
    r'"a\\nb"': r"a\nb",
    "'\u00a0a\u00a0'": "\u00a0a\u00a0",
    "a\u00a0b": "a\u00a0b",
    "a\u200bb": "a\u200bb",
    "\U0001f642": "\U0001f642",
    r'"${NONE:-a\"b}"': 'a"b',
    r'"${NONE:-a\tb}"': "a\tb",
    "${OTHER}": "other",
    '"x${OTHER}y"': "xothery",
    "x${OTHER}${EMPTY}z": "xotherz",
    "${NONE}": "",
    "${NONE:-a b}": "a b",
    "${OTHER:-a}": "other",
    "${HOME}": "/home/of/nobody",
    "'$OTHER'": "$OTHER",
    "'a$$b'": "a$$b",
    "a$": "a$",
    "$(id)": "$(id)",
    "`id`": "`id`",
    "$1": "$1",
}


def read(text: str | bytes, **more: str) -> dotenv.DotEnv:
    return dotenv.read(text if isinstance(text, bytes) else text.encode(), {**SURROUNDINGS, **more})


def value(text: str) -> str:
    return read(text).values.get("VALUE", "")


def complaints(text: str | bytes, **more: str) -> list[tuple[int, str, str]]:
    """Return number, problem and remedy of each refused line."""
    return [(each.number, each.wrong, each.right) for each in read(text, **more).complaints]


@pytest.mark.parametrize("written", VALUES)
def test_a_value_is_read_as_compose_reads_it(written: str) -> None:
    text = f"{BEFORE}VALUE={written}\n"
    assert value(text) == VALUES[written]
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  VALUE = a", "a"),
        ("export VALUE=a", "a"),
        ("VALUE=a\nVALUE=b", "b"),
        ("#VALUE=a", ""),
        ("MY_VALUE=a", ""),
        ("VALUE=a", "a"),
        ("VALUE=${LATER}\nLATER=a", ""),
    ],
)
def test_the_last_assignment_of_a_name_is_found(text: str, expected: str) -> None:
    assert value(text) == expected


def test_the_example_file_is_parsed_into_names_defaults_and_secrets() -> None:
    example = dotenv.read_example("# VALUE=a sentence\n#VALUE=it's\nSECRET=change-me\n")
    assert example == dotenv.Example(["VALUE", "SECRET"], {"VALUE": "it's"}, ["SECRET"])


def test_names_and_the_variables_they_use_are_found() -> None:
    found = read("OTHER=${SECRET}\nVALUE=b\n")
    assert (found.values, found.used) == ({"OTHER": "", "VALUE": "b"}, ["SECRET"])


@pytest.mark.parametrize("text", ["it's", "$(id) `id` $HOME", "two\nlines", "back\\slash", "\u00e4", "\udce4"])
def test_bash_gets_the_same_value(tmp_path: Path, text: str) -> None:
    """The shell evaluates the assignments of scripts/lib/settings.sh, whatever the value contains."""
    written = text.replace("\\", "\\\\").replace("\n", "\\n").replace("$HOME", "HOME")
    (tmp_path / "env").write_text(f'DEMO_USER="{written}"\n', errors="surrogateescape")
    program = f'source "{ROOT}/scripts/lib.sh"; setting DEMO_USER'
    environment = {"PATH": os.environ["PATH"], "ENV_FILE": str(tmp_path / "env")}
    done = subprocess.run(["bash", "-euc", program], env=environment, capture_output=True, check=True)
    assert done.stdout.decode(errors="surrogateescape") == f"{text.replace('$HOME', 'HOME')}\n"


@pytest.mark.parametrize("quote", ['"', "'"])
def test_lines_inside_a_quoted_value_set_nothing(quote: str) -> None:
    text = f"VALUE={quote}a\nINSIDE=b\nc{quote}\nAFTER=d\n"
    assert list(read(text).values) == ["VALUE", "AFTER"]
    assert [number for number, *_ in complaints(text)] == [1]


def test_an_unclosed_quote_does_not_hide_other_lines() -> None:
    assert value('OTHER="a\nVALUE=b\n') == "b"


# Lines that the generations of Compose read differently, or not at all -> the complaint about the last one.
REFUSED = {
    "VALUE=a$OTHER": "a $ that is not the $ of ${NAME}",
    'VALUE="a$$b"': "a $ that is not the $ of ${NAME}",
    "VALUE=${OTHER": "a $ that is not the $ of ${NAME}",
    "VALUE=${OTHER:?no}": "a $ that is not the $ of ${NAME}",
    "VALUE=${NONE:-$OTHER}": "a $ or a line break in the default of ${NONE:-...}",
    "VALUE=${EMPTY:-a}": "EMPTY is set but empty",
    "VALUE='${OTHER}'": "has ${ in single quotes",
    r"VALUE='a\\b'": r"has \\ in single quotes",
    r'VALUE="\${OTHER}"': r"has \$ in double quotes",
    'VALUE="a': "has no closing quote on its line",
    "VALUE='a": "has no closing quote on its line",
    'VALUE="a" b': "continues after its closing quote",
    "VALUE=a\t# why": "a tab before a #",
    "VALUE": "neither NAME=value nor a comment",
    "VALUE: a": "neither NAME=value nor a comment",
    "=a": "neither NAME=value nor a comment",
    "export VALUE": "neither NAME=value nor a comment",
    "VALUE-A=a": "neither NAME=value nor a comment",
    r'VALUE="a\\"': "ends with a backslash in double quotes",  # 1.29 searches all following lines for another quote
    r"""VALUE="it\'s\"""": r"has \' in double quotes",
    r'VALUE="a\0b"': r"has \0 in double quotes",
    r'VALUE="${NONE:-a\nb}"': "a line break in the default of ${NONE:-...}",
    "\u00a0VALUE=a": "begins with an unusual blank",
    "\u2003# a": "begins with an unusual blank",
    "\x0cVALUE=a": "begins with an unusual blank",
    "VALUE=\u00a0a": "VALUE begins with an unusual blank",
    'VALUE= \u3000"a"': "VALUE begins with an unusual blank",
    "VALUE=a\u2003": "ends with an unusual blank",
    "VALUE=a\x1c # b": "ends with an unusual blank",
    "VALUE=a\u00a0#b": "has an unusual blank before a #",
    "VALUE=a\x0b #b": "ends with an unusual blank",
    "VALUE=a\rOTHER=b": "contains a carriage return",
    "# a\rVALUE=b": "contains a carriage return",
    'VALUE="a\rb"': "contains a carriage return",
}


@pytest.mark.parametrize("line", REFUSED)
def test_an_ambiguous_line_is_refused(line: str) -> None:
    ((number, complaint, remedy),) = complaints(f"{BEFORE}{line}\n")
    assert (number, REFUSED[line] in complaint) == (3, True), complaint
    assert remedy


@pytest.mark.parametrize(
    "line", [b"VALUE=\xe4", b"# \xe4", b"VALUE='\xed\xa0\x80'", b"VALUE=\xc0\xaf", b"VALUE=a\xf0\x9f"]
)
def test_a_file_that_is_not_utf_8_is_refused(line: bytes) -> None:
    ((number, complaint, _),) = complaints(b"OTHER=a\n" + line + b"\n")
    assert (number, complaint) == (2, "this contains bytes that are not UTF-8")


def test_a_byte_order_mark_is_refused() -> None:
    ((number, complaint, _),) = complaints("\ufeffVALUE=a\n")
    assert (number, "byte order mark" in complaint) == (1, True)


# Value in the environment, line -> whether 1.29 (takes the value of an earlier line) and 2 (of the environment) differ.
@pytest.mark.parametrize(
    ("given", "line", "differs"),
    [
        ("new", "VALUE=${OTHER}", True),
        ("new", 'VALUE="a${OTHER:-b}"', True),
        ("", "VALUE=${OTHER}", True),
        ("other", "VALUE=${OTHER}", False),
        ("new", "VALUE='$OTHER'", False),
        ("new", "HOME=${OTHER}", False),  # is set in the environment itself
    ],
)
def test_a_variable_that_differs_in_file_and_environment_is_refused(given: str, line: str, differs: bool) -> None:
    found = complaints(f"{BEFORE}{line}\n", OTHER=given)
    assert [
        "OTHER has one value in this file and another in the environment" in complaint for _, complaint, _ in found
    ] == [True] * differs


def test_a_complaint_reveals_no_secret() -> None:
    """The complaint does not even quote the first word of a line without a name."""
    found = complaints('SECRET_KEY="very-secret$word\nsecret too\nsecret: secret\n')
    assert len(found) == 3
    assert "secret" not in str(found)


@pytest.mark.parametrize("compose", ["docker-compose", "docker compose"])
def test_compose_reads_the_same_values(tmp_path: Path, compose: str) -> None:
    if not is_here(compose):
        pytest.skip(f"no {compose} on this machine")
    names = {f"V{number}": written for number, written in enumerate(VALUES)}
    lines = "".join(f"{name}={written}\n" for name, written in names.items())
    (tmp_path / "env").write_bytes((BEFORE + lines).encode())
    variables = {name: f"${{{name}}}" for name in names}
    service = {"image": "none", "environment": variables}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({"version": "3.8", "services": {"one": service}}))
    command = [*compose.split(), "--env-file", "env", "config"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/of/nobody",
        "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", ""),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    values = yaml.safe_load(done.stdout)["services"]["one"]["environment"]
    # Compose prints $$ for $, so that it can read its own output.
    assert {written: str(values[name]).replace("$$", "$") for name, written in names.items()} == VALUES


def is_here(command: str) -> bool:
    words = [*command.split(), "version"]
    return bool(shutil.which(words[0])) and subprocess.run(words, capture_output=True, check=False).returncode == 0
