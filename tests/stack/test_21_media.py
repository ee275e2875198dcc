"""Uploads of another project: /media/ is public, /_private/ is served if a view allows it.

The tests use the real nginx, with the file that the Dockerfile makes for a project whose MEDIA_URL is /media/.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.stack.echo import Backends, Edge, ask, request
from tests.stack.stack import Stack
from tests.wire.answers import Answer

PAGE = "<script>document.title = 'ran'</script>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10" onload="document.title = 1"/>'
FILES = {
    "photos/cat.jpg": "0123456789", "photos/CAT.JPG": "0123456789", "photos/a b.png": "0123456789",
    "clip.mp4": "0123456789",
    "page.html": PAGE, "page.HTM": PAGE, "page.xhtml": PAGE, "page.xml": PAGE, "cat.jpg.html": PAGE, "page.svgz": PAGE,
    "logo.svg": SVG, "script.js": "document.title = 'ran'", "script.mjs": "", "style.css": "* { color: red }",
    "paper.pdf": PAGE, "note.txt": PAGE, "nothing": PAGE, "page.shtml": PAGE, "data.json": "{}", "program.wasm": "",
    ".hidden": "secret", "photos/.hidden.jpg": "secret", ".quarantine/x.jpg": "secret", ".library-count": "secret",
    "private/paper.pdf": "secret", "private/cat.jpg": "secret", "private/page.html": PAGE,
    "originals/00/x.jpg": "0123456789", "thumbs/x.webp": "0123456789", "incoming/x": "0123456789",
}  # fmt: skip
WRITE = 'mkdir -p "$(dirname "/srv/media/$0")" && printf %s "$1" > "/srv/media/$0"'


@pytest.fixture(scope="module")
def site(backends: Backends) -> Iterator[Edge]:
    with Edge(backends, {}, files={"/opt/nginx/media-url": "/media/\n"}) as running:
        fill(running)
        yield running


def fill(edge: Edge) -> None:
    for name, text in FILES.items():
        edge.exec("sh", "-c", WRITE, name, text)
    edge.exec("sh", "-c", "ln -s /etc/passwd /srv/media/passwd.txt; ln -s /etc /srv/media/etc")


def get(edge: Edge, target: str, *fields: str, method: str = "GET") -> Answer:
    answer = ask(edge.wire("web"), request(target, *fields, method=method))
    assert answer, "closed without an answer"
    return answer


# Files that browsers show -> their type.
SHOWN = {
    "photos/cat.jpg": "image/jpeg",
    "photos/CAT.JPG": "image/jpeg",
    "photos/a%20b.png": "image/png",
    "clip.mp4": "video/mp4",
    "note.txt": "text/plain; charset=utf-8",
}
# Files that browsers download -> their type. SVG keeps its type for pages that embed it, PDF for the viewer.
SAVED = dict.fromkeys(
    [
        *("page.html", "page.HTM", "page.xhtml", "page.xml", "cat.jpg.html", "page.svgz", "page.shtml", "nothing"),
        *("script.js", "script.mjs", "style.css", "data.json", "program.wasm"),
    ],
    "application/octet-stream",
) | {"logo.svg": "image/svg+xml", "paper.pdf": "application/pdf"}


@pytest.mark.parametrize("name", SHOWN | SAVED)
def test_an_uploaded_file_is_served_and_never_as_a_page(site: Edge, name: str) -> None:
    answer = get(site, f"/media/{name}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, (SHOWN | SAVED)[name])
    assert answer.headers.get_all("Content-Disposition", []) == (["attachment"] if name in SAVED else [])
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    (policy,) = answer.headers.get_all("Content-Security-Policy", [])
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("; sandbox") is (name != "clip.mp4")
    assert "script-src" not in policy


HIDDEN = [
    *("", "photos", "photos/", "none.jpg", "photos/cat.jpg/", "passwd.txt", "etc/passwd"),
    *(".hidden", "photos/.hidden.jpg", ".quarantine/x.jpg", ".library-count", "%2ehidden", "photos/..%2f.hidden"),
    *("private/paper.pdf", "private%2fcat.jpg", "photos/../private/cat.jpg", "/private//cat.jpg"),
    *("private", "./private/"),
]  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_hidden_and_private_files_are_404(site: Edge, name: str, method: str) -> None:
    answer = get(site, f"/media/{name}", method=method)
    assert answer.status == 404
    assert "Location" not in answer.headers
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "target", ["/media/../.hidden", "/media/%2e%2e/private/cat.jpg", "/media/photos/../../private/cat.jpg"]
)
def test_a_path_that_leaves_media_goes_to_the_application(site: Edge, target: str) -> None:
    answer = get(site, target)
    assert b"secret" not in answer.body
    assert "target" in answer.json(), "the application did not get the request"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_media_accepts_only_get_and_head(site: Edge, method: str) -> None:
    answer = get(site, "/media/photos/cat.jpg", "Content-Length: 0", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert get(site, "/media/photos/cat.jpg").body == b"0123456789"


def test_ranges_and_conditional_requests_work_for_media(site: Edge) -> None:
    part = get(site, "/media/photos/cat.jpg", "Range: bytes=2-4")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    beyond = get(site, "/media/photos/cat.jpg", "Range: bytes=10-")
    assert (beyond.status, beyond.json()["error"]) == (416, "range-not-satisfiable")
    assert len(beyond.headers.get_all("X-Request-ID", [])) == 1
    etag = part.headers["ETag"]
    assert get(site, "/media/photos/cat.jpg", f"If-None-Match: {etag}").status == 304
    changed = get(site, "/media/photos/cat.jpg", 'If-Match: "x"')
    assert (changed.status, changed.json()["error"]) == (412, "precondition-failed")


def test_photos_of_the_sample_project_are_not_served_under_media(site: Edge) -> None:
    """A folder of that name belongs to the project, unless the volume has the mark of the sample project."""
    names = ["originals/00/x.jpg", "thumbs/x.webp", "incoming/x"]
    assert [get(site, f"/media/{name}").status for name in names] == [200] * 3
    site.exec("touch", "/srv/media/.library-id")
    try:
        assert [get(site, f"/media/{name}").status for name in names] == [404] * 3
        assert get(site, "/media/photos/cat.jpg").status == 200
    finally:
        site.exec("rm", "/srv/media/.library-id")


def test_media_requests_go_to_the_application_without_a_media_url(edge: Edge) -> None:
    """As with the sample project, whose photos may be private."""
    fill(edge)
    for name in ("photos/cat.jpg", "originals/00/x.jpg", ".hidden", "private/cat.jpg"):
        assert get(edge, f"/media/{name}").json()["target"] == f"/media/{name}"


def test_nginx_serves_no_media_of_the_sample_project_on_its_own(stack: Stack) -> None:
    assert stack.exec("nginx", "sh", "-c", "cat /opt/nginx/media-url; ls /tmp/nginx").count("media") == 0


def test_a_private_file_is_served_only_if_a_view_names_it(site: Edge) -> None:
    assert get(site, "/_private/cat.jpg").status == 404
    answer = get(site, "/_private/cat.jpg".replace("/_private", "/api/_private"))
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"secret", "image/jpeg")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    page = get(site, "/api/_private/page.html")
    assert (page.headers["Content-Type"], page.headers["Content-Disposition"]) == (
        "application/octet-stream",
        "attachment",
    )
    for each in (answer, page):
        assert each.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert each.headers["Content-Security-Policy"].endswith("sandbox")
    assert get(site, "/api/_private/none.jpg").status == 404


def test_a_browser_loads_an_uploaded_picture_but_no_uploaded_script(
    site: Edge, browser: Browser, tmp_path: Path
) -> None:
    """Not even for a page of the same site, which accepts only its own scripts."""
    with browser.new_context() as visitor:
        page = visitor.new_page()
        origin = f"http://127.0.0.1:{site.ports['web']}"
        page.goto(f"{origin}/x")
        load = """async ([tag, key, url]) => {
            const element = document.createElement(tag);
            if (tag === "link") element.rel = "stylesheet";
            const loaded = new Promise((tell) => {
                element.onload = () => tell(true);
                element.onerror = () => tell(false);
            });
            element[key] = url;
            document.head.append(element);
            return loaded;
        }"""
        elements = {"img": ("src", "logo.svg"), "script": ("src", "script.js"), "link": ("href", "style.css")}
        loaded = {tag: page.evaluate(load, [tag, key, f"/media/{name}"]) for tag, (key, name) in elements.items()}
        assert loaded == {"img": True, "script": False, "link": False}
        for name in ("page.html", "logo.svg"):
            with page.expect_download() as saving:
                page.evaluate("address => { location = address; }", f"/media/{name}")
            saving.value.save_as(tmp_path / name)
            assert (tmp_path / name).read_text() == FILES[name]
