"""The command line: `python -m exprgan edit me.jpg happy --intensity 0.8`."""

import argparse
import sys
import warnings
from pathlib import Path

from .atomic_write import atomic_write
from .batch.command import edit_photos
from .editing.animation import KINDS
from .editing.multi_face import EditRequest, EditRequests, draw_numbers
from .editor import FIDELITIES, ExpressionEditor
from .errors import ExprGANError
from .models.controller import check_intensity
from .models.exprgan import ExprGAN
from .models.hub_source import HUB_MODEL, default_model
from .models.onnx_export import export_onnx
from .photo.detection import choose_face, find_faces
from .photo.image_io import SUFFIXES, encode_image, load_photo, save_photo
from .photo.video_writer import check_suffix


def main(argv: list[str] | None = None) -> int:
    """The command line of the library; returns the exit status."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged EXIF; what matters is said in a sentence
        return run_verb(_parser(), argv)


def run_verb(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Parses and calls the verb's `run`; what the user can mend is one sentence on stderr and status 1."""
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ExprGANError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full just here
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}; make room, or choose another folder", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="exprgan", description="Edits the expression of a face in a photo.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", help="a folder, or org/name or org/name@revision on the Hub (default: the weights of "
                        f"this checkout; without one, {HUB_MODEL})")  # fmt: skip
    look = argparse.ArgumentParser(add_help=False)
    look.add_argument("--intensity", type=float, default=1.0, help="0 (neutral) to 1 (full strength); default 1")
    style = argparse.ArgumentParser(add_help=False)
    style.add_argument("--style", type=int, help="one way alone to show the expression, counted from 0")
    paste = argparse.ArgumentParser(add_help=False)
    paste.add_argument("--fidelity", choices=FIDELITIES, default=FIDELITIES[0], help="detail: the photo's own pixels "
                       "carry the edit (default); model: the decoder's picture")  # fmt: skip
    several = argparse.ArgumentParser(add_help=False)
    several.add_argument("--face", type=_faces, help="which face, counted from 0, the largest first (default); several: "
                         "0,2; or all")  # fmt: skip
    picture = "file to write (.jpg, .png or .webp)"
    words = ("one of the model's expressions, as `exprgan info` lists them, or neutral; or one for each of some faces: "
             "0=happy 2=sad:0.6")  # fmt: skip

    find = verbs.add_parser("find", help="number the faces in a photo")
    find.add_argument("photo", type=Path)
    find.add_argument("--out", type=Path, help=picture)
    find.set_defaults(run=_find)

    edit = verbs.add_parser("edit", parents=[shared, look, style, several, paste], help="give faces another expression")
    edit.add_argument("photo", type=Path, help="a photo; or a folder of them, of which --out gets edited copies")
    edit.add_argument("expression", nargs="+", help=words)
    edit.add_argument("--out", type=Path, help=f"{picture}; or a folder")
    edit.add_argument("--jobs", type=int, help="of a folder: how many photos at once (default: one per core)")
    edit.set_defaults(run=_edit)

    animate = verbs.add_parser("animate", parents=[shared, look, style, several, paste],
                               help="let an expression come and go")  # fmt: skip
    animate.add_argument("photo", type=Path)
    animate.add_argument("expression", nargs="*", default=["happy"], help=f"{words} (default: happy)")
    animate.add_argument("--kind", choices=KINDS, default=KINDS[0], help="sweep: from neutral and back (default); tour: "
                         "all expressions in turn; morph: from --start and back")  # fmt: skip
    animate.add_argument("--start", help="where a morph sets out, sad or sad:0.5 (default: the face as it is)")
    animate.add_argument("--seconds", type=float, default=2.0, help="that an expression takes to come and go; default 2")
    animate.add_argument("--fps", type=float, default=25, help="frames a second, 1 to 50; default 25")
    animate.add_argument("--size", type=int, help="longest side in px (default: the photo's; .gif 640, .webp 1024)")
    animate.add_argument("--out", type=Path, help="file to write (.mp4, .gif or .webp)")
    animate.set_defaults(run=_animate)

    transfer = verbs.add_parser("transfer", parents=[shared, look, paste], help="take the expression from a photo")
    transfer.add_argument("photo", type=Path, help="whose face is edited")
    transfer.add_argument("source", type=Path, help="whose expression is taken")
    transfer.add_argument("--face", type=int, help="which face, counted from 0, the largest first")
    transfer.add_argument("--out", type=Path, help=picture)
    transfer.set_defaults(run=_transfer)

    generate = verbs.add_parser("generate", parents=[shared, look, style], help="make pictures of new people")
    generate.add_argument("expression")
    generate.add_argument("--count", type=int, default=8)
    generate.add_argument("--seed", type=int, help="the same seed makes the same people")
    generate.add_argument("--out", type=Path, default=Path("people"), help="folder to write (default: people)")
    generate.set_defaults(run=_generate)

    export = verbs.add_parser("export", parents=[shared], help="write encoder and decoder as ONNX files")
    export.add_argument("out", type=Path, help="folder to write")
    export.set_defaults(run=_export)

    app = verbs.add_parser("app", parents=[shared], help="serve the page, on http://127.0.0.1:7860")
    app.set_defaults(run=_app)

    info = verbs.add_parser("info", parents=[shared], help="say what a model is")
    info.add_argument("--check", action="store_true", help="let it do what it did when it was published, and compare")
    info.set_defaults(run=_info)
    return parser


