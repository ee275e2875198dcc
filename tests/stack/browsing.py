"""A visitor with a real browser, which records all errors and warnings.

The browser is Chromium of the system, or the one that Playwright has installed. The tests say what a page has to show.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Request, Response, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.stack.pictures import Picture
from tests.stack.stack import Stack

expect.set_options(timeout=60_000)  # milliseconds; the default of `expect` is 5 s, whatever the context has
SCREENS: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "desktop": {"viewport": {"width": 1280, "height": 800}},
}
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]

# Barriers for users of screen readers and with low vision: rules of WCAG 2.2, level AA, that a program can check.
FIND_BARRIERS = """() => {
  const barriers = [];
  const complain = (element, what) => barriers.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });
  const nameOf = (element) =>
    [element.getAttribute("aria-label"), element.textContent,
     ...[...(element.labels || [])].map((label) => label.textContent),
     ...[...element.querySelectorAll("img")].map((image) => image.alt)].join("");

  if (!document.documentElement.lang) complain(document.documentElement, "no language");
  if (!document.title) complain(document.documentElement, "no title");
  if (document.querySelectorAll("h1").length !== 1) complain(document.body, "not one first heading");
  if (!document.querySelector("main")) complain(document.body, "no main part");
  for (const image of document.querySelectorAll("img")) if (!image.hasAttribute("alt")) complain(image, "no alt");
  for (const control of document.querySelectorAll("a, button, summary, select, textarea, input:not([type=hidden])"))
    if (!nameOf(control).trim()) complain(control, "no name");
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) barriers.push(`twice: id=${id}`);
  for (const control of document.querySelectorAll("button, .button, summary, input:not([type=hidden])")) {
    const { width, height } = control.getBoundingClientRect();
    if (shown(control) && Math.min(width, height) < 24) complain(control, `too small to hit, ${width} x ${height}`);
  }

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
    if (!words.length || !shown(element) || element.closest("svg, .unseen, .skip, script, template")) continue;
    const style = getComputedStyle(element);
    const [light, dark] = [luminance(rgba(style.color)), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) complain(element, `contrast ${contrast.toFixed(2)}`);
  }
  return barriers;
}"""


@dataclass
class Visit:
    """One visitor's page, and the errors and warnings of the browser.

    `is_interrupted`: a network of containers came or went, so Chromium ended a request. It repeats none with a body.
    """

    page: Page
    label: str
    complaints: list[str] = field(default_factory=list)
    is_interrupted: bool = False

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._note(message.type in {"error", "warning"}, message.text))
        self.page.on("pageerror", lambda error: self._note(is_bad=True, what=str(error)))
        self.page.on("response", self._response)
        self.page.on("requestfailed", self._failed)

    def _note(self, is_bad: bool, what: str) -> None:
        """Ignore ERR_NETWORK_CHANGED: other containers start and stop, and Chromium then loads again."""
        if is_bad and "ERR_NETWORK_CHANGED" not in what:
            self.complaints.append(what)

    def _response(self, response: Response) -> None:
        self._note(is_bad=response.status >= 400, what=f"{response.status} {response.url}")

    def _failed(self, request: Request) -> None:
        self.is_interrupted |= "ERR_NETWORK_CHANGED" in (request.failure or "")

    def repeat_interrupted(self, action: Callable[[], object]) -> None:
        """Run the action, and again as long as it fails because of an interrupted request, five times at most."""
        for _ in range(4):
            self.is_interrupted = False
            try:
                action()
            except (AssertionError, PlaywrightError):
                if not self.is_interrupted:
                    raise
            else:
                return
        action()

    def log_in(self, stack: Stack) -> None:
        self.page.goto("/login/")
        self.page.get_by_label("Name").fill(stack.user)
        self.page.get_by_label("Password").fill(stack.password)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def check(self, what: str) -> None:
        """Check the page for overflow and complaints, and take a screenshot of the window.

        For a screenshot of the whole page, Chromium would stop emulating a phone.
        """
        if folder := os.environ.get("STACK_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{what}-{self.label}.png")
        width = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{what}: wider than the screen"
        assert self.complaints == []


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; skips the test if there is none."""
    with sync_playwright() as playwright:
        found = [path for path in map(shutil.which, BROWSERS) if path]
        path = found[0] if found else playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no browser: install chromium, or run: .venv/bin/playwright install chromium")
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=path, args=[*sandbox, "--no-proxy-server"])
        yield running
        running.close()


def as_file(name: str, picture: Picture, kind: str = "image/jpeg") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": picture.content}


def check_shown(page: Page, name: str) -> None:
    """The photo is in the gallery, and its image is loaded."""
    image = page.get_by_role("img", name=name, exact=True)
    expect(image).to_be_visible()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
