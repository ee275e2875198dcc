"""The page that documents the API for people: the OpenAPI document as HTML, rendered on the server.

It has no script and loads nothing from other sites, so the policy of all pages permits it (config/settings.py).
"""

import re
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

_LOGINS = {"knoxApiToken": "a token", "cookieAuth": "a session"}


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "photos/api.html", _contents())


@cache
def _contents() -> dict[str, Any]:
    """The content is the same for all visitors, until the process ends."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # untyped
    operations = [
        _operation(path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    components = schema["components"]
    return {
        "description": schema["info"]["description"],
        "operations": operations,
        "schemes": [_marked(scheme["description"]) for scheme in components["securitySchemes"].values()],
        "objects": [_object(name, content) for name, content in components["schemas"].items()],
    }


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "id": f"{method}-{re.sub('[{}]', '', path).strip('/').replace('/', '-')}",
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": _marked(operation.get("description", "")),
        "needs": " or ".join(_LOGINS[name] for choice in operation["security"] for name in choice),
        "is_open": {} in operation["security"],
        "parameters": [_described(parameter) for parameter in operation.get("parameters", [])],
        "media_types": list(body),
        "body": _named(next(iter(body.values()))["schema"]) if body else "",
        "responses": [_response(status, answer) for status, answer in operation["responses"].items()],
    }


def _described(parameter: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter["name"],
        "location": parameter["in"],
        "is_required": parameter.get("required", False),
        "description": _marked(parameter.get("description", "")),
    }


def _response(status: str, answer: dict[str, Any]) -> dict[str, Any]:
    content = answer.get("content", {})
    schema = next(iter(content.values()))["schema"] if content else {}
    return {"status": status, "description": _marked(answer.get("description", "")), "object": _named(schema)}


def _object(name: str, content: dict[str, Any]) -> dict[str, Any]:
    fields = [
        {"name": field, "type": _type(value), "description": _marked(value.get("description", ""))}
        for field, value in content.get("properties", {}).items()
    ]
    return {"name": name, "description": _marked(content.get("description", "")), "fields": fields}


def _named(schema: dict[str, Any]) -> str:
    """Return the name of the object in a schema, directly or in a list; empty for bytes and other types."""
    found = re.search(r"#/components/schemas/(\w+)", str(schema))
    return found[1] if found else ""


def _type(schema: dict[str, Any]) -> str:
    return str(schema.get("format") or schema.get("type") or _named(schema))


def _marked(text: str) -> SafeString:
    """Mark text between backticks as code."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped
