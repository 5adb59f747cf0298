"""The app: edits the expression of a face in a photo, in a browser. `make app` and a Space run this file.

A tab is one function under `@tab`. What it offers to do are the plain functions below the tabs: each takes the editor
and what the visitor set, and `bound` turns whatever goes wrong in one into a sentence.
"""

import functools
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from exprgan import NEUTRAL, EditResult, ExpressionEditor, ExprGAN, ExprGANError, Reading, Subject
from exprgan.faces import Face, choose
from exprgan.images import SUFFIXES, load_photo, save_photo

HERE = Path(__file__).parent
MODEL = os.environ.get("EXPRGAN_MODEL") or str(HERE / "weights")
"""A folder with weights, or org/name or org/name@revision on the Hub."""
EXAMPLES = sorted(map(str, HERE.glob("examples/*.jpg")))
WORDS = {"disgust": "disgusted", "fear": "afraid", "surprise": "surprised"}
"""How an expression is called in a sentence, where its name is no adjective."""
PREVIEW_SUFFIX = ".jpg"
"""Of what is shown while the slider moves. PNG takes forty times as long to write and is four times as large."""
HOUR_S = 3600

TITLE = "# ExprGAN\nChange the expression of a face in a photo, as little or as much as you like."
PLACEHOLDER = "Drop a photo here\nor click to choose one"
START = "Add a photo with a face, or try one of the people below it."
START_TRANSFER = "Add both photos to begin."
NOT_EDITED = "Nothing was edited. Choose a photo with a face seen from the front."
EXPIRED = "This photo was deleted, as every photo is after an hour. Please add it again."
APOLOGY = "Sorry, something went wrong here, not with you. Please try again, or try another photo."

THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="stone", radius_size="lg", font=["system-ui", "sans-serif"], font_mono=["monospace"]
).set(
    color_accent="*primary_600",
    slider_color="*primary_600",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_600",
    button_primary_text_color="white",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    checkbox_label_text_color_selected="white",
)
"""Quiet colours, with enough contrast to read; fonts of the visitor's own system, so that nothing is fetched."""

READ_ALOUD = """() => {
  const mark = () => document.querySelectorAll('.block.status:not([aria-live])')
    .forEach(line => line.setAttribute('aria-live', 'polite'));
  new MutationObserver(mark).observe(document.body, {childList: true, subtree: true});
  mark();
}"""
"""A screen reader says a new status; a tab is on the page only once it was opened."""

LAUNCH = {
    "theme": THEME,
    "css_paths": HERE / "app.css",
    "js": READ_ALOUD,
    "footer_links": ["api", "settings"],
    "allowed_paths": [str(HERE / "examples")],
    "max_file_size": "40mb",
    "state_session_capacity": 200,
    "run_history": False,
    "ssr_mode": False,
    "share": False,
    "enable_monitoring": False,
}
"""How it is served, here and on a Space: without a history, and without calling home."""

LOG = logging.getLogger("exprgan.app")
TABS: dict[str, Callable[[ExpressionEditor], None]] = {}


def tab(title: str) -> Callable:
    """Files a function that lays out a tab; the bar shows them in the order of this file."""

    def file(lay_out: Callable[[ExpressionEditor], None]) -> Callable:
        TABS[title] = lay_out
        return lay_out

    return file


def build_app(editor: ExpressionEditor) -> gr.Blocks:
    """All tabs, wired to one editor."""
    with gr.Blocks(title="ExprGAN", analytics_enabled=False, delete_cache=(600, HOUR_S)) as app:
        gr.Markdown(TITLE, elem_id="title")
        for title, lay_out in TABS.items():
            with gr.Tab(title):
                lay_out(editor)
    return app.queue(max_size=100, default_concurrency_limit=2)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    name, _, revision = (MODEL, "", "") if Path(MODEL).is_dir() else MODEL.partition("@")
    try:
        editor = ExpressionEditor(ExprGAN.from_pretrained(name, revision=revision or None))
    except ExprGANError as error:
        raise SystemExit(f"The app needs a model: {error}") from None
    build_app(editor).launch(**LAUNCH)


# The tabs.


@tab("Edit")
def edit_tab(editor: ExpressionEditor) -> None:
    sitting, face = gr.State(time_to_live=HOUR_S), gr.Number(0, precision=0, visible=False, label="Face")
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, arrived = photo_input("Your photo")
            faces = gr.Gallery(label="Which face?", columns=6, height=110, allow_preview=False, buttons=[],
                               interactive=False, elem_classes="faces")  # fmt: skip
            people = gr.Dataset(components=[photo], samples=[[path] for path in EXAMPLES],
                                label="Or one of these virtual people", elem_id="people")  # fmt: skip
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(START)
        with gr.Column(elem_classes="controls"):
            expression = gr.Radio(choices_of(editor.expressions), value="happy", label="Expression")
            intensity = gr.Slider(0, 1, 1, step=0.05, label="Intensity", buttons=[])
            with gr.Accordion("Advanced", open=False):
                numbers = range(1, editor.model.config.code_dim_each + 1)
                style = gr.Radio([("All", 0), *((str(n), n) for n in numbers)], value=0, label="Style",
                                 info="The ways of showing an expression that the model found by itself.")  # fmt: skip
                fidelity = gr.Radio([("Your photo, moved", "detail"), ("The model's own drawing", "model")],
                                    value="detail", label="Pixels",
                                    info="Moving the photo's own pixels keeps its detail.")  # fmt: skip
        settings = [photo, expression, intensity, style, fidelity, face, sitting]
        with gr.Column(elem_classes="save"):
            save = download_button(editor, edited, settings)

    live = {"fn": bound(edit, editor), "inputs": settings, "outputs": [result, status, sitting],
            "show_progress": "hidden", "trigger_mode": "always_last"}  # fmt: skip
    private = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on([control.input for control in (expression, intensity, style, fidelity)], **live, api_name="edit")
    about_photo = [status, faces, face, sitting, save]
    people.click(lambda sample: sample[0], people, photo, **private)
    arrival = arrived.change(bound(read, editor), photo, about_photo, show_progress_on=result, api_name="read")
    arrival.success(**live | private)
    arrival.failure(forget, None, [result, *about_photo], **private)
    faces.select(chosen_face, None, face, **private).success(**live | private)


@tab("Transfer")
def transfer_tab(editor: ExpressionEditor) -> None:
    sitting, source_sitting = gr.State(time_to_live=HOUR_S), gr.State(time_to_live=HOUR_S)
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, arrived = photo_input("Your photo")
            source, source_arrived = photo_input("Whose expression to take")
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(START_TRANSFER)
        with gr.Column(elem_classes="controls"):
            intensity = gr.Slider(0, 1, 1, step=0.05, label="Intensity", buttons=[])
        settings = [photo, source, intensity, sitting, source_sitting]
        with gr.Column(elem_classes="save"):
            download_button(editor, transferred, settings, interactive=True)

    live = {"inputs": settings, "outputs": [result, status, sitting, source_sitting], "trigger_mode": "always_last"}
    private = {"show_progress": "hidden", "api_visibility": "private"}
    arrival = gr.on([arrived.change, source_arrived.change], bound(transfer, editor), **live, api_name="transfer")
    arrival.failure(lambda: (None, NOT_EDITED), None, [result, status], **private)
    intensity.input(bound(transfer, editor), **live, **private)


@tab("New people")
def people_tab(editor: ExpressionEditor) -> None:
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            people = gr.Gallery(label="People the model makes up", columns=4, height="auto", object_fit="contain",
                                buttons=["fullscreen"], interactive=False, elem_classes="people")  # fmt: skip
        with gr.Column(elem_classes="controls"):
            another = gr.Button("Another set", variant="primary")
            expressions = gr.CheckboxGroup(choices_of(editor.expressions[:-1]), value=["happy"], label="Expression",
                                           info="Several make a mix, none is neutral.")  # fmt: skip
            intensity = gr.Slider(0, 1, 1, step=0.05, label="Intensity", buttons=[])
            count = gr.Slider(1, 12, 8, step=1, label="People", buttons=[])
            seed = gr.Number(1, precision=0, minimum=0, label="Seed", info="The same number makes the same people.")

    another.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)", api_visibility="private")
    gr.on(None, bound(generate, editor), [seed, count, expressions, intensity], people, show_progress="hidden",
          trigger_mode="always_last", api_name="generate")  # fmt: skip


@tab("About")
def about_tab(editor: ExpressionEditor) -> None:
    gr.Markdown((HERE / "app_text" / "about.md").read_text(encoding="utf-8"), elem_classes="prose-page")


