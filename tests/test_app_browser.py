"""The app as a visitor meets it: in Chromium, which reaches nothing but this machine."""

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
PATIENCE_MS = 120_000  # a machine at work on other things
AFTER = "(unlike) => { const src = document.querySelectorAll('.result img')[1]?.src; return src !== unlike && src }"


class Visit:
    """An open page, and what went wrong on it."""

    def __init__(self, browser, url):
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", lambda line: line.type == "error" and self.complaints.append(f"console: {line.text}"))
        self.page.on("request", lambda request: self.note(request.url))
        self.page.goto(url)
        self.page.get_by_role("tab", name="Edit").wait_for()

    def note(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.complaints.append(f"reached out: {url}")

    def add_photo(self, path) -> None:
        self.page.locator(".photo input[type=file]").first.set_input_files(path)

    def result(self, unlike: str = "") -> str:
        """The address of the edited picture, once there is one other than `unlike`."""
        return self.page.wait_for_function(AFTER, arg=unlike).json_value()

    def picture(self, url: str) -> bytes:
        return self.page.request.get(url).body()


@pytest.fixture
def visit(browser, app_url):
    visit = Visit(browser, app_url)
    yield visit
    visit.page.close()


def test_the_slider_changes_the_picture(visit, data_dir):
    visit.add_photo(data_dir / "portrait.jpg")
    first = visit.result()
    assert "reads as" in visit.page.locator(".status").first.inner_text()
    visit.page.get_by_role("slider", name="Intensity").first.press("Home")
    second = visit.result(unlike=first)
    assert visit.picture(first) != visit.picture(second)
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download in full size").first.click()
    assert download.value.suggested_filename == "portrait-edited.jpg"
    assert not visit.complaints


def test_a_photo_without_a_face_is_answered_with_a_sentence(visit, tmp_path):
    visit.page.locator("#people button").first.click()
    visit.result()
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    visit.add_photo(tmp_path / "sky.png")
    visit.page.get_by_text("Nothing was edited").wait_for()
    visit.page.get_by_text("No face was found in this photo").wait_for()  # once: more than one would be an error
    assert not visit.page.locator(".result img").count()  # nor anything of the person before
    assert "Traceback" not in visit.page.content()
    assert not visit.complaints


def test_before_and_after_lie_on_each_other_whatever_the_photos_shape(visit, data_dir, tmp_path):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    tall = Image.new("RGB", (900, 1500), "gray")
    tall.paste(Image.open(data_dir / "portrait.jpg"), (0, 300))
    tall.save(tmp_path / "tall.jpg")
    visit.add_photo(tmp_path / "tall.jpg")
    visit.result()
    before, after = (visit.page.locator(".result img").nth(i).bounding_box() for i in (0, 1))
    assert before == after
    assert not visit.complaints
