"""What to serve, as the command line names it: `MODULE`, `MODULE:NAME` or `MODULE:FACTORY(...)` -> AppSpec.

    config.wsgi                             its attribute `application`
    config.wsgi:app.wsgi                    an attribute, and one of that
    shop:create_app("live", debug=False)    what that returns; called once in each process that loads it

Nothing is imported here, and only literals may be arguments, so that reading them runs no code. (The same as in
gunicorn.) `process/importing.py` does the rest.
"""

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

EXAMPLES = "config.wsgi:application, or shop:create_app('live', debug=False)"


class AppSpec(NamedTuple):
    """A module, the name in it, and whether that is to be called, and with what."""

    module: str
    names: tuple[str, ...]
    arguments: "Arguments | None" = None  # of a factory


class Arguments(NamedTuple):
    """Of a call: literals."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]


def parse(text: str) -> AppSpec:
    """Take `MODULE:NAME` or `MODULE:FACTORY(...)` apart. Raises ValueError, which says what would do."""
    module, colon, rest = text.partition(":")
    if not module or set(module) & set("/\\() "):
        raise ValueError(f"{module!r} is not the name of a module, as in {EXAMPLES}")
    if not colon or not rest:
        return AppSpec(module, ("application",))
    try:
        expression = ast.parse(rest, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{rest!r} is neither a name nor a call, as in {EXAMPLES}") from None
    if isinstance(expression, ast.Call):
        return AppSpec(module, _names(expression.func, rest), _arguments(expression, rest))
    return AppSpec(module, _names(expression, rest))


def _arguments(call: ast.Call, text: str) -> Arguments:
    try:
        positional: tuple[Any, ...] = tuple(ast.literal_eval(argument) for argument in call.args)
        named: dict[str | None, Any] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # as literal_eval's documentation has it
        positional, named = (), {None: None}
    if None in named:  # or **arguments
        raise ValueError(f"{text!r}: arguments have to be literals: strings, numbers, True, None, lists of them")
    return Arguments(positional, {str(name): value for name, value in named.items()})


def _names(expression: ast.expr, text: str) -> tuple[str, ...]:
    """`app.wsgi` -> its parts."""
    if isinstance(expression, ast.Name):
        return (expression.id,)
    if isinstance(expression, ast.Attribute):
        return (*_names(expression.value, text), expression.attr)
    raise ValueError(f"{text!r} is neither a name nor a call, as in {EXAMPLES}")
