"""The tabs Film and Live in Chromium, with a made film and a made camera."""

import base64
import io

import pytest
from app_calls import upload
from browser_visit import Visit
from clips import turning, write_clip
from PIL import Image

from exprgan import BadImageError
from exprgan.ui import film_panel, live_panel
from exprgan.video import film
from exprgan.video.clip_reader import ClipReader

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from conftest import DATA

    photo = Image.open(DATA / "portrait.jpg").convert("RGB")
    return write_clip(tmp_path_factory.mktemp("clip") / "me.mp4", turning(photo, 10))


@pytest.fixture(scope="module")
def camera(browser, tmp_path_factory):
    """Chromium with a camera that shows a swaying head."""
    from conftest import CHROMIUM, DATA

    photo = Image.open(DATA / "portrait.jpg").convert("RGB")
    path = write_clip(tmp_path_factory.mktemp("camera") / "me.mjpeg", turning(photo, 12, (640, 480), 0.5), sound="",
                      codec="mjpeg", pix_fmt="yuvj420p")  # fmt: skip
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream",
             "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={path}"]  # fmt: skip
    chrome = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    yield chrome
    chrome.close()


def test_a_film_is_edited_and_downloaded(browser, app_url, clip, tmp_path):
    visit = Visit(browser, app_url)
    visit.open("Film")
    page = visit.page
    page.locator(".clip:visible input[type=file]").set_input_files(clip)
    page.locator(".clip:visible .file-preview").wait_for()
    visit.choose("Sad")
    page.get_by_role("button", name="Make the film").locator("visible=true").click()
    visit.wait_for_status("marked as edited by AI")
    page.locator(".player:visible video").wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download the film").locator("visible=true").click()
    download.value.save_as(tmp_path / "film.mp4")
    assert download.value.suggested_filename == "me-sad.mp4"
    with ClipReader(tmp_path / "film.mp4") as film:
        assert len(list(film.frames())) == 10
    assert not visit.errors, visit.errors
    page.close()


def test_a_photo_is_moved_by_a_film(browser, app_url, clip, data_dir):
    visit = Visit(browser, app_url)
    visit.open("Film")
    page = visit.page
    page.locator(".clip:visible input[type=file]").set_input_files(clip)
    page.locator(".clip:visible .file-preview").wait_for()
    visit.choose("Move a photo")
    page.get_by_role("button", name="Make the film").locator("visible=true").click()
    page.locator(".toast-body", has_text="Add a film and a photo").wait_for()
    visit.add_photo(data_dir / "portrait2.jpg")
    page.locator(".photo:visible img").wait_for()
    page.get_by_role("button", name="Make the film").locator("visible=true").click()
    visit.wait_for_status("marked as edited by AI")
    page.close()


def test_the_camera_is_shown_with_the_expression_and_stops(camera, app_url):
    visit = Visit(camera, app_url, permissions=["camera"])
    visit.open("Live")
    page, picture = visit.page, visit.page.locator(".live img")
    page.get_by_role("button", name="Start the camera").click()
    page.locator(".live-speed", has_text="frames a second").wait_for()
    first = picture.get_attribute("src")
    assert first.startswith("data:image/jpeg")
    page.wait_for_function("first => document.querySelector('.live img').src !== first", arg=first)
    shown = Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2])))
    assert shown.size == (480, 360)
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_role("button", name="Start the camera").wait_for()
    assert not page.evaluate("() => window.exprgan && document.querySelector('.live-speed').textContent")
    assert not visit.errors, visit.errors
    page.close()


def test_without_a_camera_a_sentence_says_so(browser, app_url):
    visit = Visit(browser, app_url)
    visit.open("Live")
    visit.page.get_by_role("button", name="Start the camera").click()
    visit.page.locator(".live-note", has_text="camera").wait_for()
    visit.page.close()


# The handlers.


def test_wrong_frames_of_a_camera_are_refused(tiny_editor):
    large = io.BytesIO()
    Image.new("RGB", (900, 600)).save(large, "JPEG")
    for frame in (None, "", "data:text/html,x", f"{live_panel.PREFIX}!!", f"{live_panel.PREFIX}AAAA",
                  live_panel.PREFIX + base64.b64encode(large.getvalue()).decode()):  # fmt: skip
        with pytest.raises(BadImageError):
            live_panel.edit_live(tiny_editor, frame, "happy", 1.0, None)


def test_a_film_too_long_or_missing_is_refused_and_leaves_nothing(tiny_editor, clip, visitors, monkeypatch):
    monkeypatch.setattr(film_panel, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(film, "EXTRA_S", 0.0)
    settings = {"photo": None, "action": "edit", "expression": "happy", "intensity": 1.0, "keyframes": ""}
    for path, message in ((None, "Add a film"), (str(clip), "at most")):
        with pytest.raises(Exception, match=message):
            film_panel.make_film(tiny_editor, path, **settings, progress=lambda *_, **__: None)
    with pytest.raises(ValueError, match="must be a time"):
        film_panel.make_film(tiny_editor, str(clip), **settings | {"keyframes": "happy"}, progress=lambda *_, **__: None)
    assert not list(visitors.rglob("*.parts")) and not list(visitors.rglob("*.mp4"))


def test_a_film_may_be_uploaded(app_url, clip):
    status, _, _ = upload(app_url, clip.read_bytes(), "me.mp4", "video/mp4")
    assert status == 200
