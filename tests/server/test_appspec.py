"""The application argument: parsed without executing code."""

import re

import pytest

from wsgiserver.appspec import AppSpec, Arguments, parse

PARSED: dict[str, AppSpec] = {
    "m": AppSpec("m", ("application",)),
    "m:": AppSpec("m", ("application",)),
    "a.b-c:app": AppSpec("a.b-c", ("app",)),
    "m:a.b.c": AppSpec("m", ("a", "b", "c")),
    "m:f()": AppSpec("m", ("f",), Arguments((), {})),
    "m:a.f()": AppSpec("m", ("a", "f"), Arguments((), {})),
    "m:f('a:b', 1, -2.5, None)": AppSpec("m", ("f",), Arguments(("a:b", 1, -2.5, None), {})),
    "m:f(debug=True, hosts=['x', 'y'])": AppSpec("m", ("f",), Arguments((), {"debug": True, "hosts": ["x", "y"]})),
    "m:f( {'a': (1, 2)}, )": AppSpec("m", ("f",), Arguments(({"a": (1, 2)},), {})),
}
LITERALS = (
    "has an argument that is not a literal;"
    " use strings, numbers, True, False, None, and lists, tuples and dictionaries of them"
)
WRITE = "write one such as config.wsgi:application or shop:create_app(debug=False)"
NO_NAME = f"has neither a name nor a call after the colon; {WRITE}"
NO_MODULE = f"does not begin with the name of a module; {WRITE}"
REFUSED = {
    "m:f(": NO_NAME,
    "m:f()()": NO_NAME,
    "m:f().app": NO_NAME,
    "m:1": NO_NAME,
    "m:'f'": NO_NAME,
    "m:f or g": NO_NAME,
    "m:a b": NO_NAME,
    "m:f[0]": NO_NAME,
    "m:a\0": NO_NAME,
    "m:(lambda: 1)()": NO_NAME,
    "m:f(x)": LITERALS,
    "m:f(g())": LITERALS,
    "m:f(*[1])": LITERALS,
    "m:f(**{'a': 1})": LITERALS,
    "m:f(__import__('os').getcwd())": LITERALS,
    "m:f(debug=DEBUG)": LITERALS,
    "m:f({[]: 1})": LITERALS,
    "": NO_MODULE,
    ":app": NO_MODULE,
    "app/wsgi.py": NO_MODULE,
    "m.create_app()": NO_MODULE,
}


@pytest.mark.parametrize("text", PARSED)
def test_a_name_of_an_application_is_parsed(text: str) -> None:
    assert parse(text) == PARSED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_a_text_that_names_no_application_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{text!r} {REFUSED[text]}')}$"):
        parse(text)
