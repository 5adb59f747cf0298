"""The app in Chromium, which is shut off from all other machines."""

import os
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from accessibility import problems, walk
from PIL import Image

pytestmark = pytest.mark.browser
TIMEOUT_MS = 90_000  # enough on a busy machine
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
RESULT_JS = """unlike => {
  const visible = [...document.querySelectorAll('.result')].find(view => view.checkVisibility());
  const url = visible?.querySelectorAll('img')[1]?.src;
  return url !== unlike && url;
}"""
LAYOUT_SHIFT_JS = """window.shifts = 0; new PerformanceObserver(list => list.getEntries().forEach(entry =>
  window.shifts += entry.hadRecentInput ? 0 : entry.value)).observe({type: 'layout-shift', buffered: true});"""


class Visit:
    """An open page, and the errors that occurred on it."""

    def __init__(self, browser, url, viewport=DESKTOP, **settings):
        self.page = browser.new_page(viewport=viewport, **settings)
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.add_init_script(LAYOUT_SHIFT_JS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(f"console: {message.text}"))
        self.page.on("request", lambda request: self.check_request(request.url))
        self.page.goto(url)
        self.page.get_by_role("tab", name="Edit").wait_for()

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
        self.page.locator(".photo:visible, .people:visible, .prose-page:visible").first.wait_for()

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

    def fetch(self, url: str) -> bytes:
        return self.page.request.get(url).body()

    def download(self, button: str):
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button).click()
        return download.value


@pytest.fixture
def visit(browser, app_url):
    visit = Visit(browser, app_url)
    yield visit
    assert not visit.errors
    visit.page.close()


def test_the_page_opens_with_a_result_that_the_slider_changes(visit):
    first = visit.result()
    visit.wait_for_status("This is an example")
    visit.page.get_by_role("slider", name="Intensity").press("Home")
    assert visit.fetch(visit.result(unlike=first)) != visit.fetch(first)
    assert visit.page.evaluate("window.shifts") < 0.1  # "good" in Core Web Vitals


def test_a_photo_is_edited_and_downloaded(visit, data_dir):
    example = visit.result()
    controls = visit.page.locator(".controls:visible")
    position = controls.bounding_box()
    visit.add_photo(data_dir / "portrait.jpg")
    first = visit.result(unlike=example)
    visit.page.wait_for_function("() => !document.querySelector('.status').innerText.includes('example')")
    visit.page.get_by_role("slider", name="Intensity").press("Home")
    second = visit.result(unlike=first)
    assert visit.fetch(first) != visit.fetch(second)
    assert controls.bounding_box() == position  # the layout is stable
    assert visit.download("Download in full size").suggested_filename == "portrait-edited.jpg"


def test_an_expression_can_be_chosen_from_the_strip(visit, data_dir):
    visit.page.locator("#people button").first.click()
    first = visit.result(unlike=visit.result())
    assert visit.page.locator(".strip img").count() == 6
    visit.page.locator(".strip .thumbnail-item").nth(5).click()
    visit.result(unlike=first)
    assert visit.page.get_by_role("radio", name="Surprised").is_checked()


