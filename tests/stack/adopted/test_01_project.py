"""Another project on this stack: its pages have their styles, and its uploads are stored, shown and safe."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser

from tests.stack.adopted.conftest import NAME, PASSWORD, token_of
from tests.stack.browsing import SCREENS, Visit
from tests.stack.pictures import MEGABYTE, Picture, padded
from tests.stack.stack import Stack, run

PAGE = b"<!doctype html><script>document.title = 'ran'</script>"


def in_chunks(session: requests.Session, address: str, **files: tuple[str, bytes]) -> requests.Response:
    """Send the admin's form with Transfer-Encoding: chunked, 64 KB in each."""
    form = {"csrfmiddlewaretoken": token_of(session), "owner": "1"}
    prepared = requests.Request("POST", address, data=form, files=files).prepare()
    body = prepared.body
    assert isinstance(body, bytes)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    kind = {"Content-Type": prepared.headers["Content-Type"]}
    return session.post(address, data=pieces(), headers=kind, allow_redirects=False, timeout=60)


def added(adopted: Stack, staff: requests.Session, kind: str, field: str, name: str, content: bytes) -> None:
    answer = in_chunks(staff, f"{adopted.url}/admin/pictures/{kind}/add/", **{field: (name, content)})
    assert (answer.status_code, answer.headers.get("Location")) == (302, f"/admin/pictures/{kind}/"), answer.text


def get(adopted: Stack, address: str, session: requests.Session | None = None) -> requests.Response:
    """Without a login, unless there is a session."""
    with requests.Session() as anonymous:
        anonymous.trust_env = False
        return (session or anonymous).get(f"{adopted.url}{address}", allow_redirects=False, timeout=60)


def test_every_container_is_healthy_and_ready(adopted: Stack) -> None:
    assert {service for service in ("nginx", "web", "gunicorn") if not adopted.is_healthy(service)} == set()
    assert get(adopted, "/readyz").json() == {"status": "ok", "database": "ok", "media": "ok", "disk": "ok"}


def test_make_up_prints_the_site_and_nothing_of_the_sample(adopted: Stack) -> None:
    output = adopted.script("welcome.sh", "stack", "first")
    assert "Site " in output
    assert "createsuperuser" in output
    assert not [word for word in ("Gallery", "Login", "/api/photos") if word in output]


def test_the_admin_has_its_style_sheets(adopted: Stack) -> None:
    page = get(adopted, "/admin/login/")
    assert "Content-Security-Policy" not in page.headers, "a policy that the project has not set"
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets
    for address in sheets:
        sheet = get(adopted, address)
        assert (sheet.status_code, sheet.headers["Content-Type"].partition(";")[0]) == (200, "text/css"), address
        assert sheet.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("screen", SCREENS)
def test_pages_load_without_errors_in_a_browser(
    adopted: Stack, staff: requests.Session, browser: Browser, photo: Picture, screen: str
) -> None:
    added(adopted, staff, "picture", "image", "seen.jpg", photo.content)
    with browser.new_context(base_url=adopted.url, **SCREENS[screen]) as context:
        visit = Visit(context.new_page(), screen)
        visit.page.goto("/")
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        visit.check("own-home")
        visit.page.goto("/admin/")
        visit.page.get_by_label("Username").fill(NAME)
        visit.page.get_by_label("Password").fill(PASSWORD)
        visit.check("own-login")
        visit.page.get_by_role("button", name="Log in").click()
        visit.page.goto("/admin/pictures/picture/")
        color = visit.page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor")
        assert color != "rgba(0, 0, 0, 0)", "the admin without its style sheet"
        visit.check("own-admin")


def test_a_picture_uploaded_in_chunks_is_served_unchanged(
    adopted: Stack, staff: requests.Session, photo: Picture
) -> None:
    added(adopted, staff, "picture", "image", "sent.jpg", photo.content)
    answer = get(adopted, "/media/pictures/sent.jpg")
    assert (answer.status_code, Picture(answer.content).sha256) == (200, photo.sha256)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert 'src="/media/pictures/sent.jpg"' in get(adopted, "/").text


