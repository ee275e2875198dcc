"""The OpenAPI schema: valid, and correct in the important parts. tests/stack compares it with the running stack."""

from typing import Any

import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema

LOGIN: list[dict[str, list[str]]] = [{"knoxApiToken": []}, {"cookieAuth": []}]

SECURITY: dict[str, list[dict[str, list[str]]]] = {"post /api/token": [{}]}  # operations whose security is not a login

# With a description, drf-spectacular would not detect that these are lists with pages.
LISTS = {"get /api/photos/", "get /api/tokens"}


@pytest.fixture
def schema(client: Client) -> dict[str, Any]:
    response = client.get("/api/schema/")
    assert response.status_code == 200
    return response.json()  # type: ignore[no-any-return]  # an object, says the next line


def test_the_schema_is_valid(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call]  # the package has no types


def test_the_schema_has_every_operation_with_its_errors(schema: dict[str, Any]) -> None:
    operations = {f"{m} {path}": o for path, methods in schema["paths"].items() for m, o in methods.items()}
    assert set(operations) == {
        "get /api/photos/",
        "post /api/photos/",
        "get /api/photos/{name}",
        "put /api/photos/{name}",
        "patch /api/photos/{name}",
        "delete /api/photos/{name}",
        "post /api/token",
        "get /api/tokens",
    }
    for name, operation in operations.items():
        is_read = name.startswith("get /api/photos")
        assert operation["security"] == ([*LOGIN, {}] if is_read else SECURITY.get(name, LOGIN))
        assert {"429", "503"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if name not in LISTS:
                assert response["description"] not in {"", "No response body"}, (name, status)
            if int(status) >= 400:
                content = response["content"]["application/json"]
                assert content == {"schema": {"$ref": "#/components/schemas/Error"}}, (name, status)


def test_request_bodies_of_uploads_are_binary(schema: dict[str, Any]) -> None:
    put = schema["paths"]["/api/photos/{name}"]["put"]["requestBody"]
    assert put["required"]
    assert set(put["content"]) >= {"image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream"}
    assert all(body == {"schema": {"type": "string", "format": "binary"}} for body in put["content"].values())
    post = schema["paths"]["/api/photos/"]["post"]["requestBody"]
    assert post["required"]
    form = schema["components"]["schemas"]["UploadRequest"]
    assert form["properties"]["file"]["items"] == {"type": "string", "format": "binary"}


def test_the_security_schemes_are_declared(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    assert set(schemes) == {"knoxApiToken", "cookieAuth"}
    assert (schemes["knoxApiToken"]["type"], schemes["knoxApiToken"]["name"]) == ("apiKey", "Authorization")
    assert "Token" in schemes["knoxApiToken"]["description"]
    assert schemes["cookieAuth"] == {**schemes["cookieAuth"], "type": "apiKey", "in": "cookie", "name": "sessionid"}
    assert "X-CSRFToken" in schemes["cookieAuth"]["description"]
