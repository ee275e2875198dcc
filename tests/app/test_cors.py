"""Pages of other sites: only pages of the configured origins may use the API, and only with a token, not a cookie."""

from contextlib import closing
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from tests.app.pictures import picture
from uploadstack import env

APP = "https://app.example.com"


@pytest.fixture(autouse=True)
def allowed_origin(settings: Settings) -> None:
    """Configure an origin, as config/settings.py does with the variable."""
    settings.CORS_ALLOWED_ORIGINS = [APP]
    first, *rest = settings.MIDDLEWARE
    settings.MIDDLEWARE = [first, "corsheaders.middleware.CorsMiddleware", *rest]


def preflight(address: str, method: str, origin: str, headers: str = "authorization,content-type") -> Any:
    preflight = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return Client().options(address, headers=preflight)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("address", ["/api/photos/", "/api/photos", "/api/photos/a.jpg", "/api/token", "/photos/a.jpg"])
def test_an_allowed_origin_may_use_the_api(transactional_db: None, address: str, method: str) -> None:
    response = preflight(address, method, APP, "authorization,content-type,if-none-match,range")
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == APP
    assert method in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "content-type", "if-none-match", "range"} <= set(allowed)
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", ["https://other.example", "http://app.example.com", f"{APP}.evil.example", "null"])
def test_another_origin_may_not_use_the_api(api: Client, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in preflight("/api/photos/a.jpg", "PUT", origin).headers
    assert "Access-Control-Allow-Origin" not in api.get("/api/photos/", headers={"Origin": origin}).headers


def test_no_origin_is_allowed_by_default(api: Client, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = []
    assert "Access-Control-Allow-Origin" not in preflight("/api/photos/a.jpg", "PUT", APP).headers
    assert env.origins("CORS_ALLOWED_ORIGINS", {}) == []


def test_an_allowed_origin_may_read_responses_and_errors(api: Client, client: Client) -> None:
    put = api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg", headers={"Origin": APP})
    with closing(api.get("/photos/a.jpg", headers={"Origin": APP})) as original:
        answers = [
            put,
            original,
            api.get("/api/photos/none.jpg", headers={"Origin": APP}),  # 404
            client.put("/api/photos/a.jpg", b"x", headers={"Origin": APP}),  # 401
            api.post("/api/photos//", headers={"Origin": APP}),  # 405
            api.put("/api/photos/b.jpg", b"x" * (21 << 20), content_type="image/jpeg", headers={"Origin": APP}),  # 413
        ]
        assert [answer.status_code for answer in answers] == [201, 200, 404, 401, 405, 413]
        for answer in answers:
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert "origin" in answer.headers["Vary"].lower()
            assert {"ETag", "Retry-After", "X-Request-ID"} <= set(
                answer.headers["Access-Control-Expose-Headers"].split(", ")
            )


def test_html_pages_have_no_cors_headers(client: Client, transactional_db: None) -> None:
    for address in ("/", "/login/"):
        assert "Access-Control-Allow-Origin" not in client.get(address, headers={"Origin": APP}).headers


def test_a_session_without_its_csrf_token_is_refused(browser: Client) -> None:
    response = browser.put("/api/photos/a.jpg", picture(), content_type="image/jpeg", headers={"Origin": APP})
    assert response.status_code == 403


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://*.example.com",
        "app.example.com",
        f"{APP}/",
        f"{APP}/x",
        "HTTPS://app.example.com",
        "null",
        "ftp://a",
    ],
)
def test_an_invalid_origin_in_the_setting_is_refused(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="CORS_ALLOWED_ORIGINS"):
        env.origins("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": value})


def test_valid_origins_in_the_setting_are_accepted() -> None:
    value = f"{APP}, http://localhost:5173,http://[::1]:8000"
    found = env.origins("CORS_ALLOWED_ORIGINS", {"CORS_ALLOWED_ORIGINS": value})
    assert found == [APP, "http://localhost:5173", "http://[::1]:8000"]
