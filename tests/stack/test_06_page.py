"""The page in a real browser, on a phone and on a desktop, with JavaScript and without.

Every test ends with a check for errors on the console (such as violations of the content-security policy), failed
responses, and content wider than the screen.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import StorageState, expect

from tests.stack.browsing import FIND_BARRIERS, SCREENS, Visit, as_file, check_shown
from tests.stack.pictures import Picture, text
from tests.stack.stack import Stack

SLOW_LINE = 500_000  # bytes per second: a photo takes several seconds, so that its progress can be seen

# Remembers every value that a progress bar of the page shows from now on.
WATCH_PROGRESS = """() => {
  window.seen = [];
  new MutationObserver((changes) => {
    for (const { target } of changes) if (target.localName === "progress") window.seen.push(target.value);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["value"] });
}"""


@pytest.mark.parametrize("screen", SCREENS)
def test_an_upload_shows_its_progress(
    stack: Stack, visit: Callable[..., Visit], photo: Picture, name: str, screen: str
) -> None:
    visitor = visit(screen)
    page = visitor.page
    visitor.log_in(stack)
    page.evaluate(WATCH_PROGRESS)
    line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOW_LINE}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)

    page.get_by_label("choose").set_input_files(as_file(name, photo))

    expect(page.get_by_text("%")).to_be_visible()
    visitor.check("uploading")
    check_shown(page, name)
    seen = page.evaluate("window.seen")
    assert len({value for value in seen if 0 < value < 1}) >= 3, seen
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert stack.probe("photo", name)["file_sha256"] == photo.sha256
    visitor.check("uploaded")


@pytest.mark.parametrize("screen", SCREENS)
def test_an_upload_works_without_javascript(
    stack: Stack, visit: Callable[..., Visit], photo: Picture, name: str, screen: str
) -> None:
    visitor = visit(screen, javascript=False)
    visitor.log_in(stack)
    visitor.page.get_by_label("choose").set_input_files(as_file(name, photo))
    visitor.page.get_by_role("button", name="Upload", exact=True).click()
    expect(visitor.page.get_by_role("img", name=name, exact=True)).to_be_visible()
    assert stack.probe("photo", name)["file_sha256"] == photo.sha256
    visitor.check("uploaded")


def test_several_files_are_uploaded_at_once(
    stack: Stack, visit: Callable[..., Visit], session: StorageState, photo: Picture, name: str
) -> None:
    visitor = visit("desktop", session=session)
    names = [f"{number}-{name}" for number in range(3)]
    visitor.page.get_by_label("choose").set_input_files([as_file(each, photo) for each in names])
    for each in names:
        check_shown(visitor.page, each)
    visitor.check("several")


def test_a_file_that_is_not_a_picture_is_explained(
    stack: Stack, visit: Callable[..., Visit], session: StorageState, photo: Picture, name: str
) -> None:
    """The file after it is stored."""
    visitor = visit("phone", session=session)
    files = [as_file("notes.jpg", text()), as_file(name, photo)]
    visitor.page.get_by_label("choose").set_input_files(files)
    expect(visitor.page.get_by_role("listitem").filter(has_text="notes.jpg")).to_contain_text("not a picture")
    check_shown(visitor.page, name)
    assert all("400" in complaint for complaint in visitor.complaints)  # the browser logs the refusal too
    visitor.complaints.clear()
    visitor.check("refused")


def test_a_file_that_is_too_large_is_explained_before_it_is_sent(
    stack: Stack, visit: Callable[..., Visit], session: StorageState, photo: Picture, tmp_path: Path
) -> None:
    visitor = visit("phone", session=session)
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.write(photo.content)
        file.truncate(stack.limit + 1)
    with stack.unchanged():
        visitor.page.get_by_label("choose").set_input_files(large)
        expect(visitor.page.get_by_role("listitem").filter(has_text="large.jpg")).to_contain_text("Too large")
    visitor.check("body-too-large")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_photo_can_be_deleted_on_the_page(
    stack: Stack, visit: Callable[..., Visit], session: StorageState, photo: Picture, name: str, screen: str
) -> None:
    visitor = visit(screen, session=session)
    visitor.page.get_by_label("choose").set_input_files(as_file(name, photo))
    check_shown(visitor.page, name)
    control = visitor.page.get_by_label(f"Delete {name}")
    visitor.page.get_by_role("listitem").filter(has=control).hover()
    assert control.evaluate("control => control.checkVisibility({ opacityProperty: true })")
    control.click()
    visitor.page.get_by_role("button", name="Delete for good").click()
    expect(visitor.page.get_by_text(f"Deleted {name}.")).to_be_visible()
    expect(visitor.page.get_by_role("img", name=name, exact=True)).to_have_count(0)
    assert stack.probe("photo", name) is None
    visitor.check("deleted")


def test_logging_out_hides_the_upload_form(stack: Stack, visit: Callable[..., Visit]) -> None:
    visitor = visit("desktop")
    visitor.log_in(stack)
    visitor.page.get_by_role("button", name="Log out").click()
    expect(visitor.page.get_by_role("link", name="Log in")).to_be_visible()
    expect(visitor.page.get_by_label("choose")).to_have_count(0)
    visitor.check("logged-out")


@pytest.mark.parametrize(("screen", "scheme"), [("phone", "dark"), ("desktop", "light"), ("desktop", "dark")])
def test_the_pages_have_no_accessibility_barriers(
    visit: Callable[..., Visit], session: StorageState, screen: str, scheme: str
) -> None:
    anonymous, visitor = visit(screen, scheme=scheme), visit(screen, scheme=scheme, session=session)
    barriers = {"gallery": anonymous.page.evaluate(FIND_BARRIERS), "form": visitor.page.evaluate(FIND_BARRIERS)}
    anonymous.check("gallery")
    anonymous.page.goto("/login/")
    barriers["login"] = anonymous.page.evaluate(FIND_BARRIERS)
    anonymous.check("login")
    visitor.page.get_by_label("choose").set_input_files(as_file("notes.jpg", text()))
    expect(visitor.page.get_by_role("listitem").filter(has_text="notes.jpg")).to_contain_text("not a picture")
    barriers["refusal"] = visitor.page.evaluate(FIND_BARRIERS)
    assert {page: found for page, found in barriers.items() if found} == {}


def test_the_upload_form_can_be_reached_with_the_keyboard(
    stack: Stack, visit: Callable[..., Visit], session: StorageState
) -> None:
    visitor = visit("desktop", session=session)
    reached = []
    for _ in range(8):
        visitor.page.keyboard.press("Tab")
        reached.append(visitor.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert reached[0] == "Skip to the content"
    assert "file" in reached