def test_an_upload_can_be_larger_than_tmp(adopted: Stack, staff: requests.Session, photo: Picture) -> None:
    """/tmp has 64 MB."""
    large = padded(photo, 80 * MEGABYTE)
    added(adopted, staff, "picture", "image", "large.jpg", large.content)
    assert Picture(get(adopted, "/media/pictures/large.jpg").content).sha256 == large.sha256


def test_an_uploaded_html_page_is_served_as_an_attachment(adopted: Stack, staff: requests.Session) -> None:
    added(adopted, staff, "attachment", "file", "page.html", PAGE)
    answer = get(adopted, "/media/attachments/page.html")
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_private_file_is_served_to_its_owner_only(adopted: Stack, staff: requests.Session, photo: Picture) -> None:
    added(adopted, staff, "paper", "file", "mine.jpg", photo.content)
    own = get(adopted, "/papers/1/", staff)
    assert (own.status_code, own.content == photo.content) == (200, True)
    assert (own.headers["Content-Type"], own.headers["Cache-Control"]) == ("image/jpeg", "private, no-cache")
    assert get(adopted, "/papers/1/").status_code == 302
    assert [get(adopted, f"/{folder}/mine.jpg").status_code for folder in ("media/private", "_private")] == [404, 404]


def test_nginx_server_and_django_log_the_same_request_id(adopted: Stack) -> None:
    answer = get(adopted, "/nothing/")
    assert answer.status_code == 404
    name = answer.headers["X-Request-ID"]
    assert [line["path"] for line in adopted.lines("nginx") if line["request_id"] == name] == ["/nothing/"]
    of_web = [line for line in adopted.lines("web") if line.get("request_id") == name]
    assert [line["path"] for line in of_web if line.get("event") == "request"] == ["/nothing/"]
    assert [line["message"] for line in of_web if line.get("logger") == "django.request"] == ["Not Found: /nothing/"]


def test_forged_proxy_headers_are_dropped_in_any_project(adopted: Stack) -> None:
    """Fields that nginx knows are cleared there; the boundary drops other names."""
    with requests.Session() as client:
        client.trust_env = False
        sent = {"X-Forwarded-8f3a": "forged", "X-Accel-8f3a": "forged", "X-Own": "arrives"}
        seen = client.get(f"{adopted.url}/seen/", headers=sent, timeout=20).json()
    assert seen["X-Own"] == "arrives"
    assert [name for name, value in seen.items() if value == "forged"] == []
    assert seen["X-Forwarded-Proto"] == "http"


def test_a_post_without_its_final_slash_is_refused_and_not_redirected(
    adopted: Stack, staff: requests.Session, photo: Picture
) -> None:
    answer = in_chunks(staff, f"{adopted.url}/admin/pictures/picture/add", image=("lost.jpg", photo.content))
    assert answer.status_code == 404, answer.headers
    assert answer.json()["error"] == "wrong-address"
    assert "/admin/pictures/picture/add/" in answer.json()["detail"]
    assert get(adopted, "/media/pictures/lost.jpg").status_code == 404


def test_a_backup_has_database_and_uploads(adopted: Stack, staff: requests.Session, tmp_path: Path) -> None:
    added(adopted, staff, "attachment", "file", "kept.txt", b"kept")
    archive = adopted.script("backup.sh", BACKUPS=str(tmp_path)).strip()
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert {"database.sqlite3", "media/attachments/kept.txt"} <= set(names)


def test_a_backup_reports_a_missing_file_that_a_row_names(
    adopted: Stack, staff: requests.Session, tmp_path: Path
) -> None:
    """The project declares which columns name files, private ones included."""
    added(adopted, staff, "paper", "file", "gone.txt", b"gone")
    aside = "/srv/media/private/gone.txt /srv/media/.aside"
    adopted.script("shell.sh", "web", "mv", *aside.split())
    try:
        with pytest.raises(AssertionError, match=r"files that rows name were missing.*private/gone\.txt"):
            adopted.script("backup.sh", BACKUPS=str(tmp_path))
    finally:
        adopted.script("shell.sh", "web", "mv", *reversed(aside.split()))


def test_the_image_has_no_database_of_the_developer(adopted: Stack) -> None:
    assert "db.sqlite3" not in run("docker", "exec", adopted.container("web")["Id"], "ls", "/app").split()
