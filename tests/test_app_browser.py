"""The page in Chromium, which is shut off from all other machines: what a visitor does, one test for each kind of fault."""

import json
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from browser_visit import DESKTOP, PHONE, TABS, Visit, open_page, photo_of_two  # noqa: F401, the last two are fixtures
from PIL import Image

from exprgan.ui import words

pytestmark = pytest.mark.browser


def in_view(locator, height: int) -> bool:
    """Whether an element lies between the top and the bottom of the screen."""
    box = locator.bounding_box()
    return box is not None and box["y"] >= -1 and box["y"] + box["height"] <= height + 1


def test_the_first_screen_has_result_expressions_and_slider_and_does_not_shift(browser, app_url):
    def shifts(viewport):
        visit = Visit(browser, app_url, viewport)
        visit.result()
        visit.wait_for_status("This is an example")
        for part in (".viewer", ".strip .tiles", ".choice .intensity"):
            assert in_view(visit.page.locator(part).first, viewport["height"]), (viewport, part)
        assert visit.page.locator(".strip button").count() == 7 and visit.chosen() == ["Happy"]
        visit.page.wait_for_timeout(500)
        assert not visit.errors, visit.errors
        shifts = visit.page.evaluate("window.shifts")
        visit.page.close()
        return shifts

    for viewport in (DESKTOP, PHONE):
        assert shifts(viewport) < 0.1  # counts as good


def test_on_a_phone_the_menu_of_tabs_opens_over_the_result(browser, app_url):
    visit = Visit(browser, app_url, PHONE)
    for tab in ("About", "Edit", "Transfer", "Random people"):
        visit.open(tab)
        visit.page.get_by_role("tab", name=tab, selected=True).or_(visit.page.locator(".overflow-item-selected")).wait_for()
        if tab in ("Edit", "Transfer"):
            visit.page.locator(".block.result:visible").first.wait_for()
    visit.page.locator(".people:visible").first.wait_for()
    visit.page.close()


def test_full_screen_enlarges_the_picture_and_leaves_the_page_as_it_was(visit):
    visit.result()
    frame = visit.page.locator(".frame:visible")
    before = frame.bounding_box()
    visit.page.get_by_role("button", name="Full screen").click()
    visit.page.wait_for_function("() => document.fullscreenElement?.matches('.viewer')")
    visit.page.wait_for_timeout(200)
    assert frame.bounding_box()["height"] > before["height"] * 1.4
    assert visit.page.locator("img.after:visible").bounding_box()["height"] > before["height"] * 1.4
    visit.page.get_by_role("button", name="Full screen").click()
    visit.page.wait_for_function("() => !document.fullscreenElement")
    visit.page.wait_for_timeout(200)
    assert frame.bounding_box() == before


def test_full_screen_can_be_left_on_a_phone_without_its_api(browser, app_url):
    visit = Visit(browser, app_url, PHONE)
    visit.result()
    page, button = visit.page, visit.page.get_by_role("button", name="Full screen")
    page.evaluate("delete Element.prototype.requestFullscreen")
    button.click()
    page.locator(".viewer.overlay").wait_for()
    for part in (page.locator(".frame:visible"), button):
        box = part.bounding_box()
        point = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        assert page.evaluate("([x, y]) => Boolean(document.elementFromPoint(x, y)?.closest('.viewer'))", point), part
    button.click()
    page.locator(".viewer:not(.overlay)").locator("visible=true").wait_for()
    page.close()


