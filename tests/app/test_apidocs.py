"""The page of the API: it shows the whole schema, complies with our policy, and loads nothing from other sites."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings


@pytest.fixture
def page(client: Client) -> Any:
    response = client.get(reverse("api-docs"))
    assert response.status_code == 200
    return response


def test_the_page_shows_every_operation_with_its_responses(client: Client, page: Any) -> None:
    text = page.content.decode()
    for path, methods in client.get("/api/schema/").json()["paths"].items():
        for method, operation in methods.items():
            name = f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}"
            (section,) = re.findall(rf'(?s)<section id="{name}".*?</section>', text)
            assert f"{method.upper()} <code>{path}</code>" in section
            assert operation["summary"] in section.replace("&#x27;", "'")
            for status in operation["responses"]:
                assert f"<td>{status}</td>" in section
            for parameter in operation.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in section
            for media_type in operation.get("requestBody", {}).get("content", {}):
                assert media_type in section


def test_the_page_explains_the_login_and_the_fields_of_each_object(client: Client, page: Any) -> None:
    text = page.content.decode()
    assert "Authorization: Token" in text
    for name, schema in client.get("/api/schema/").json()["components"]["schemas"].items():
        assert f'id="{name}"' in text
        for field in schema["properties"]:
            assert f"<code>{field}</code>" in text


def test_the_page_loads_no_script_and_nothing_from_other_sites(page: Any) -> None:
    text = page.content.decode()
    assert "<script" not in text
    assert not re.search(r'\sstyle="|\son[a-z]+="', text)
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', text)
    assert loaded
    assert all(address.startswith("/static/") for address in loaded)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_the_links_of_the_page_have_targets(client: Client, page: Any) -> None:
    text = page.content.decode()
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    assert reverse("api-schema") in text


def test_the_page_is_public_and_read_only(client: Client, settings: Settings) -> None:
    settings.GALLERY_PUBLIC = False
    assert client.get("/api/docs/").status_code == 200
    assert client.head("/api/docs/").status_code == 200
    assert client.post("/api/docs/").status_code == 405
