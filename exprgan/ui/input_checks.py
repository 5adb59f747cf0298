"""What a program may send in place of a control's value: anything else is answered with a sentence that names it."""

import math
from collections.abc import Callable
from typing import Any

import gradio as gr
from pydantic import ValidationError

MAX_SHOWN = 60
"""Characters of a wrong value that are repeated in the answer."""


def check_input(component: gr.components.Component, name: str) -> None:
    """Makes a component check what it is sent as the parameter `name`, before gradio converts it; done once."""
    if hasattr(component, "checked_as"):
        return
    component.checked_as = name
    convert, test = component.preprocess, TESTS.get(type(component))

    def preprocess(payload: Any) -> Any:
        try:
            if test is None or test(component, payload):
                return convert(payload)
        except gr.Error:
            raise
        except Exception as error:
            raise wrong_value(component, name, payload) from error
        raise wrong_value(component, name, payload)

    component.preprocess = preprocess
    if isinstance(component, gr.Image):
        component.data_model = checked_model(component, name)


def wrong_value(component: gr.components.Component, name: str, value: Any) -> gr.Error:
    """An error that says what the parameter must be, and what it was."""
    return gr.Error(f"{name} must be {expectation(component)}, not {shown(value)}", print_exception=False)


def expectation(component: gr.components.Component) -> str:
    """What a component takes, as the end of a sentence."""
    if isinstance(component, (gr.Slider, gr.Number)):
        low, high, number = component.minimum, component.maximum, "a whole number" if is_whole(component) else "a number"
        return number if low is None or high is None else f"{number} from {low:g} to {high:.10g}"
    if isinstance(component, gr.Radio):
        return f"one of {', '.join(repr(value) for _, value in component.choices)}"
    if isinstance(component, gr.Image):
        return 'an uploaded file, as {"path": "..."}'
    return "a JSON object" if isinstance(component, gr.JSON) else "another value"


def shown(value: Any) -> str:
    """A value as it was sent, shortened; "nothing" for none."""
    try:
        text = "nothing" if value is None else repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number with thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def is_number(component: gr.Slider | gr.Number, value: Any) -> bool:
    """Whether a value is a finite number within the component's limits; an empty Number is one, an empty Slider is not."""
    if value is None:
        return isinstance(component, gr.Number)
    if type(value) not in (int, float) or not math.isfinite(value) or (is_whole(component) and value != int(value)):
        return False
    low, high = component.minimum, component.maximum
    return (low is None or value >= low) and (high is None or value <= high)


def is_whole(component: gr.Slider | gr.Number) -> bool:
    """Whether a component takes whole numbers alone."""
    return component.precision == 0


def is_choice(component: gr.Radio, value: Any) -> bool:
    """Whether a value is one of the component's, of the same type."""
    return any(value == choice and type(value) is type(choice) for _, choice in component.choices)


def is_object(component: gr.JSON, value: Any) -> bool:
    """Whether a value is a JSON object, or nothing."""
    return value is None or isinstance(value, dict)


TESTS: dict[type, Callable[[Any, Any], bool]] = {
    gr.Slider: is_number, gr.Number: is_number, gr.Radio: is_choice, gr.JSON: is_object,
}  # fmt: skip


def checked_model(component: gr.Image, name: str) -> type:
    """The component's data model, whose validation fails with a sentence."""
    model = component.data_model
    assert model is not None

    def model_validate(cls: type, obj: Any, **options: Any) -> Any:
        if not isinstance(obj, dict) or not isinstance(obj.get("path"), str):
            raise wrong_value(component, name, obj)
        try:
            return model.model_validate(obj, **options)
        except ValidationError as error:
            raise wrong_value(component, name, obj) from error

    return type(model.__name__, (model,), {"model_validate": classmethod(model_validate), "__module__": model.__module__})