def test_the_result_stays_in_view_while_more_is_set(browser, app_url):
    for viewport in (DESKTOP, PHONE):
        visit = Visit(browser, app_url, viewport)
        visit.result()
        visit.page.get_by_role("button", name="More: mix").click()
        method = visit.page.locator("label:visible", has_text="Draw the face anew")
        method.scroll_into_view_if_needed()
        visit.page.mouse.wheel(0, 300)
        visit.page.wait_for_timeout(300)
        assert in_view(visit.page.locator(".frame:visible"), viewport["height"]), viewport
        assert in_view(method, viewport["height"]), viewport
        if viewport == PHONE:  # turned, the result moves away with the page
            visit.page.set_viewport_size({"width": PHONE["height"], "height": PHONE["width"]})
            method.scroll_into_view_if_needed()
            assert visit.page.locator(".frame:visible").bounding_box()["y"] < -100
        visit.page.close()


def test_the_comparison_begins_beside_the_edited_face_and_has_labels(visit, two):
    visit.own_photo(two)
    page = visit.page
    page.get_by_role("button", name="Face 2").locator("visible=true").first.click()
    visit.wait_for_status("Face 2 now")
    assert page.evaluate("() => getComputedStyle(document.querySelector('img.after')).clipPath") == "none"
    assert not page.locator(".before-tag").is_visible()
    page.keyboard.down("b")
    assert page.locator(".before-tag").is_visible() and not page.locator(".after-tag").is_visible()
    page.keyboard.up("b")
    page.get_by_role("button", name="Side by side").click()
    assert page.locator(".before-tag").inner_text() == "Before" and page.locator(".after-tag").inner_text() == "Happy, 100%"
    divider, face = page.get_by_role("slider", name="Divider"), page.locator(".mark[aria-pressed=true]").bounding_box()
    box = divider.bounding_box()
    assert page.locator(".mark").nth(0).bounding_box()["x"] < box["x"] + box["width"] / 2 < face["x"]
    start = int(divider.get_attribute("aria-valuenow"))
    divider.press("ArrowRight")
    assert int(divider.get_attribute("aria-valuenow")) == start + 2
    page.get_by_role("button", name="Close-up").click()
    page.wait_for_timeout(400)
    assert page.locator(".mark[aria-pressed=true]").bounding_box()["height"] > 1.5 * face["height"]


def test_zoom_shows_the_pictures_own_pixels_and_pans(visit, data_dir, tmp_path):
    Image.open(data_dir / "portrait.jpg").resize((1000, 1000)).save(tmp_path / "large.jpg")
    visit.own_photo(tmp_path / "large.jpg")
    page, after = visit.page, visit.page.locator("img.after:visible")
    page.get_by_role("button", name="100 %").click()
    page.wait_for_timeout(400)
    box = after.bounding_box()
    assert box["width"] == pytest.approx(1000, abs=1)
    page.mouse.move(400, 300)
    page.mouse.down()
    page.mouse.move(440, 330, steps=4)
    page.mouse.up()
    assert after.bounding_box()["x"] == pytest.approx(box["x"] + 40, abs=3)