def _find(args: argparse.Namespace) -> None:
    photo = load_photo(args.photo)
    faces = find_faces(photo)
    choose_face(faces)  # says so if there is none
    for i, face in enumerate(faces):
        print(f"{i}: {face.width:.0f} px wide at ({face.box[0]:.0f}, {face.box[1]:.0f})")
    out = args.out or _beside(args.photo, "faces")
    if not (kind := SUFFIXES.get(out.suffix.lower())):
        raise ValueError(f"cannot write {out.name!r}: choose a name that ends in {', '.join(SUFFIXES)}")
    with atomic_write(out) as part:
        part.write_bytes(encode_image(draw_numbers(photo, faces), kind))
    print(out)


def _edit(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)  # before anything slow
    if args.photo.is_dir():
        return edit_photos(args, lambda: _model(args))
    if args.jobs is not None:
        raise ValueError(f"--jobs is for folders, and {args.photo} is none")
    wishes, word = _wishes(args.expression, args.face)
    editor = _editor(args)
    chosen = wishes if isinstance(wishes, dict) else None if args.face == "all" else args.face or [0]
    result = editor.edit_many(editor.read_all(args.photo, chosen), wishes, args.intensity, style=args.style,
                              fidelity=args.fidelity)  # fmt: skip
    _write(result.image, args.out or _beside(args.photo, word))


def _animate(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)
    wishes, word = _wishes(args.expression, args.face)
    out = args.out or args.photo.with_name(f"{args.photo.stem}-{'tour' if args.kind == 'tour' else word}.mp4")
    check_suffix(out)
    animation = _editor(args).animate(args.photo, args.kind, wishes, args.intensity, face=args.face, style=args.style,
                                      start=args.start and _wish(args.start), seconds=args.seconds, fps=args.fps,
                                      fidelity=args.fidelity)  # fmt: skip
    animation.save(out, max_side=args.size, progress=_tell if sys.stderr.isatty() else None)
    print(f"{out}: {animation.seconds:g} s, {out.stat().st_size / 1e6:.1f} MB")


