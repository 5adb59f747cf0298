"""Fine tuning on the page and in its API: units, looks and transfers by units, with a model that takes units."""

import json
from contextlib import closing
from urllib.parse import parse_qsl, urlsplit

import gradio as gr
import numpy as np
import pytest
from app_calls import SETTINGS, call, two_people
from browser_visit import PHONE, Visit
from PIL import Image
from test_unit_condition import unit_editor  # noqa: F401, a fixture

from exprgan import Look
from exprgan.ui import dial_panel, endpoints, handlers, looks
from exprgan.ui.components import restore_settings
from exprgan.ui.looks import format_units, parse_units, settings_of
from exprgan.ui.page import build_app, serve
from exprgan.ui.server.limits import Limits

WINK = {"lids_left": -1.0}


@pytest.fixture
def photo(data_dir, visitors):
    path = visitors / "me.jpg"
    Image.open(data_dir / "portrait.jpg").resize((300, 300)).save(path)
    return str(path)


def edit(editor, photo, **changes):
    (before, after), status, _ = handlers.edit(editor, photo, **SETTINGS | changes, session=None)
    return np.asarray(Image.open(before)), np.asarray(Image.open(after)), status


def test_units_change_the_photo_as_it_is_or_with_an_expression(unit_editor, photo):  # noqa: F811
    before, as_it_is, _ = edit(unit_editor, photo, expression="", intensity=1, units=WINK)
    _, at_zero, _ = edit(unit_editor, photo, expression="sad", intensity=0, units=WINK)
    assert np.array_equal(as_it_is, at_zero) and not np.array_equal(as_it_is, before)
    _, happy, _ = edit(unit_editor, photo)
    _, happy_wink, status = edit(unit_editor, photo, units=WINK)
    assert not np.array_equal(happy, happy_wink) and status.startswith("The face now")
    for unchanged in ({"units": {}}, {"units": WINK, "intensity": 0}, {"units": {"smile": 0}}):
        same, after, status = edit(unit_editor, photo, expression="", **unchanged)
        assert np.array_equal(same, after) and "unchanged" in status


@pytest.mark.parametrize(
    ("units", "message"),
    [({"grin": 1}, "unknown unit 'grin'"), ({"smile": 7}, "smile must be a number from -1 to 1, not 7"),
     ({"smile": "x"}, "smile must be"), ([1], "units must be a JSON object"), ({"jaw": 1}, "unknown unit 'jaw'")],
)  # fmt: skip
def test_wrong_units_are_answered_with_a_sentence(unit_editor, photo, units, message):  # noqa: F811
    with pytest.raises(gr.Error) as error:
        endpoints.with_error_handling(handlers.edit, unit_editor)(photo, *(SETTINGS | {"units": units}).values(), None)
    assert message in error.value.message


def test_a_model_without_units_says_so(tiny_editor, photo):
    run = endpoints.with_error_handling(handlers.edit, tiny_editor)
    for settings in ({"units": WINK}, {"units": WINK, "intensity": 0}):
        with pytest.raises(gr.Error, match="this model takes no action units"):
            run(photo, *(SETTINGS | settings).values(), None)
    with pytest.raises(gr.Error, match="expression must be one of angry"):
        run(photo, *(SETTINGS | {"expression": ""}).values(), None)
    with pytest.raises(gr.Error, match="takes no action units"):
        endpoints.with_error_handling(handlers.transfer, tiny_editor)(photo, photo, 1, 0, 0, True, None)


def test_each_face_has_units_of_its_own(unit_editor, data_dir, visitors):  # noqa: F811
    path = str(two_people(data_dir, visitors))
    others = {"1": {"expression": "", "units": WINK}}
    before, after, _ = edit(unit_editor, path, face=2, scope="each", others=others, units={"smile": 0.5})
    change = np.abs(before.astype(int) - after).max(axis=(0, 2)) > 20
    assert change[: change.size // 2].any() and change[change.size // 2 :].any()


def test_looks_become_settings_and_back(unit_editor, visitors):  # noqa: F811
    for look in (Look("happy", 0.5, 1, WINK), Look({"happy": 0.75, "sad": 0.25}), Look(units={"smile": 0.5})):
        settings = settings_of(look, unit_editor)
        path = looks.download_look(unit_editor, *settings.values())
        assert settings_of(Look.load(path), unit_editor) == settings
    assert settings_of(Look({"happy": 0.3, "sad": 0.1}), unit_editor) == {
        "expression": "happy", "intensity": pytest.approx(0.4), "second": "sad", "part": pytest.approx(0.25), "style": 0,
        "units": {},
    }  # fmt: skip
    wrong = (Look({"happy": 0.4, "sad": 0.3, "fear": 0.3}), Look({"happy": 1, "sad": 0.5}), Look("grim"),
             Look("sad", style=9), Look(units={"jaw": 1}))  # fmt: skip
    for look in wrong:
        with pytest.raises(ValueError, match="cannot be used as a look: "):
            dial_panel.open_look(unit_editor, look.to_json())
    assert dial_panel.open_look(unit_editor, Look("happy").to_json()) == ("happy", 1.0, "", 0.5, 0, {})
    with pytest.raises(ValueError, match="a look needs"):
        looks.download_look(unit_editor, "", 1, "", 0.5, 0, {})


def test_units_in_links_are_checked():
    units = {"smile": 0.4, "lids_left": -1.0}
    assert parse_units(format_units(units)) == units and parse_units("") == {}
    for text in ("smile", "smile:x", "grin:1", "smile:2", "smile:nan"):
        with pytest.raises(ValueError):
            parse_units(text)


@pytest.fixture(scope="module")
def unit_url(tiny_config, tmp_path_factory):
    """The app with a model that takes units."""
    import dataclasses

    import torch
    from test_unit_condition import UNITS

    from exprgan import ExpressionEditor, ExprGAN

    tmp_path_factory.mktemp("visitors")
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, warp_width=0.25, action_units=UNITS, warp_units=UNITS, warp_eyes=True,
                                 warp_decoded=False)  # fmt: skip
    model = ExprGAN(config)
    torch.nn.init.normal_(model.T.head.weight, std=0.5)
    app = build_app(ExpressionEditor(model))
    with closing(app):
        yield serve(app, Limits(free_bytes=0), server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)