def test_all_that_is_set_is_visible_removable_and_gone_with_the_next_photo(visit, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    page = visit.page
    page.get_by_role("button", name="More: mix").click()
    visit.choose_expression("Neutral")
    intensity = page.locator(".choice .intensity:visible")
    assert "without-effect" in intensity.get_attribute("class")
    visit.choose("Sad")
    page.locator(".chips", has_text="mixed with sad, 50%").wait_for()
    assert "without-effect" not in intensity.get_attribute("class")
    visit.choose_expression("Happy")
    visit.choose("Sad")
    page.locator(".chips", has_text="mixed with sad, 50%").wait_for()
    visit.choose("Draw the face anew")
    page.locator(".chips", has_text="the network's drawing").wait_for()
    visit.wait_for_status(words.DRAWN)
    page.get_by_role("button", name="Remove: mixed with sad").click()
    page.wait_for_function("() => document.querySelectorAll('.chips li').length === 1")
    assert page.locator(".chips button:focus").count() == 1
    assert page.get_by_role("radio", name="Nothing").is_checked()
    visit.own_photo(data_dir / "portrait2.jpg")
    page.wait_for_function("() => !document.querySelectorAll('.chips li').length")
    assert page.get_by_role("radio", name="Keep all detail").is_checked() and visit.chosen() == ["Happy"]


def test_a_film_belongs_to_its_photo(visit, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    page = visit.page
    page.get_by_role("button", name="A short film").click()
    page.get_by_role("slider", name="Seconds").press("Home")
    visit.choose("GIF")
    page.get_by_role("button", name="Make the film").click()
    page.locator("img.player, .player img").first.wait_for()
    assert visit.download("Download the film").suggested_filename == "portrait-happy.gif"
    visit.own_photo(data_dir / "portrait2.jpg")
    page.wait_for_function("() => !document.querySelector('.player img')")
    assert not page.get_by_role("button", name="Download the film").is_visible()


def test_intensity_0_is_the_photo_and_an_emptied_box_the_default(visit, data_dir):
    first = visit.own_photo(data_dir / "portrait.jpg")
    page = visit.page
    page.get_by_role("slider", name="Intensity").press("Home")
    visit.wait_for_status(words.UNCHANGED)
    before, after = (page.locator(f"img.{name}:visible").get_attribute("src") for name in ("before", "after"))
    assert before == after and page.locator(".after-tag").inner_text() == "Your photo"
    box = page.locator(".choice .intensity input[type=number]")
    box.fill("")
    page.locator(".after-tag", has_text="Happy, 100%").wait_for()
    assert page.locator(".toast-body").count() == 0
    assert visit.fetch(visit.result()) == visit.fetch(first)


def test_a_reload_and_a_restarted_server_lose_nothing_and_forgetting_does(visit, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    page = visit.page
    visit.choose_expression("Sad")
    page.wait_for_timeout(900)
    page.reload()
    page.locator(".after-tag", has_text="Sad, 100%").wait_for()
    page.locator(".photo:visible img").wait_for()
    visit.page.wait_for_function("() => document.querySelector('.strip button[aria-pressed=true]')?.textContent === 'Sad'")
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(status=429), times=2)
    page.wait_for_timeout(2100)  # the server is asked at most every two seconds
    page.evaluate("window.isSamePage = true")
    page.get_by_role("button", name="Close-up").click()
    page.locator(".reconnecting").wait_for()
    page.locator(".reconnecting").wait_for(state="detached")
    assert page.evaluate("window.isSamePage")
    visit.errors = [error for error in visit.errors if "429" not in error]
    page.route("**/gradio_api/app_id", lambda route: route.fulfill(json={"app_id": 1}), times=2)
    page.wait_for_timeout(2100)
    with page.expect_navigation():
        page.get_by_role("button", name="Close-up").click()
    page.locator(".photo:visible img").wait_for()
    page.locator(".after-tag", has_text="Sad, 100%").wait_for()
    page.locator(".visit button").first.wait_for()
    page.get_by_role("button", name="Forget this photo").click()
    page.wait_for_function("() => !document.querySelector('.photo img, .visit button')")
    visit.wait_for_status("This is an example")
    page.locator(".viewer .own").wait_for()
    page.wait_for_timeout(900)
    assert not page.locator(".visit button, .forget").count()
    page.reload()
    visit.wait_for_status("This is an example")
    assert not page.locator(".photo:visible img").count()


def test_an_unreadable_file_is_answered_without_a_path(visit, tmp_path):
    visit.result()
    (tmp_path / "empty.jpg").write_bytes(b"")
    visit.add_photo(tmp_path / "empty.jpg")
    visit.page.locator(".toast-body").first.wait_for()
    text = visit.page.locator(".toast-body").first.inner_text()
    assert "empty" in text and "/" not in text, text
    visit.errors = [error for error in visit.errors if "400" not in error]


def test_highlights_are_true_after_every_way_to_change_a_setting(visit, two):
    visit.own_photo(two)
    page = visit.page
    visit.choose("Each separately")
    page.locator(".chips", has_text="separately").wait_for()
    page.locator(".mark").nth(1).click()
    visit.wait_for_status("Face 2 now")
    assert page.locator(".mark:focus").get_attribute("aria-label") == "Face 2"
    assert (
        visit.chosen(".faces") == ["Face 2"]
        and page.locator(".mark[aria-pressed=true]").get_attribute("aria-label") == "Face 2"
    )
    visit.choose_expression("Sad")
    page.wait_for_timeout(900)
    page.locator(".faces button").first.click()
    visit.wait_for_status("Face 1 now")
    assert visit.chosen() == ["Happy"] and visit.chosen(".faces") == ["Face 1"]
    page.wait_for_timeout(900)
    page.get_by_role("button", name="Undo").click()
    visit.wait_for_status("Face 2 now")
    assert visit.chosen() == ["Sad"] and visit.chosen(".faces") == ["Face 2"]
    page.get_by_role("button", name="Redo").click()
    visit.wait_for_status("Face 1 now")
    assert visit.chosen() == ["Happy"]


def test_steps_thumbnails_and_going_on_from_a_result(visit, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    page = visit.page
    assert page.get_by_role("button", name="Reset").is_disabled()
    page.locator(".visit button").first.wait_for()
    visit.choose_expression("Surprised")
    page.wait_for_function("() => document.querySelectorAll('.visit button').length === 2")
    page.locator(".visit button").nth(1).click()
    page.locator(".after-tag", has_text="Happy, 100%").wait_for()
    page.wait_for_timeout(900)  # Happy is the last result now
    assert page.locator(".visit button:first-child:focus").inner_text() == "Happy, 100%"
    page.get_by_role("slider", name="Intensity").press("Home")  # as the tiny model leaves no face to go on with
    page.wait_for_function("() => document.querySelectorAll('.visit button').length === 3")
    page.get_by_role("button", name="Go on from this result").click()
    page.wait_for_function("() => document.querySelectorAll('.visit button').length === 4")
    assert visit.download("Save in full size").suggested_filename == "portrait-unchanged-happy-100.jpg"
    page.locator(".visit button").last.click()  # a result of the first photo
    page.wait_for_function(
        "() => document.querySelector('.visit button:last-child').getAttribute('aria-pressed') === 'true'"
    )
    assert visit.download("Save in full size").suggested_filename == "portrait-surprise-100.jpg"
    before = visit.result()
    page.locator("#people button").nth(1).click()
    visit.result(unlike=before)
    name = visit.download("Save in full size").suggested_filename
    page.wait_for_timeout(900)
    page.reload()
    page.locator(".photo:visible img").wait_for()
    page.locator(".after-tag", has_text="Surprised, 100%").wait_for()
    assert visit.download("Save in full size").suggested_filename == name and "portrait" not in name


def test_a_photo_that_was_deleted_does_not_keep_the_next_from_being_edited(visit, data_dir, two):
    visit.own_photo(two)
    page = visit.page
    page.locator(".mark").nth(1).click()
    visit.wait_for_status("Face 2 now")
    page.locator(".visit button").first.wait_for()
    first = visit.own_photo(data_dir / "portrait.jpg")
    for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob(two.name):
        path.unlink()
    page.locator(".visit button").last.click()
    visit.wait_for_status("Nothing was edited")
    visit.refuse_edits()
    visit.add_photo(data_dir / "portrait2.jpg")
    page.locator(".strip button").nth(6).wait_for()  # though the first edit was refused
    page.locator(".strip button", has_text="Sad").click()
    visit.result(unlike=first)
    visit.errors = [error for error in visit.errors if "503" not in error and two.name not in error]


def test_results_are_named_after_what_was_done(visit, data_dir):
    visit.own_photo(data_dir / "portrait.jpg")
    visit.choose_expression("Sad")
    visit.page.get_by_role("slider", name="Intensity").press("ArrowLeft")
    visit.page.locator(".after-tag", has_text="Sad, 95%").wait_for()
    assert visit.download("Save in full size").suggested_filename == "portrait-sad-95.jpg"
    assert visit.download("All in one picture").suggested_filename == "portrait-all-expressions.jpg"


def test_a_transfer_has_examples_and_a_choice_of_faces(visit, two):
    visit.open("Transfer")
    visit.wait_for_status("Add both photos")
    page = visit.page
    page.locator("#transfer-sources button").first.click()
    visit.add_photo(two)
    first = visit.result()
    assert visit.chosen(".faces:visible") == ["Face 1"]
    page.locator(".faces:visible button").nth(1).click()
    second = visit.result(unlike=first)
    page.get_by_role("slider", name="Intensity").locator("visible=true").press("ArrowLeft")
    visit.result(unlike=second)
    assert re.fullmatch(r"two-like-V\d+-\w+\.png", visit.download("Save in full size").suggested_filename)
    page.get_by_role("button", name="Copy a link").locator("visible=true").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert dict(parse_qsl(urlsplit(page.url).query)) == {"tab": "Transfer", "intensity": "0.95"}


def test_the_snippets_under_use_via_api_run_as_they_stand(visit, app_url, capsys):
    page, tried = visit.page, ("read", "edit", "generate", "transfer")
    page.get_by_role("button", name="Use via API").click()
    page.locator("pre:visible", has_text="client.predict").first.wait_for()
    snippets = page.locator("pre").all_text_contents()
    for name in tried:
        (python,) = [text for text in snippets if f'api_name="/{name}"' in text and "from gradio_client" in text]
        exec(python, {})  # prints the result
        (curl,) = [text for text in snippets if f"gradio_api/call/v2/{name} " in text]
        body = json.loads(re.search(r"-d '(.*)'", curl)[1])
        event = page.request.post(f"{app_url}gradio_api/call/v2/{name}", data=body).json()["event_id"]
        answer = page.request.get(f"{app_url}gradio_api/call/{name}/{event}").text()
        assert answer.startswith("event: complete"), (name, answer)
    assert "certainties" in capsys.readouterr().out
    for described in ("which face, counted from 1", "from 0, the photo as it is"):
        assert page.get_by_text(described).count(), described
    visit.errors = [error for error in visit.errors if "404" not in error]  # gradio asks whether there is MCP


def test_the_words_are_plain(visit):
    for tab in TABS:
        visit.open_and_wait(tab)
        text = visit.page.locator("body").inner_text()
        for riddle in ("Pixels", "Your photo, moved", "Style", "Each its own", "All alike", "There and back"):
            assert riddle not in text, (tab, riddle)


def test_a_photo_can_be_dropped_or_pasted_anywhere_and_a_tab_has_an_address(visit, data_dir):
    example, page = visit.result(), visit.page
    data = json.dumps([*(data_dir / "portrait.jpg").read_bytes()])
    event = f"""(kind, type = 'image/jpeg') => {{
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array({data})], 'me.jpg', {{type}}));
      const options = {{bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data}};
      const dropped = kind === 'paste' ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
      document.querySelector('#title').dispatchEvent(dropped);
    }}"""
    page.evaluate(event, "dragover")
    assert page.locator("body.dropping").count()
    page.evaluate(event, "drop")
    assert not page.locator("body.dropping").count()
    page.evaluate(f"({event})('dragover', 'video/mp4')")
    assert not page.locator("body.dropping").count()
    first = visit.result(unlike=example)
    visit.choose_expression("Sad")
    page.evaluate(event, "paste")
    visit.result(unlike=first)
    visit.open("About")
    page.wait_for_url("**/?tab=About")
    page.evaluate(event, "dragover")  # there is no place for a photo
    assert not page.locator("body.dropping").count()
    page.go_back()
    page.locator(".strip button").first.wait_for()
    assert "tab=" not in page.url
