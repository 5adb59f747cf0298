"""What a program may send in place of a control's value: anything else is answered with a sentence that names it."""

import math
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from pydantic import ValidationError

MAX_SHOWN = 60
"""Characters of a wrong value that are repeated in the answer."""

KINDS = {"object": (dict, "a JSON object"), "boolean": (bool, "true or false"), "string": (str, "a text")}
"""JSON types without bounds: the Python type, and its name in a sentence."""


def check_input(component: gr.components.Component, name: str) -> None:
    """Makes a component check what it is sent as the parameter `name`, before gradio converts it; done once."""
    if hasattr(component, "checked_as"):
        return
    component.checked_as = name
    convert, schema = component.preprocess, schema_of(component)

    def preprocess(payload: Any) -> Any:
        try:
            if schema is None or is_valid(schema, payload):
                return convert(payload)
        except gr.Error:
            raise
        except Exception as error:
            raise wrong_value(component, name, payload) from error
        raise wrong_value(component, name, payload)

    component.preprocess = preprocess
    if isinstance(component, gr.Image):
        component.data_model = checked_model(component, name)


def schema_of(component: gr.components.Component) -> dict[str, Any] | None:
    """The JSON schema of what a component takes, as far as it is checked here; None: gradio's own conversion checks it."""
    if isinstance(component, Api):
        return None if is_photo(component) else component.api_info()
    if isinstance(component, (gr.Slider, gr.Number)):
        bounds = {key: value for key, value in (("minimum", component.minimum), ("maximum", component.maximum))
                  if value is not None}  # fmt: skip
        kind = "integer" if component.precision == 0 else "number"
        return {"type": kind, "nullable": isinstance(component, gr.Number), **bounds}
    if isinstance(component, gr.Radio):
        return {"enum": [value for _, value in component.choices]}
    return {"type": "object", "nullable": True} if isinstance(component, gr.JSON) else None


def is_photo(component: gr.components.Component) -> bool:
    """Whether a component takes an uploaded picture."""
    return isinstance(component, gr.Image) or (isinstance(component, Api) and "properties" in component.api_info())


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is what a schema of `schema_of` describes."""
    if value is None and schema.get("nullable"):
        return True
    if "enum" in schema:
        return any(value == choice and type(value) is type(choice) for choice in schema["enum"])
    if schema["type"] in KINDS:
        return isinstance(value, KINDS[schema["type"]][0])
    if type(value) not in (int, float) or not math.isfinite(value) or (schema["type"] == "integer" and value != int(value)):
        return False
    return schema.get("minimum", value) <= value <= schema.get("maximum", value)


def wrong_value(component: gr.components.Component, name: str, value: Any) -> gr.Error:
    """An error that says what the parameter must be, and what it was."""
    expected = 'an uploaded file, as {"path": "..."}' if is_photo(component) else "another value"
    if schema := schema_of(component):
        expected = expectation(schema)
    return gr.Error(f"{name} must be {expected}, not {shown(value)}", print_exception=False)


def expectation(schema: dict[str, Any]) -> str:
    """What a schema describes, as the end of a sentence."""
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if schema["type"] in KINDS:
        return KINDS[schema["type"]][1]
    number = "a whole number" if schema["type"] == "integer" else "a number"
    if not {"minimum", "maximum"} <= schema.keys():
        return number
    return f"{number} from {schema['minimum']:g} to {schema['maximum']:.10g}"


def shown(value: Any) -> str:
    """A value as it was sent, shortened; "nothing" for none."""
    try:
        text = "nothing" if value is None else repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number with thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


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