# Pieces of a tab.


def photo_input(label: str) -> tuple[gr.Image, gr.State]:
    """Where a photo is put, and the path of the last one: an Image put in another's place tells of its change twice."""
    photo = gr.Image(type="filepath", sources=["upload", "clipboard", "webcam"], placeholder=PLACEHOLDER,
                     label=label, alt_text=label, buttons=[], elem_classes="photo")  # fmt: skip
    # The file as it came: `load_photo` knows what is safe to decode, and what to say if it is not. (This would be lost
    # if an event updated the component's properties, as those of gr.Examples do.)
    photo.preprocess = lambda payload: payload and payload.path
    arrived = gr.State()
    private = {"show_progress": "hidden", "api_visibility": "private"}
    photo.change(lambda path: path, photo, arrived, concurrency_limit=1, **private)  # the 2nd sees what the 1st set
    return photo, arrived


def result_view(start: str) -> tuple[gr.ImageSlider, gr.Markdown]:
    """Before and after, of one height whether or not there is a result, and the line that tells what it shows."""
    result = gr.ImageSlider(label="Before and after", format="png", buttons=["fullscreen"], interactive=False,
                            max_height=560, elem_classes="result")  # fmt: skip
    return result, gr.Markdown(start, label="Status", elem_classes="status")


def download_button(editor: ExpressionEditor, make: Callable, inputs: list, interactive: bool = False) -> gr.Button:
    """A button that has the full-size photo made by `make`, and then handed to the browser."""
    button = gr.Button("Download in full size", interactive=interactive)
    link = gr.DownloadButton(visible="hidden", elem_id=f"link-{make.__name__}")
    made = button.click(bound(functools.partial(download, make), editor), inputs, link, api_visibility="private")
    made.success(None, js=f"() => setTimeout(() => document.querySelector('#link-{make.__name__}').click(), 100)")
    return button


def choices_of(expressions: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(word(name).capitalize(), name) for name in expressions]


def word(expression: str) -> str:
    return WORDS.get(expression, expression)


def bound(action: Callable, editor: ExpressionEditor) -> Callable:
    """The action with its editor. What goes wrong reaches the visitor as a sentence; tracebacks are for the log."""
    with_editor = functools.partial(action, editor)

    def safe(*settings):
        try:
            return with_editor(*settings)
        except (ExprGANError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            LOG.exception("an action of the app failed")
            raise gr.Error(APOLOGY, print_exception=False) from None

    safe.__wrapped__, safe.__doc__ = with_editor, action.__doc__  # gradio names the API's parameters after these
    return safe


# What the tabs do. Photos come as paths, and results go as paths of files that gradio deletes.


class Sitting:
    """A visitor's photo, read once: searched when it arrives, each face encoded when first edited."""

    def __init__(self, editor: ExpressionEditor, path: str):
        if not Path(path).exists():
            raise ExprGANError(EXPIRED)
        self.path, self.photo = path, load_photo(path)
        self.faces = editor.find(self.photo)
        choose(self.faces)  # says so if there is none
        self._subjects: dict[int, Subject] = {}
        self._before: str | None = None

    @classmethod
    def of(cls, editor: ExpressionEditor, path: str, last: "Sitting | None") -> "Sitting":
        """The last one, if it was of this photo."""
        return last if last and last.path == path else cls(editor, path)

    def subject(self, editor: ExpressionEditor, face: int = 0) -> Subject:
        if face not in self._subjects:
            self._subjects[face] = editor.read(self.photo, choose(self.faces, face))
        return self._subjects[face]

    def before(self, editor: ExpressionEditor) -> str:
        """The photo as it came, to lay beside a preview."""
        if self._before is None or not Path(self._before).exists():
            self._before = new_path(PREVIEW_SUFFIX)
            self.subject(editor).preview.photo.save(self._before, quality=95, subsampling=0)  # as save_photo does
        return self._before


def read(editor: ExpressionEditor, photo: str | None) -> tuple:
    """Finds the faces in a photo: their pictures, if there are several, and what the largest shows."""
    if photo is None:
        return START, [], 0, None, gr.Button(interactive=False)
    sitting = Sitting(editor, photo)
    pictures = [portrait(sitting.photo, face) for face in sitting.faces if len(sitting.faces) > 1]
    return sentence(sitting.subject(editor).reading), pictures, 0, sitting, gr.Button(interactive=True)


def forget() -> tuple:
    """After a photo that cannot be edited, nothing is left of the one before it."""
    return None, NOT_EDITED, [], 0, None, gr.Button(interactive=False)


def chosen_face(event: gr.SelectData) -> int:
    return event.index


def edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, style: int, fidelity: str,
         face: int, sitting: Sitting | None) -> tuple:  # fmt: skip
    """Gives a face another expression: the photo before and after, at most 1,024 px, and what the face now shows."""
    if photo is None:
        return None, START, None
    result, sitting = edited(editor, photo, expression, intensity, style, fidelity, face, sitting)
    return *views(editor, result, sitting), sitting


def transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
             sitting: Sitting | None, source_sitting: Sitting | None) -> tuple:  # fmt: skip
    """Gives a photo's largest face the expression of another's: the photo before and after, and what was read."""
    if photo is None or source is None:
        return None, START_TRANSFER, sitting, source_sitting
    result, sitting, source_sitting = transferred(editor, photo, source, intensity, sitting, source_sitting)
    pair, status = views(editor, result, sitting)
    taken = sentence(source_sitting.subject(editor).reading, "The other face")
    return pair, f"{taken} {status}", sitting, source_sitting


def generate(editor: ExpressionEditor, seed: int | None, count: int, expressions: list[str],
             intensity: float) -> list[str]:  # fmt: skip
    """New people with an expression, or with several in equal parts: pictures of the model's own size."""
    mix = {name: 1 / len(expressions) for name in expressions} or NEUTRAL
    return [kept(image, ".png") for image in editor.generate(int(count), mix, intensity, seed=seed)]


def edited(editor, photo, expression, intensity, style, fidelity, face, sitting) -> tuple[EditResult, Sitting]:
    sitting = Sitting.of(editor, photo, sitting)
    subject = sitting.subject(editor, face or 0)
    return editor.edit(subject, expression, intensity, style=style - 1 if style else None, fidelity=fidelity), sitting


def transferred(editor, photo, source, intensity, sitting, source_sitting) -> tuple[EditResult, Sitting, Sitting]:
    sitting, source_sitting = Sitting.of(editor, photo, sitting), Sitting.of(editor, source, source_sitting)
    return editor.transfer(sitting.subject(editor), source_sitting.subject(editor), intensity), sitting, source_sitting


def download(make: Callable, editor: ExpressionEditor, *settings) -> str:
    """The photo in full size, made by `edited` or `transferred`, in the format in which it came."""
    if settings[0] is None:
        raise ExprGANError(START)
    result, *_ = make(editor, *settings)
    came = Path(settings[0])
    return kept(result.image, came.suffix.lower() if came.suffix.lower() in SUFFIXES else ".png", f"{came.stem}-edited")


def views(editor: ExpressionEditor, result: EditResult, sitting: Sitting) -> tuple[tuple[str, str], str]:
    """Before and after, and what the face now shows."""
    pair = sitting.before(editor), kept(result.preview, PREVIEW_SUFFIX)
    return pair, sentence(editor.read_expression(result.face), "The face now")


def sentence(reading: Reading, face: str = "The face") -> str:
    certainty = reading.certainties[reading.expression]
    return f"{face} reads as **{word(reading.expression)}**, {certainty:.0%}."


def portrait(photo: Image.Image, face: Face) -> Image.Image:
    """A face cut out with some air around it, to choose it by."""
    x0, y0, x1, y1 = face.box
    x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, 0.7 * max(x1 - x0, y1 - y0)
    inside = max(0, x - reach), max(0, y - reach), min(photo.width, x + reach), min(photo.height, y + reach)
    return ImageOps.fit(photo.crop(tuple(map(round, inside))), (160, 160))


def kept(image: Image.Image, suffix: str, name: str = "") -> str:
    """Writes a picture, marked as edited by AI, and tells where."""
    path = new_path(suffix, name)
    save_photo(image, path)
    return path


def new_path(suffix: str, name: str = "") -> str:
    """A file in the folder that gradio empties; in a folder of its own if the visitor is to see its name."""
    folder = Path(get_upload_folder()) / (uuid.uuid4().hex if name else "exprgan")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{name or uuid.uuid4().hex}{suffix}")


if __name__ == "__main__":
    main()
