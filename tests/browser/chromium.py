"""A headless Chromium, and pages that complain about whatever goes wrong in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

NEEDED = "ORACLE_TESTS_NEED_CHROMIUM"
SCREENSHOTS = "ORACLE_SCREENSHOTS"
WIDTHS = (1280, 600)
_HERE = ("127.0.0.1", "localhost")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser; skips the test where none is installed, unless the environment says it must be."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "no chromium, chromium-browser or google-chrome on the PATH"
        if os.environ.get(NEEDED):
            pytest.fail(f"{reason}, and {NEEDED} is set")
        pytest.skip(reason)
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and what it has complained about: errors on its console, exceptions, requests to elsewhere."""

    def __init__(self, page: Page, screenshots: Path | None) -> None:
        self.page, self.complaints, self._screenshots = page, [], screenshots
        page.on("console", lambda line: line.type in ("error", "warning") and self._note(line.text))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", self._check)

    def look(self, name: str) -> None:
        """Keeps pictures of the whole page at both widths, if the environment names a folder for them."""
        if self._screenshots is None:
            return
        for width in reversed(WIDTHS):
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.wait_for_timeout(150)  # the figures follow the window with a delay of their own
            self.page.screenshot(path=self._screenshots / f"{name}-{width}.png", full_page=True)

    def _note(self, text: str) -> None:
        if "GPU stall due to ReadPixels" not in text:  # of the software renderer, when a picture is taken
            self.complaints.append(text)

    def _check(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("file", "data", "blob") and url.hostname not in _HERE:
            self._note(f"it asks for {request.url}")
