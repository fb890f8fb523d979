"""A real browser for the screens: headless Chromium, logged in as a person would; it notes what pages ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60_000  # milliseconds: a busy machine is no failure
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
)


@dataclass
class Screens:
    """One page of a logged-in browser. `outside` collects the addresses of other hosts that a page asked for."""

    page: Page
    url: str
    folder: Path
    outside: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Go to a path of the UI."""
        self.page.goto(f"{self.url}{path}", timeout=PATIENCE)

    def framed(self, part: str) -> Frame:
        """The frame whose address contains `part`: a page of ours inside Airflow's."""
        element = self.page.locator(f'iframe[src*="{part}"]').element_handle(timeout=PATIENCE)
        found = element.content_frame()
        assert found, part
        return found

    def keep(self, name: str) -> Path:
        """Take a screenshot and insist that it shows something.

        Raises:
            AssertionError: nearly all of the picture has one colour, or there is hardly a word to read.
        """
        path = self.folder / f"{name}.png"
        self.page.screenshot(path=path)
        texts = [frame.locator("body").inner_text(timeout=PATIENCE) for frame in self.page.frames]
        assert sum(len(text.split()) for text in texts) > 20, f"{path}: hardly a word"
        # A blank picture of this size compresses to less.
        assert path.stat().st_size > 15_000, f"{path}: blank"
        return path


@contextmanager
def logged_in(url: str, username: str, password: str, folder: Path) -> Iterator[Screens]:
    """A browser that went through the login form; screenshots go to `folder`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        screens = Screens(page, url, folder)

        def note(request: Any) -> None:
            if not request.url.startswith((url, "data:", "blob:")):
                screens.outside.append(request.url)

        page.on("request", note)
        screens.open("/")
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda address: "/auth/" not in address, timeout=PATIENCE)
        yield screens
        browser.close()
