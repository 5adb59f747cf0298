"""Shared by the tests of the page in Chromium: an open page, and fixtures."""

import re
from pathlib import Path

import pytest
from app_calls import two_people

TIMEOUT_MS = 90_000  # enough on a busy machine
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
RESULT_JS = """unlike => {
  const visible = [...document.querySelectorAll('.result')].find(view => view.checkVisibility());
  const url = visible?.querySelector('img.after')?.src;
  return url !== unlike && url;
}"""
LAYOUT_SHIFT_JS = """window.shifts = 0; new PerformanceObserver(list => list.getEntries().forEach(entry =>
  window.shifts += entry.hadRecentInput ? 0 : entry.value)).observe({type: 'layout-shift', buffered: true});"""
LEFT = re.compile("AbortError: signal is aborted|Connection errored out")
TABS = ("Edit", "Transfer", "Film", "Live", "Random people", "About")


class Visit:
    """An open page, and the errors that occurred on it."""

    def __init__(self, browser, url, viewport=DESKTOP, **settings):
        self.page = browser.new_page(viewport=viewport, **settings)
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.add_init_script(LAYOUT_SHIFT_JS)
        self.errors: list[str] = []
        self.is_left = False
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.on("console", self.note_message)
        self.page.on("request", lambda request: self.check_request(request.url))
        self.page.goto(url)
        self.page.get_by_role("tab", name="Edit").wait_for()

    def note_message(self, message) -> None:
        """Notes an error on the console, other than those of gradio where a page is left while it listens for answers."""
        self.is_left = self.is_left or "AbortError: signal is aborted" in message.text
        if message.type == "error" and not (self.is_left and LEFT.search(message.text)):
            self.errors.append(f"console: {message.text} {message.location['url']}")

    def check_request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.errors.append(f"external request: {url}")

    def open(self, tab: str) -> None:
        """Clicks a tab; on a phone it may be in the overflow menu."""
        bar = self.page.get_by_role("tab", name=tab)
        if not bar.is_visible():
            self.page.locator(".overflow-menu > button").click()
            bar = self.page.locator(".overflow-dropdown button", has_text=tab)
        bar.click()

    def open_and_wait(self, tab: str) -> None:
        """Opens a tab and waits for its content."""
        self.open(tab)
        self.page.locator(
            ".photo:visible, .clip:visible, .live:visible, .people:visible, .prose-page:visible"
        ).first.wait_for()

    def add_photo(self, path, nth: int = 0) -> None:
        self.page.locator(".photo:visible input[type=file]").nth(nth).set_input_files(path)

    def result(self, unlike: str = "") -> str:
        """The URL of the edited picture, as soon as it differs from `unlike`."""
        return self.page.wait_for_function(RESULT_JS, arg=unlike).json_value()

    def choose(self, name: str) -> None:
        """Chooses a radio button by a click on its label, as the button itself is hidden."""
        self.page.locator("label:visible", has=self.page.get_by_role("radio", name=name)).click()

    def wait_for_status(self, text: str) -> None:
        self.page.locator(".status.block:visible", has_text=text).wait_for()

    def choose_expression(self, name: str) -> str:
        """Chooses a tile of the strip, and waits for the result."""
        before = self.result()
        self.page.locator(".strip button", has_text=name).click()
        return self.result(unlike=before)

    def chosen(self, row: str = ".strip") -> list[str]:
        """The labels of the tiles that are marked as chosen."""
        return self.page.locator(f"{row} button[aria-pressed=true]").all_inner_texts()

    def own_photo(self, path) -> str:
        """Adds a photo, and waits until it is edited."""
        example = self.result()
        self.add_photo(path)
        url = self.result(unlike=example)
        self.page.wait_for_function("() => !document.querySelector('.strip.stale')")
        return url

    def refuse_edits(self, times: int = 1) -> None:
        """Makes the page's next edits fail as on a busy server, with an error 503 on the console."""
        is_edit = "event => event.inputs.length === 12 && event.outputs.length === 3"
        events = self.page.evaluate(f"() => window.gradio_config.dependencies.filter({is_edit}).map(event => event.id)")
        left = [times]

        def answer(route):
            if left[0] and route.request.post_data_json["fn_index"] in events:
                left[0] -= 1
                route.fulfill(status=503, json={"detail": "Many visitors are here."})
            else:
                route.fallback()

        self.page.route("**/gradio_api/queue/join*", answer)

    def fetch(self, url: str) -> bytes:
        return self.page.request.get(url).body()

    def download(self, button: str):
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button).click()
        return download.value


@pytest.fixture(name="visit")
def open_page(browser, app_url):
    visit = Visit(browser, app_url)
    yield visit
    assert not visit.errors, visit.errors
    visit.page.close()


@pytest.fixture(name="two")
def photo_of_two(data_dir, tmp_path) -> Path:
    return two_people(data_dir, tmp_path)