def test_another_of_two_faces_can_be_chosen(visit, data_dir, tmp_path):
    photo = Image.new("RGB", (1500, 900), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg"), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((600, 600)), (900, 0))
    photo.save(tmp_path / "two.png")
    example = visit.result()
    visit.add_photo(tmp_path / "two.png")
    first = visit.result(unlike=example)
    row = visit.page.locator(".strip img").first.get_attribute("src")
    visit.page.locator(".faces .thumbnail-item").nth(1).click()
    visit.result(unlike=first)
    changed = "src => document.querySelector('.strip img')?.src !== src"
    visit.page.wait_for_function(changed, arg=row)


def test_two_faces_keep_their_own_expressions_and_both_are_animated(visit, data_dir, tmp_path):
    photo = Image.new("RGB", (1500, 900), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg"), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((600, 600)), (900, 0))
    photo.save(tmp_path / "two.png")
    assert not visit.page.locator(".scope").is_visible()
    example = visit.result()
    visit.add_photo(tmp_path / "two.png")
    visit.result(unlike=example)
    visit.page.locator(".numbered img").wait_for()
    visit.choose("Each separately")
    visit.page.locator(".faces .thumbnail-item").nth(1).click()
    visit.wait_for_status("Face 2 now reads as")
    visit.choose("Sad")
    visit.page.wait_for_timeout(500)
    visit.page.locator(".numbered img").click(position={"x": 40, "y": 60})  # the face on the left
    visit.wait_for_status("Face 1 now reads as")
    assert visit.page.get_by_role("radio", name="Happy").is_checked()  # unchanged
    visit.page.get_by_role("button", name="Animate").click()
    visit.page.get_by_role("slider", name="Seconds").press("Home")
    visit.page.get_by_role("button", name="Make the animation").click()
    visit.page.locator(".player video").wait_for()
    assert visit.download("Download the animation").suggested_filename == "two-happy.mp4"
    visit.choose("GIF")
    visit.page.get_by_role("button", name="Make the animation").click()
    visit.page.locator("img.player, .player img").first.wait_for()
    assert not problems(visit.page)


def test_a_photo_without_a_face_is_answered_with_a_sentence(visit, tmp_path):
    example, row = visit.result(), visit.page.locator(".strip img").first.get_attribute("src")
    visit.page.locator("#people button").nth(1).click()
    visit.result(unlike=example)
    visit.page.wait_for_function("src => document.querySelector('.strip img')?.src !== src", arg=row)
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    visit.add_photo(tmp_path / "sky.png")
    visit.page.get_by_text("Nothing was edited").wait_for()
    visit.page.get_by_text("No face was found in this photo").wait_for()  # strict mode: exactly one such element
    assert not visit.page.locator(".result img, .strip img").count()  # nothing of the previous photo is left
    assert "Traceback" not in visit.page.content()


def test_before_and_after_coincide_for_a_tall_photo(visit, data_dir, tmp_path):
    visit.page.set_viewport_size(PHONE)
    tall = Image.new("RGB", (900, 1500), "gray")
    tall.paste(Image.open(data_dir / "portrait.jpg"), (0, 300))
    tall.save(tmp_path / "tall.jpg")
    example = visit.result()
    visit.add_photo(tmp_path / "tall.jpg")
    visit.result(unlike=example)
    before, after = (visit.page.locator(".result img").nth(i).bounding_box() for i in (0, 1))
    assert before == after


def test_an_expression_is_taken_from_another_photo(visit, data_dir):
    visit.open("Transfer")
    visit.wait_for_status("Add both photos")
    visit.add_photo(data_dir / "portrait.jpg")
    visit.add_photo(data_dir / "portrait2.jpg", nth=1)
    first = visit.result()
    visit.wait_for_status("The other face reads as")
    visit.page.get_by_role("slider", name="Intensity").locator("visible=true").press("Home")
    visit.result(unlike=first)
    assert visit.download("Download in full size").suggested_filename == "portrait-edited.jpg"


def test_transfer_refuses_a_photo_without_a_face_and_its_link_keeps_the_intensity(visit, browser, data_dir, tmp_path):
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    visit.open("Transfer")
    visit.add_photo(data_dir / "portrait.jpg")
    visit.add_photo(tmp_path / "sky.png", nth=1)
    visit.page.get_by_text("No face was found in this photo").first.wait_for()
    visit.wait_for_status("Nothing was edited")
    visit.page.get_by_role("slider", name="Intensity").locator("visible=true").press("ArrowLeft")
    visit.page.get_by_role("button", name="Copy a link").locator("visible=true").click()
    visit.page.get_by_role("button", name="Copied").wait_for()
    friend = Visit(browser, visit.page.url)
    friend.wait_for_status("Add both photos")
    assert friend.page.get_by_role("slider", name="Intensity").locator("visible=true").input_value() == "0.95"
    assert not friend.errors
    friend.page.close()


def test_people_are_made_up_and_downloaded(visit, tmp_path):
    visit.open("Random people")
    pictures = visit.page.locator(".people img")
    pictures.nth(11).wait_for()
    first = pictures.first.get_attribute("src")
    changed = "src => document.querySelector('.people img')?.src !== src"
    visit.page.get_by_role("button", name="Another set").click()
    visit.page.wait_for_function(changed, arg=first)
    visit.page.get_by_role("slider", name="People").press("Home")
    visit.page.wait_for_function("() => document.querySelectorAll('.people img').length === 1")
    visit.choose("All six")
    visit.page.wait_for_function("() => document.querySelectorAll('.people img').length === 6")
    download = visit.download("Download all, labelled")
    download.save_as(tmp_path / "people.zip")
    assert download.suggested_filename.endswith("-all.zip")
    assert len(zipfile.ZipFile(tmp_path / "people.zip").namelist()) == 7


def test_a_link_restores_the_settings_and_not_the_photo(visit, browser, app_url, data_dir):
    example = visit.result()
    visit.add_photo(data_dir / "portrait.jpg")
    first = visit.result(unlike=example)
    visit.choose("Sad")
    second = visit.result(unlike=first)
    visit.page.get_by_role("slider", name="Intensity").press("ArrowLeft")
    visit.result(unlike=second)
    visit.page.get_by_role("button", name="Copy a link").click()
    visit.page.get_by_role("button", name="Copied").wait_for()
    link = visit.page.url
    query = {"tab": "Edit", "expression": "sad", "intensity": "0.95", "part": "0.5", "style": "0", "fidelity": "detail"}
    assert dict(parse_qsl(urlsplit(link).query)) == query
    friend = Visit(browser, link)
    friend.result(unlike=example)
    friend.wait_for_status("This is an example")
    assert friend.page.get_by_role("radio", name="Sad").is_checked()
    assert friend.page.get_by_role("slider", name="Intensity").input_value() == "0.95"
    friend.page.goto(f"{app_url}?tab=Random+people&seed=5&count=2&expression=all&intensity=nonsense")
    friend.page.wait_for_function("() => document.querySelectorAll('.people img').length === 12")
    assert friend.page.get_by_label("Seed").input_value() == "5"
    assert not friend.errors
    friend.page.close()


def test_about_says_what_it_is(visit):
    visit.open("About")
    for text in ("What it cannot do", "Nothing is kept", "The weights that came with this app", "To cite"):
        visit.page.get_by_text(text).first.wait_for()


DISPLAYS = pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")]
)
TABS = ("Edit", "Transfer", "Random people", "About")


@DISPLAYS
def test_the_page_is_accessible(browser, app_url, data_dir, viewport, scheme):
    visit, violations = Visit(browser, app_url, viewport, color_scheme=scheme), []
    for tab in TABS:
        visit.open_and_wait(tab)
        violations += [f"{tab}: {problem}" for problem in problems(visit.page)]
        if visit.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            violations.append(f"{tab}: wider than the screen")
    assert not violations
    assert not visit.errors
    visit.page.close()


@pytest.mark.skipif("AXE" not in os.environ, reason="set AXE to the path of axe.min.js from `npm install axe-core`")
@DISPLAYS
def test_axe_finds_nothing_serious(browser, app_url, viewport, scheme):
    visit, violations = Visit(browser, app_url, viewport, color_scheme=scheme), []
    visit.result()
    for tab in TABS:
        visit.open_and_wait(tab)
        visit.page.evaluate(Path(os.environ["AXE"]).read_text(encoding="utf-8"))
        report = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        violations += [(tab, rule["id"], node["html"]) for rule in report if rule["impact"] in ("serious", "critical")
                       for node in rule["nodes"]]  # fmt: skip
    assert not violations
    visit.page.close()


def test_a_keyboard_reaches_everything_in_order(visit, data_dir):
    visit.result()
    stops, violations = walk(visit.page)
    assert not violations
    for part in (
        'role="tab"',
        "upload-container",
        "Virtual person",
        "Surprised",
        'type="radio"',
        'type="range"',
        "Download in full size",
        "Copy a link",
        "Animate",
    ):
        assert any(part in stop for stop in stops), part
