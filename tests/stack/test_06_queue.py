"""Failures of uploads by the script of the page, what visitors can do about them, and navigation in the gallery. In a
real browser, with real answers: a test delays or breaks only the connection of the browser.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, StorageState, expect

from tests.stack.browsing import FIND_BARRIERS, SCREENS, Visit, as_file, check_shown
from tests.stack.pictures import Picture, jpeg, text
from tests.stack.stack import Stack

Open = Callable[..., Visit]


@pytest.fixture
def page(visit: Open, session: StorageState) -> Page:
    return visit("desktop", session=session).page


def choose(page: Page, *files: Any) -> None:
    page.get_by_label("choose").set_input_files(list(files))


def row(page: Page, name: str) -> Locator:
    return page.locator("#queue li").filter(has_text=name)


def is_stored(page: Page, name: str) -> bool:
    return page.request.get(f"/api/photos/{name}").status == 200


@contextmanager
def answers_delayed(page: Page) -> Iterator[list[dict[str, Any]]]:
    """Lets uploads reach the server, and holds its answers back from the page, in the list."""
    line = page.context.new_cdp_session(page)
    held: list[dict[str, Any]] = []
    line.on("Fetch.requestPaused", lambda answer: held.append(answer))  # noqa: PLW0108 - Playwright marks what it is given
    line.send("Fetch.enable", {"patterns": [{"urlPattern": "*/api/photos/", "requestStage": "Response"}]})
    yield held
    for answer in held:
        line.send("Fetch.continueRequest", {"requestId": answer["requestId"]})
    line.send("Fetch.disable")


def test_an_upload_cancelled_while_it_is_checked_is_not_stored(page: Page, photo: Picture, name: str) -> None:
    with answers_delayed(page) as held:
        choose(page, as_file(name, photo))
        expect(row(page, name)).to_contain_text("Checking the picture")
        while not held:
            page.wait_for_timeout(50)
        assert is_stored(page, name)  # or there would be nothing to cancel
        row(page, name).get_by_role("button", name="Cancel").click()
        expect(row(page, name)).to_contain_text("Cancelling")
    expect(page.locator("#live")).to_have_text(f"Cancelled {name}. It was already stored, and has been deleted.")
    expect(row(page, name)).to_have_count(0)
    assert not is_stored(page, name)


def test_an_upload_cancelled_while_it_is_sent_is_not_stored(page: Page, photo: Picture, name: str) -> None:
    line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
    choose(page, as_file(name, photo))
    expect(row(page, name)).to_contain_text(re.compile("[1-9] %"))
    row(page, name).get_by_role("button", name="Cancel").click()
    expect(page.locator("#live")).to_contain_text("Cancelled")
    expect(row(page, name)).to_have_count(0)
    assert not is_stored(page, name)


def test_failed_uploads_can_be_retried_one_by_one_or_all_together(page: Page, photo: Picture, name: str) -> None:
    names = [f"{number}-{name}" for number in range(3)]
    page.context.set_offline(True)
    choose(page, *[as_file(each, photo) for each in names])
    for each in names:
        expect(row(page, each)).to_contain_text("The connection was lost.")
    page.context.set_offline(False)
    row(page, names[1]).get_by_role("button", name="Try again").click()
    check_shown(page, names[1])
    page.get_by_role("button", name="Try all again").click()
    for each in names:
        check_shown(page, each)
    expect(page.locator("#tools")).to_be_hidden()


def test_an_upload_that_cannot_succeed_offers_no_retry(page: Page) -> None:
    choose(page, as_file("notes.jpg", text()))
    expect(row(page, "notes.jpg")).to_contain_text("not a picture")
    expect(row(page, "notes.jpg").get_by_role("button")).to_have_text(["Dismiss"])


def test_all_failed_uploads_can_be_dismissed(page: Page) -> None:
    choose(page, as_file("one.jpg", text()), as_file("two.jpg", text()))
    expect(row(page, "two.jpg")).to_contain_text("not a picture")
    page.get_by_role("button", name="Dismiss all").click()
    expect(page.locator("#queue li")).to_have_count(0)
    expect(page.locator("#tools")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "file"


def test_an_upload_resumes_after_logging_in_again(stack: Stack, page: Page, photo: Picture, name: str) -> None:
    """The files need not be chosen again, and the page does not mention tokens."""
    page.context.clear_cookies(name=f"sessionid_{stack.project}")
    names = [f"{number}-{name}" for number in range(2)]
    choose(page, *[as_file(each, photo) for each in names])
    notice = page.locator("#login-again")
    expect(notice).to_contain_text("Your login has ended.")
    expect(row(page, names[0])).to_contain_text("Waiting for you to log in")
    assert "token" not in page.locator("main").inner_text().lower()
    with page.expect_popup() as opened:
        notice.get_by_role("link", name="Log in").click()
    tab = opened.value
    tab.get_by_label("Name").fill(stack.user)
    tab.get_by_label("Password").fill(stack.password)
    tab.get_by_role("button", name="Log in").click()
    for each in names:
        check_shown(page, each)
    expect(notice).to_be_hidden()


def test_an_upload_works_after_another_login_in_another_tab(
    stack: Stack, page: Page, photo: Picture, name: str
) -> None:
    """The other login makes the CSRF token of this page invalid."""
    page.context.clear_cookies()
    Visit(page.context.new_page(), "").log_in(stack)
    choose(page, as_file(name, photo))
    check_shown(page, name)


def drop(page: Page, x: int, y: int, **what: Any) -> None:
    """Drop as the system does: `files` are paths of files and folders; `items` are text and links."""
    data = {"items": [], "files": [], "dragOperationsMask": 1} | what
    line = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        line.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})


def test_files_can_be_dropped_anywhere_on_the_page(page: Page, photo: Picture, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(photo.content)
    drop(page, 1200, 780, files=[str(tmp_path / name)])
    check_shown(page, name)


def test_a_dropped_folder_or_link_is_explained(page: Page, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    drop(page, 600, 160, files=[str(tmp_path / "holiday")])
    expect(row(page, "holiday")).to_contain_text("This is a folder.")
    drop(page, 600, 160, items=[{"mimeType": "text/uri-list", "data": "http://example.com/a.jpg"}])
    expect(row(page, "What you dropped")).to_contain_text("This is not a file.")
    assert page.url.count("/") == 3  # the browser has not left the page


def test_escape_or_a_click_elsewhere_closes_the_confirmation(page: Page, photo: Picture, name: str) -> None:
    choose(page, as_file(name, photo))
    check_shown(page, name)
    question = page.locator("details.confirm").first
    closing: list[Callable[[], None]] = [lambda: page.keyboard.press("Escape"), page.locator("footer").click]
    for close in closing:
        question.locator("summary").click()
        expect(question).to_have_attribute("open", "")
        close()
        expect(question).not_to_have_attribute("open", "")
        expect(page.get_by_role("img", name=name, exact=True)).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_the_focus_moves_to_the_next_photo_after_deleting(
    visit: Open, session: StorageState, page: Page, photo: Picture, name: str, *, javascript: bool
) -> None:
    below, above = f"below-{name}", f"above-{name}"
    choose(page, as_file(below, photo), as_file(above, photo))
    check_shown(page, above)
    other = visit("desktop", session=session, javascript=javascript).page
    item = other.get_by_role("listitem").filter(has=other.get_by_label(f"Delete {above}"))
    item.hover()
    item.locator("summary").click()
    item.get_by_role("button", name="Delete for good").click()
    expect(other.get_by_text(f"Deleted {above}.")).to_be_in_viewport()
    expect(other.get_by_role("link", name=below)).to_be_focused()
    expect(other).to_have_title(re.compile(re.escape(f"Deleted {above}.")))


def test_arrow_keys_move_between_photos_and_escape_goes_back(page: Page, photo: Picture, name: str) -> None:
    below, above = f"below-{name}", f"above-{name}"
    choose(page, as_file(below, photo), as_file(above, photo))
    check_shown(page, above)
    page.get_by_role("link", name=above).click()
    expect(page).to_have_url(re.compile(f"/photo/{above}$"))
    for key, shown in (("ArrowRight", below), ("ArrowLeft", above)):
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile(f"/photo/{shown}$"))
        check_shown(page, shown)
    box, window = page.locator("img.whole").bounding_box(), page.viewport_size
    assert box
    assert window
    assert box["y"] + box["height"] <= window["height"]
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name=above)).to_be_focused()


@pytest.mark.parametrize("screen", SCREENS)
def test_every_photo_keeps_its_aspect_ratio(visit: Open, session: StorageState, name: str, screen: str) -> None:
    """Two portraits before a panorama: alone in a row, they were once cropped to fill it."""
    page = visit(screen, session=session).page
    sizes = {"panorama": (900, 200), "stairs": (180, 320), "tower": (180, 320)}
    for kind, size in sizes.items():
        choose(page, as_file(f"{kind}-{name}", jpeg(*size)))
        check_shown(page, f"{kind}-{name}")
    for kind, (width, height) in sizes.items():
        box = page.get_by_role("img", name=f"{kind}-{name}", exact=True).bounding_box()
        assert box
        assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02), kind


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_failed_uploads_and_error_pages_have_no_accessibility_barriers(
    visit: Open, session: StorageState, photo: Picture, name: str, screen: str, scheme: str
) -> None:
    """Failed rows with long names, a photo's page, and a page about an error."""
    visitor = visit(screen, scheme=scheme, session=session)
    page, found = visitor.page, {}
    choose(page, as_file(name, photo))
    check_shown(page, name)
    page.context.set_offline(True)
    choose(page, as_file(f"{'long-' * 30}.jpg", photo), as_file("short.jpg", photo))
    expect(page.get_by_role("button", name="Try all again")).to_be_visible()
    visitor.complaints.clear()  # the browser logs the lost connection too
    found["failed"] = page.evaluate(FIND_BARRIERS)
    visitor.check("failed-rows")
    page.context.set_offline(False)
    page.get_by_role("button", name="Dismiss all").click()
    for page_name, address in {"photo": f"/photo/{name}", "error": "/nothing"}.items():
        page.goto(address)
        visitor.complaints.clear()  # 404
        found[page_name] = page.evaluate(FIND_BARRIERS)
        visitor.check(f"{page_name}-page")
    assert {page_name: barriers for page_name, barriers in found.items() if barriers} == {}
