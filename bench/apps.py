"""The smallest application there is: where it is served, the server alone is what is measured."""

from collections.abc import Callable, Iterable
from typing import Any

HELLO = b"Hello, World!"


def application(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))])
    return [HELLO]