def _tell(done: int, of: int) -> None:
    print(f"\rframe {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _faces(text: str) -> list[int] | str:
    """What --face names: one or several, or "all"."""
    try:
        return "all" if text == "all" else [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no face; use a number from 0, several as 0,2, or all") from None


def _wishes(words: list[str], face: list[int] | str | None) -> tuple[EditRequests, str]:
    """What is typed of expressions, and a word for a file's name: happy, or 0=happy 2=sad:0.6."""
    if not any("=" in word for word in words):
        if len(words) > 1:
            example = " ".join(f"{i}={word}" for i, word in enumerate(words))
            raise ValueError(f"say which face shows which of {', '.join(words)}, for instance: {example}")
        wish = _wish(words[0])
        return wish, wish if isinstance(wish, str) else wish[0]
    if face is not None:
        raise ValueError(f"{' '.join(words)} names the faces already; leave --face out")
    pairs = [word.partition("=") for word in words]
    for place, _, what in pairs:
        if not place.isdecimal() or not what:
            raise ValueError(f"{place + '=' + what!r} must be a face and its expression, such as 0=happy or 2=sad:0.6")
    wishes = {int(place): _wish(what) for place, _, what in pairs}
    return wishes, "-".join(dict.fromkeys(what.partition(":")[0] for _, _, what in pairs))


def _wish(text: str) -> EditRequest:
    """happy, or sad:0.6."""
    name, colon, strength = text.partition(":")
    try:
        return (name, float(strength)) if colon else name
    except ValueError:
        raise ValueError(f"{text!r} must be an expression and its intensity from 0 to 1, such as sad:0.6") from None


def _transfer(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)
    editor = _editor(args)
    source = editor.read(args.source)
    certainty = source.reading.certainties[source.reading.expression]
    print(f"{args.source} reads as {source.reading.expression} ({certainty:.0%} certain)")
    result = editor.transfer(args.photo, source, args.intensity, face=args.face, fidelity=args.fidelity)
    _write(result.image, args.out or _beside(args.photo, f"like-{args.source.stem}"))


def _generate(args: argparse.Namespace) -> None:
    people = _editor(args).generate(args.count, args.expression, args.intensity, style=args.style, seed=args.seed)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExprGANError(f"{args.out} cannot be made ({error.strerror}); choose another --out") from error
    for i, person in enumerate(people):
        save_photo(person, args.out / f"{args.expression}-{i:03d}.png")
    print(f"{len(people)} pictures in {args.out}")


def _export(args: argparse.Namespace) -> None:
    for file in export_onnx(_model(args), args.out).values():
        print(file)


def _app(args: argparse.Namespace) -> None:
    try:
        from .ui.page import main as serve_page
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "starlette"):
            raise
        raise ExprGANError('The app needs gradio, not installed here: pip install "exprgan[app]".') from error
    serve_page(args.model or "")


def _info(args: argparse.Namespace) -> None:
    model = _model(args, check=args.check)
    config = model.config
    print(f"{args.model}: ExprGAN, {config.image_size} px, {len(config.expressions)} expressions x "
          f"{config.code_dim_each} numbers, z {config.z_dim}")  # fmt: skip
    print(f"expressions: {', '.join(config.expressions)}, neutral")
    for name, part in model.named_children():
        print(f"{name:<10} {sum(p.numel() for p in part.parameters()) / 1e6:6.2f} M parameters")
    if args.check:
        print("it does here what it did when it was published")


def _editor(args: argparse.Namespace) -> ExpressionEditor:
    return ExpressionEditor(_model(args))


def _model(args: argparse.Namespace, check: bool = False) -> ExprGAN:
    """What --model names; unless it names one, the bundled weights, or the Hub's where there are none."""
    args.model = args.model or default_model()
    if args.model == HUB_MODEL:
        print(f"no weights came with this installation; taking {HUB_MODEL} from the Hub, once (--model names others)",
              file=sys.stderr)  # fmt: skip
    return ExprGAN.from_pretrained(args.model, check=check)


def _beside(photo: Path, word: str) -> Path:
    """me.jpg, happy -> me-happy.jpg; formats that cannot be written become PNG."""
    suffix = photo.suffix if photo.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"
    return photo.with_name(f"{photo.stem}-{word}{suffix}")


def _write(image, path: Path) -> None:
    save_photo(image, path)
    print(path)