def test_the_api_takes_units(unit_url):
    settings = SETTINGS | {"expression": "", "units": WINK}
    event, answer = call(unit_url, "edit", None, *settings.values(), timeout_s=90)
    assert event == "complete", answer
    event, answer = call(unit_url, "edit", None, *(settings | {"units": {"lids_up": 1}}).values(), timeout_s=90)
    assert event == "error" and "unknown unit" in answer and "Traceback" not in answer


@pytest.mark.browser
def test_dials_and_looks_on_the_page(browser, unit_url, tmp_path):
    visit = Visit(browser, unit_url, PHONE)
    page, example = visit.page, visit.result()
    visit.wait_for_status("This is an example")
    assert page.locator(".strip button").count() == 8
    labels = page.locator(".strip button span")
    assert labels.evaluate_all("spans => spans.every(span => span.scrollWidth <= span.clientWidth)")
    slider = page.locator(".choice .intensity").first.bounding_box()
    assert slider["y"] + slider["height"] <= PHONE["height"] and page.evaluate("window.shifts") < 0.1  # counts as good
    page.get_by_role("button", name="Fine tuning").click()
    smile = page.get_by_role("slider", name="Smile")
    smile.press("ArrowRight")
    tuned = visit.result(unlike=example)
    page.locator(".after-tag", has_text="Happy, 100%, adjusted").wait_for()
    page.locator(".chips", has_text="fine-tuned: smile").wait_for()
    page.get_by_role("checkbox", name="Each side by itself").check()
    page.get_by_role("slider", name="Eyelids: closed to wide, left").press("Home")
    visit.result(unlike=tuned)
    page.locator(".chips", has_text="eyelids").wait_for()
    assert page.get_by_role("slider", name="Smile, right").input_value() == "0.05"
    visit.refuse_edits()
    page.get_by_role("slider", name="Smile, right").press("End")
    page.locator(".toast-body").first.wait_for()
    page.wait_for_function("() => document.querySelector('.dial [aria-label=\"Smile, right\"]').value === '0.05'")
    visit.errors = [error for error in visit.errors if "503" not in error]
    saved = visit.download("Save this look")
    look = Look.load(saved.path())
    assert look == Look("happy", units={"smile": 0.05, "lids_left": -1.0})
    page.get_by_role("button", name="Copy a link").locator("visible=true").click()
    page.get_by_role("button", name="Copied").wait_for()
    query = dict(parse_qsl(urlsplit(page.url).query))
    assert parse_units(query["units"]) == look.units and query["expression"] == "happy"
    for dial in page.locator(".dial input").all():
        box = dial.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] and box["height"] >= 24
    page.locator(".reset-dials").click()
    page.wait_for_function("() => !document.querySelectorAll('.chips li').length")
    (tmp_path / "mine.json").write_text(json.dumps({"version": 1, "expression": "sad", "units": {"smile": -0.5}}))
    page.locator(".open-look input").set_input_files(tmp_path / "mine.json")
    page.locator(".after-tag", has_text="Sad, 100%, adjusted").wait_for()
    (tmp_path / "bad.json").write_text("<script>")
    page.locator(".open-look input").set_input_files(tmp_path / "bad.json")
    page.locator(".toast-body", has_text="it is no JSON").first.wait_for()
    page.goto(f"{unit_url}?look={look.to_link()}")
    page.locator(".after-tag", has_text="Happy, 100%, adjusted").wait_for()
    assert not visit.errors, visit.errors
    page.close()


def test_a_link_with_a_look_sets_the_tab(unit_editor):  # noqa: F811
    from exprgan.ui.components import Link

    with gr.Blocks():
        settings = {"expression": gr.Radio(["happy", "sad"]), "intensity": gr.Slider(0, 1), "units": gr.JSON()}
        link = Link(settings)
    for query in (
        f"?look={Look('sad', 0.5, units=WINK).to_link()}",
        "?tab=Edit&expression=sad&intensity=0.5&units=lids_left:-1",
    ):
        _, tab, *values = restore_settings({"Edit": link}, unit_editor, query)
        assert (tab, *values) == ("Edit", "sad", 0.5, WINK)
    _, tab, *values = restore_settings({"Edit": link}, unit_editor, "?look=%00<script>")
    assert tab is None
