"""Somebody's own project on this stack: its pages have their styles, and its uploads are stored, shown and safe."""

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
    """As a stranger, unless there is a session."""
    with requests.Session() as stranger:
        stranger.trust_env = False
        return (session or stranger).get(f"{adopted.url}{address}", allow_redirects=False, timeout=60)


def test_every_container_is_well(adopted: Stack) -> None:
    assert {service for service in ("nginx", "web", "gunicorn") if not adopted.is_healthy(service)} == set()
    assert get(adopted, "/readyz").json() == {"status": "ok", "database": "ok", "media": "ok", "disk": "ok"}


def test_make_up_names_the_site_and_no_user_of_the_sample(adopted: Stack) -> None:
    told = adopted.script("welcome.sh", "stack", "first")
    assert "Site " in told
    assert "createsuperuser" in told
    assert not [word for word in ("Gallery", "Login", "/api/photos") if word in told]


def test_the_admin_has_its_style_sheets(adopted: Stack) -> None:
    page = get(adopted, "/admin/login/")
    assert "Content-Security-Policy" not in page.headers, "a policy that the project has not made"
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets
    for address in sheets:
        sheet = get(adopted, address)
        assert (sheet.status_code, sheet.headers["Content-Type"].partition(";")[0]) == (200, "text/css"), address
        assert sheet.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("screen", SCREENS)
def test_a_browser_has_nothing_to_complain_about(
    adopted: Stack, staff: requests.Session, browser: Browser, photo: Picture, screen: str
) -> None:
    added(adopted, staff, "picture", "image", "seen.jpg", photo.content)
    with browser.new_context(base_url=adopted.url, **SCREENS[screen]) as context:
        visit = Visit(context.new_page(), screen)
        visit.page.goto("/")
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        visit.look("own-home")
        visit.page.goto("/admin/")
        visit.page.get_by_label("Username").fill(NAME)
        visit.page.get_by_label("Password").fill(PASSWORD)
        visit.look("own-login")
        visit.page.get_by_role("button", name="Log in").click()
        visit.page.goto("/admin/pictures/picture/")
        color = visit.page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor")
        assert color != "rgba(0, 0, 0, 0)", "the admin without its style sheet"
        visit.look("own-admin")


def test_a_picture_that_came_in_chunks_goes_out_byte_for_byte(
    adopted: Stack, staff: requests.Session, photo: Picture
) -> None:
    added(adopted, staff, "picture", "image", "sent.jpg", photo.content)
    answer = get(adopted, "/media/pictures/sent.jpg")
    assert (answer.status_code, Picture(answer.content).sha256) == (200, photo.sha256)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert 'src="/media/pictures/sent.jpg"' in get(adopted, "/").text


def test_an_upload_may_be_larger_than_the_memory_for_temporary_files(
    adopted: Stack, staff: requests.Session, photo: Picture
) -> None:
    """/tmp has 64 MB."""
    large = padded(photo, 80 * MEGABYTE)
    added(adopted, staff, "picture", "image", "large.jpg", large.content)
    assert Picture(get(adopted, "/media/pictures/large.jpg").content).sha256 == large.sha256


def test_a_page_that_was_uploaded_is_none_of_this_site(adopted: Stack, staff: requests.Session) -> None:
    added(adopted, staff, "attachment", "file", "page.html", PAGE)
    answer = get(adopted, "/media/attachments/page.html")
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_private_file_goes_to_its_owner_alone(adopted: Stack, staff: requests.Session, photo: Picture) -> None:
    added(adopted, staff, "paper", "file", "mine.jpg", photo.content)
    own = get(adopted, "/papers/1/", staff)
    assert (own.status_code, own.content == photo.content) == (200, True)
    assert (own.headers["Content-Type"], own.headers["Cache-Control"]) == ("image/jpeg", "private, no-cache")
    assert get(adopted, "/papers/1/").status_code == 302
    assert [get(adopted, f"/{place}/mine.jpg").status_code for place in ("media/private", "_private")] == [404, 404]


def test_one_request_id_goes_through_nginx_the_server_and_django(adopted: Stack) -> None:
    answer = get(adopted, "/nothing/")
    assert answer.status_code == 404
    name = answer.headers["X-Request-ID"]
    assert [line["path"] for line in adopted.lines("nginx") if line["request_id"] == name] == ["/nothing/"]
    of_web = [line for line in adopted.lines("web") if line.get("request_id") == name]
    assert [line["target"] for line in of_web if line.get("event") == "request"] == ["/nothing/"]
    assert [line["message"] for line in of_web if line.get("logger") == "django.request"] == ["Not Found: /nothing/"]


def test_the_trust_boundary_is_there_whatever_the_project_is(adopted: Stack) -> None:
    """What nginx knows it empties; a name that nobody has thought of is the boundary's."""
    with requests.Session() as client:
        client.trust_env = False
        said = {"X-Forwarded-8f3a": "forged", "X-Accel-8f3a": "forged", "X-Own": "arrives"}
        seen = client.get(f"{adopted.url}/seen/", headers=said, timeout=20).json()
    assert seen["X-Own"] == "arrives"
    assert [name for name, value in seen.items() if value == "forged"] == []
    assert seen["X-Forwarded-Proto"] == "http"


def test_a_post_without_its_last_slash_is_not_lost_in_a_redirect(
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


def test_a_backup_misses_a_file_that_a_row_of_the_project_names(
    adopted: Stack, staff: requests.Session, tmp_path: Path
) -> None:
    """The project says which columns name files, private ones included: what is gone without its row is noticed."""
    added(adopted, staff, "paper", "file", "gone.txt", b"gone")
    aside = "/srv/media/private/gone.txt /srv/media/.aside"
    adopted.script("shell.sh", "web", "mv", *aside.split())
    try:
        with pytest.raises(AssertionError, match=r"files that rows name were missing.*private/gone\.txt"):
            adopted.script("backup.sh", BACKUPS=str(tmp_path))
    finally:
        adopted.script("shell.sh", "web", "mv", *reversed(aside.split()))


def test_the_image_has_no_database_of_the_developer_s_machine(adopted: Stack) -> None:
    assert "db.sqlite3" not in run("docker", "exec", adopted.container("web")["Id"], "ls", "/app").split()
