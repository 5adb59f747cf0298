"""The page in Chromium: its other tabs, links, names and contrast for screen readers, the keyboard."""

import os
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from accessibility import problems, walk
from browser_visit import DESKTOP, PHONE, TABS, Visit, open_page, photo_of_two  # noqa: F401, the last two are fixtures
from PIL import Image

pytestmark = pytest.mark.browser


def test_a_photo_without_a_face_is_answered_with_a_sentence(visit, data_dir, tmp_path):
    visit.own_photo(data_dir / "portrait.jpg")
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    visit.add_photo(tmp_path / "sky.png")
    visit.page.get_by_text("Nothing was edited").wait_for()
    visit.page.get_by_text("No face was found in this photo").wait_for()  # strict mode: exactly one such element
    assert not visit.page.locator(".result img[src], .strip img").count()  # nothing of the previous photo is left
    assert "Traceback" not in visit.page.content()


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
    download = visit.download("Save all, labelled")
    download.save_as(tmp_path / "people.zip")
    assert download.suggested_filename.endswith("-all.zip")
    assert len(zipfile.ZipFile(tmp_path / "people.zip").namelist()) == 7


def test_a_link_restores_the_settings_and_not_the_photo(visit, browser, app_url, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    second = visit.choose_expression("Sad")
    visit.page.get_by_role("slider", name="Intensity").press("ArrowLeft")
    visit.result(unlike=second)
    visit.page.get_by_role("button", name="Copy a link").click()
    visit.page.get_by_role("button", name="Copied").wait_for()
    link = visit.page.url
    query = {"tab": "Edit", "expression": "sad", "intensity": "0.95", "part": "0.5", "style": "0", "fidelity": "detail"}
    assert dict(parse_qsl(urlsplit(link).query)) == query
    friend = Visit(browser, link)
    friend.page.locator(".after-tag", has_text="Sad, 95%").wait_for()
    friend.wait_for_status("This is an example")
    assert friend.chosen() == ["Sad"]
    assert friend.page.get_by_role("slider", name="Intensity").input_value() == "0.95"
    friend.page.goto(f"{app_url}?tab=Random+people&seed=5&count=2&expression=all&intensity=nonsense")
    friend.page.wait_for_function("() => document.querySelectorAll('.people img').length === 12")
    assert friend.page.get_by_label("Seed").input_value() == "5"
    assert not friend.errors, friend.errors
    friend.page.close()


def test_about_says_what_it_is(visit):
    visit.open("About")
    for text in ("What it cannot do", "neither a history nor any tracking", "The weights that came", "To cite"):
        visit.page.get_by_text(text).first.wait_for()


DISPLAYS = pytest.mark.parametrize(
    ("viewport", "scheme"),
    [
        (DESKTOP, "light"),
        (PHONE, "dark"),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in ((DESKTOP, "dark"), (PHONE, "light"))),
    ],
)


@DISPLAYS
def test_the_page_is_accessible(browser, app_url, viewport, scheme, two):
    visit, violations = Visit(browser, app_url, viewport, color_scheme=scheme), []
    visit.own_photo(two)
    for tab in TABS:
        visit.open_and_wait(tab)
        violations += [f"{tab}: {problem}" for problem in problems(visit.page)]
        if visit.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            violations.append(f"{tab}: wider than the screen")
        if "AXE" in os.environ:  # the path of axe.min.js from `npm install axe-core`
            visit.page.evaluate(Path(os.environ["AXE"]).read_text(encoding="utf-8"))
            report = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            violations += [(tab, rule["id"], node["html"][:200]) for rule in report for node in rule["nodes"]]
    assert not violations
    assert not visit.errors, visit.errors
    visit.page.close()


EDIT_STOPS = ("frame", "Before", "Divider", "Close-up", "Full screen", "happy", "range", "upload-container",
              "Virtual person", "Save in full size", "Go on from", "All in one", "Copy a link", "More", "film")  # fmt: skip


def test_a_keyboard_reaches_everything_in_every_tab_in_order(visit):
    visit.result()
    visit.page.evaluate("document.querySelector('.split').click()")  # a real click would be where the focus starts
    stops, violations = walk(visit.page)
    assert not violations
    for part in EDIT_STOPS:
        assert any(part in stop for stop in stops), part
    for tab in TABS[1:]:
        visit.open_and_wait(tab)
        assert not walk(visit.page)[1], tab
