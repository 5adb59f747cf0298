"""Wrong values of the app's API are answered with a sentence that names parameter and value, never with an apology."""

import json
import re

import gradio as gr
import pytest
from app_calls import PARAMETERS, SETTINGS, a_file, call, two_people

from exprgan.ui import endpoints, handlers, input_checks
from exprgan.ui.input_checks import check_input
from exprgan.ui.photo_session import PhotoSession

NAN, INFINITY = float("nan"), float("inf")
NO_NUMBERS = ["x", "", "0.5", [], [1], {}, {"a": 1}, True, NAN, INFINITY, 10**400]
NO_CHOICES = ["x", [], {}, [1], None, True, 1.5, NAN, 10**400, "x" * 5000]


def message(component, value):
    """What a component answers as the parameter `it`; empty if it takes the value."""
    check_input(component, "it")
    try:
        if component.data_model:
            component.preprocess(component.data_model.model_validate(value, context={"validate_meta": True}))
        else:
            component.preprocess(value)
    except gr.Error as error:
        assert not error.print_exception
        return error.message
    return ""


@pytest.mark.parametrize("value", [*NO_NUMBERS, None, -1, 1.01])
def test_a_slider_takes_numbers_in_its_range(value):
    answer = message(gr.Slider(0, 1, step=0.05), value)
    assert answer.startswith("it must be a number from 0 to 1, not ") and len(answer) < 110


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, -1])
def test_a_number_without_a_fraction_is_whole(value):
    answer = message(gr.Number(precision=0, minimum=0, maximum=2**32 - 1), value)
    assert answer.startswith("it must be a whole number from 0 to 4294967295, not ")


@pytest.mark.parametrize("value", NO_CHOICES)
def test_a_choice_is_one_of_those_that_are_named(value):
    for choices in (["happy", "sad"], [("All", 0), ("1", 1)]):
        answer = message(gr.Radio(choices), value)
        assert answer.startswith(("it must be one of 'happy', 'sad', not ", "it must be one of 0, 1, not "))


@pytest.mark.parametrize("value", ["x", [], [1], 1, True, NAN])
def test_json_is_an_object(value):
    assert message(gr.JSON(), value).startswith("it must be a JSON object, not ")


@pytest.mark.parametrize("value", ["/etc/passwd", "x", "", 1, True, [], ["x"], {}, {"a": 1}, {"path": None}, {"path": 1},
                                   {"path": "x", "size": "large", "meta": {"_type": "gradio.FileData"}}])  # fmt: skip
def test_a_photo_is_an_uploaded_file(value):
    assert message(gr.Image(type="filepath"), value).startswith('it must be an uploaded file, as {"path": "..."}, not ')


@pytest.mark.parametrize(
    ("component", "value"),
    [
        (gr.Slider(0, 1), 0),
        (gr.Slider(0, 1), 1.0),
        (gr.Number(precision=0), 2.0),
        (gr.Number(), None),
        (gr.Radio(["a"]), "a"),
        (gr.Radio([0, 1]), 1),
        (gr.JSON(), {}),
        (gr.JSON(), None),
    ],
)
def test_right_values_are_taken(component, value):
    assert message(component, value) == ""


def test_a_value_is_shortened_and_nothing_is_called_nothing():
    assert input_checks.shown(None) == "nothing" and input_checks.shown("x") == "'x'"
    assert len(input_checks.shown("x" * 10**6)) < 70 and "digits" in input_checks.shown(10**5000)


def wrong_for(parameter):
    """A wrong value of each kind, of which the endpoints get one in turn."""
    return {
        "photo": [["me.jpg"], {"a": 1}], "source": [7], "others": [["sad"], "sad"], "scope": [3], "fidelity": [None, "x"],
        "seed": ["x", 1.5], "face": ["one", 0.5], "kind": [None], "file_format": ["avi"], "expression": [None, ["sad"]],
        "second": ["x"], "style": [True], "clip": [7, ["me.mp4"]], "action": ["cut"], "keyframes": [3, None],
    }.get(parameter, ["0.5", None])  # fmt: skip


def test_every_endpoint_names_the_parameter_that_is_wrong(app_url, photo):
    good = SETTINGS | {"photo": a_file(photo), "source": a_file(photo), "kind": "sweep", "file_format": "gif",
                       "seconds": 0.5, "seed": 1, "count": 1, "source_face": 0, "relative": False, "clip": None,
                       "action": "edit", "keyframes": ""}  # fmt: skip
    for name, parameters in PARAMETERS.items():
        for number, parameter in enumerate(parameters):
            values = wrong_for(parameter)
            value = values[(number + len(name)) % len(values)]
            event, answer = call(app_url, name[1:], *(value if one == parameter else good[one] for one in parameters))
            assert event == "error", (name, parameter, value)
            sentence = json.loads(re.search(r"^data: (.*)$", answer, re.M)[1])["error"]
            assert re.match(rf"{parameter} must be .+, not .+", sentence), (name, parameter, value, sentence)
            assert endpoints.APOLOGY not in sentence and "class '" not in sentence


WRONG_OTHERS = {
    "part": [NAN, 5, -1, "1"], "intensity": ["1", 1.5, NAN, 10**400], "style": [99, -1, True, 1.5, NAN],
    "fidelity": ["x", None, []], "expression": ["x", "", [], None], "second": ["x", 1, {}],
}  # fmt: skip


def test_wrong_settings_of_another_face_are_answered_with_a_sentence(tiny_editor, data_dir, visitors):
    path = str(two_people(data_dir, visitors))
    session = PhotoSession(tiny_editor, path)
    edit = endpoints.with_error_handling(handlers.edit, tiny_editor)
    requests = [{name: value} for name, values in WRONG_OTHERS.items() for value in values]
    for other in (*requests, 1, ["sad"], {"mood": "sad"}):
        others = {"2": {"expression": "sad", "second": "happy", **other} if isinstance(other, dict) else other}
        with pytest.raises(gr.Error) as error:
            edit(path, *(SETTINGS | {"face": 1, "scope": "each", "others": others}).values(), session)
        assert error.value.message != endpoints.APOLOGY, other
    for others in ({"9": {}}, {"x": {}}, ["sad"], "sad", {"1": {}, "-1": {}}):
        with pytest.raises(gr.Error) as error:
            edit(path, *(SETTINGS | {"face": 1, "scope": "each", "others": others}).values(), session)
        assert error.value.message.startswith("others must be"), others
