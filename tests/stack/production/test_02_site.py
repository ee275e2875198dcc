"""The site over HTTPS, on PostgreSQL, for browsers and programs."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.stack.browsing import Visit, as_file, check_shown
from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, Stack

PROTOCOL = "performance.getEntriesByType('navigation')[0].nextHopProtocol"


@pytest.fixture
def certificate(production: Stack, tmp_path: Path) -> Path:
    """The certificate that a client has to trust."""
    path = tmp_path / "certificate.pem"
    path.write_text(production.exec("nginx", "cat", "/srv/certificates/self-signed.pem"))
    return path


@pytest.fixture
def visitor(production: Stack, browser: Browser) -> Iterator[Visit]:
    """A browser that ignores certificate errors."""
    with browser.new_context(base_url=production.url, ignore_https_errors=True) as context:
        context.set_default_timeout(60_000)  # milliseconds
        yield Visit(context.new_page(), "https")


def test_a_browser_logs_in_and_uploads(production: Stack, visitor: Visit, photo: Picture, name: str) -> None:
    """Over HTTP/2; Django accepts the forms, and all cookies are secure."""

    def upload() -> None:
        visitor.page.goto("/")
        visitor.page.get_by_label("choose").set_input_files(as_file(name, photo))
        check_shown(visitor.page, name)

    visitor.repeat_interrupted(lambda: visitor.log_in(production))
    assert visitor.page.evaluate(PROTOCOL) == "h2"
    visitor.repeat_interrupted(upload)
    assert production.probe("photo", name)["file_sha256"] == photo.sha256
    cookies = visitor.page.context.cookies()
    names = {cookie["name"] for cookie in cookies}
    assert names >= {f"sessionid_{production.project}", f"csrftoken_{production.project}"}
    assert all(cookie["secure"] for cookie in cookies)
    visitor.check("production")


def curl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["curl", "-sS", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# How curl sends the file. In HTTP/2, every frame has its length, and the body needs none.
WAYS = {
    "HTTP/2, no length": ["--http2", "-H", "Content-Length:"],
    "HTTP/2, with a length": ["--http2"],
    "HTTP/1.1, chunked": ["--http1.1", "-H", "Transfer-Encoding: chunked"],
    "HTTP/1.1, with a length": ["--http1.1"],
}


@pytest.mark.parametrize("route", ["/api/photos/", "/streamed/api/photos/"])
@pytest.mark.parametrize("way", WAYS)
def test_an_upload_over_https_is_stored_whole(
    production: Stack, certificate: Path, photo: Picture, name: str, way: str, route: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(photo.content)
    credentials = ["--cacert", str(certificate), "-H", f"Authorization: Token {production.token}"]
    done = curl(*credentials, *WAYS[way], "-T", str(file), f"{production.url}{route}{name}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sha256"] == photo.sha256
    assert production.probe("photo", name)["file_sha256"] == photo.sha256


def test_an_upload_over_http_is_redirected_to_https_and_stored(
    production: Stack, certificate: Path, photo: Picture, name: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(photo.content)
    credentials = ["--cacert", str(certificate), "--location-trusted", "-H", f"Authorization: Token {production.token}"]
    target = f"http://127.0.0.1:{production.http_port}/api/photos/{name}"
    done = curl(*credentials, "-w", "\n%{num_redirects} %{url_effective}", "-T", str(file), target)
    assert done.returncode == 0, done.stderr
    answer, _, way = done.stdout.rpartition("\n")
    assert way == f"1 {production.url}/api/photos/{name}"
    assert json.loads(answer)["sha256"] == photo.sha256


def test_the_upload_command_that_make_up_prints_works_over_https(production: Stack) -> None:
    """The text says that the certificate is self-signed, and the command works unchanged."""
    assert "self-signed" in production.script("welcome.sh", "stack")
    production.paste_upload()
    sample = Picture((ROOT / "docs" / "sample.jpg").read_bytes())
    assert production.probe("photo", "sample.jpg")["file_sha256"] == sample.sha256
