"""What to serve, as the command line names it: `MODULE`, `MODULE:NAME` or `MODULE:FACTORY(...)` -> AppSpec.

    config.wsgi                             the attribute `application` of the module
    config.wsgi:app.wsgi                    an attribute of an attribute
    shop:create_app("live", debug=False)    what the call returns; called once in each process that loads it

Nothing is imported here. Arguments have to be literals, so that reading them runs no code, as in gunicorn.
`process/importing.py` does the rest.
"""

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

_WRITE = "write one such as config.wsgi:application or shop:create_app(debug=False)"


class AppSpec(NamedTuple):
    """A module, the name in it, and the arguments where that is to be called."""

    module: str
    names: tuple[str, ...]
    arguments: "Arguments | None" = None  # of a factory


class Arguments(NamedTuple):
    """The arguments of a call, which are literals."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]


def parse(text: str) -> AppSpec:
    """Take `MODULE:NAME` or `MODULE:FACTORY(...)` apart. Raises ValueError, which says what to write."""
    module, colon, rest = text.partition(":")
    if not module or set(module) & set("/\\() "):
        raise ValueError(f"{text!r} does not begin with the name of a module; {_WRITE}")
    if not colon or not rest:
        return AppSpec(module, ("application",))
    try:
        expression = ast.parse(rest, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _not_a_name(text) from None
    if isinstance(expression, ast.Call):
        return AppSpec(module, _names(expression.func, text), _arguments(expression, text))
    return AppSpec(module, _names(expression, text))


def _arguments(call: ast.Call, text: str) -> Arguments:
    try:
        positional: tuple[Any, ...] = tuple(ast.literal_eval(argument) for argument in call.args)
        named: dict[str | None, Any] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # as literal_eval's documentation has it
        positional, named = (), {None: None}
    if None in named:  # or **arguments
        raise ValueError(
            f"{text!r} has an argument that is not a literal;"
            " use strings, numbers, True, False, None, and lists, tuples and dictionaries of them"
        )
    return Arguments(positional, {str(name): value for name, value in named.items()})


def _names(expression: ast.expr, text: str) -> tuple[str, ...]:
    """`app.wsgi` -> its parts."""
    if isinstance(expression, ast.Name):
        return (expression.id,)
    if isinstance(expression, ast.Attribute):
        return (*_names(expression.value, text), expression.attr)
    raise _not_a_name(text)


def _not_a_name(text: str) -> ValueError:
    return ValueError(f"{text!r} has neither a name nor a call after the colon; {_WRITE}")
