"""The command line: `exprgan edit me.jpg happy --intensity 0.8`."""

import argparse
import errno
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, get_args

from .atomic_write import atomic_write
from .batch.command import edit_photos
from .batch.remote_folder import is_url
from .cli_settings import (
    is_pipe,
    names_faces,
    parse_faces,
    parse_one_face,
    parse_request,
    parse_requests,
    parse_settings,
    read_pipe,
)
from .editing.animation import ANIMATION_KINDS
from .editing.dials import DIALS, dials_of, split_side
from .editing.look import Look, bundled_looks
from .editing.multi_face import draw_numbers
from .editing.target import TRANSFER_BY
from .editor import FIDELITIES, ExpressionEditor
from .errors import ExprGANError
from .export.onnx_files import export_onnx
from .film_command import drive_photo, edit_clip, parse_clip
from .models.controller import check_intensity
from .models.exprgan import ExprGAN
from .models.hub_source import HUB_MODEL, default_model
from .photo.detection import choose_face, find_faces
from .photo.image_io import SUFFIXES, encode_image, load_photo, save_photo
from .photo.video_writer import check_suffix
from .process_pool import Engine

_FULL, _UNWRITABLE = "; make room, or choose another folder", "; choose another folder"
REMEDIES = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _UNWRITABLE, errno.EACCES: _UNWRITABLE,
            errno.EPERM: _UNWRITABLE}  # fmt: skip
"""What to do about an error of the system, by its number."""
STREAM = "-"
"""In place of a file's name: standard input or output. ./- is the file of that name."""


def main(argv: list[str] | None = None) -> int:
    """Runs a command of the library and returns the exit status."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged EXIF; what matters is raised as an error
        return run_verb(_parser(), argv)


def run_verb(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Parses and calls the command's `run`; an error that the user can correct is one sentence on stderr and status 1."""
    for stream in (sys.stdout, sys.stderr):
        _escape_unprintable(stream)
    args = parser.parse_args(argv)
    try:
        args.run(args)
        if sys.stdout:  # None without a console
            sys.stdout.flush()  # a full disk or a closed pipe must show here
        return 0
    except BrokenPipeError:  # whoever reads standard output has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return 1
    except (ExprGANError, ValueError) as error:
        message = str(error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"{error.strerror or error}{where}{REMEDIES.get(error.errno or 0, '')}"
    print(f"error: {message}", file=sys.stderr)
    return 1


def _escape_unprintable(stream: IO[str] | None) -> None:
    """Makes a stream escape what its encoding lacks, such as characters of a file's name, instead of failing."""
    if isinstance(stream, io.TextIOWrapper) and (stream.encoding, stream.errors) != ("utf-8", "surrogateescape"):
        stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="exprgan", description="Edits the expression of a face in a photo.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    # Options that several commands have
    model, intensity, style, faces, fidelity, units = (argparse.ArgumentParser(add_help=False) for _ in range(6))
    model.add_argument("--model", help="a folder, or org/name or org/name@revision on the Hub (default: the bundled "
                       f"weights, or {HUB_MODEL} if there are none)")  # fmt: skip
    intensity.add_argument("--intensity", type=float, default=1.0, help="0 (neutral) to 1 (full strength); default 1")
    style.add_argument("--style", type=int, help="use one style only, counted from 0")
    faces.add_argument("--face", type=parse_faces, help="which face, counted from 1, from left to right (default: "
                       "the largest); several: 1,3; or all")  # fmt: skip
    fidelity.add_argument("--fidelity", choices=FIDELITIES, default=FIDELITIES[0], help="detail: move the photo's own "
                          "pixels (default); tuned: likewise, after fitting the model to the face, which takes some "
                          "seconds; model: paste the picture that the model generates")  # fmt: skip
    units.add_argument("--unit", action="append", default=[], metavar="NAME=VALUE", help="move a part of the face, on "
                       "top of the expression or, without one, of the face as it is: smile=0.4, brows_outer_left=1 (-1 to "
                       f"1, the person's own sides); repeat it for several. Names: {', '.join(DIALS)}")  # fmt: skip
    units.add_argument("--look", help="in place of an expression: a .json file, or one of those that `exprgan looks` "
                       "lists; --intensity and --unit apply on top")  # fmt: skip
    photo, which_face = (
        "a photo, or - for standard input",
        "which face, counted from 1, from left to right (default: the largest)",
    )
    picture = "file to write (.jpg, .png or .webp), or - for standard output"
    expressions = ("one of the model's expressions, as `exprgan info` lists them, or neutral; or one for each of some "
                   "faces: 1=happy 3=sad:0.6")  # fmt: skip

    def add_verb(name: str, run: Callable, summary: str, *parents: argparse.ArgumentParser) -> Callable:
        verb = verbs.add_parser(name, parents=parents, help=summary)
        verb.set_defaults(run=run)
        return verb.add_argument

    add = add_verb("find", _find, "number the faces in a photo")
    add("photo", type=_parse_path, help=photo)
    add("--out", type=_parse_path, help=picture)

    add = add_verb("edit", _edit, "give faces another expression", model, intensity, style, faces, fidelity, units)
    add("photo", type=_parse_path_or_url, help="a photo, a folder of photos or its URL (s3://...), or - for standard input")
    add("expression", nargs="*", help=f"{expressions}; none with --unit or --look alone")
    add("--out", type=_parse_path_or_url, help=f"{picture}; for a folder, the folder of the edited photos")
    add("--jobs", type=int, help="for a folder: number of worker processes (default: one per core, at most one per "
        "2 GiB of memory)")  # fmt: skip
    add("--engine", choices=get_args(Engine), help="for a folder: processes of this machine, or ray for a cluster "
        "(docs/scale.md); default processes")  # fmt: skip
    add("--follow-links", action="store_true", help="for a folder: read and write also where links lead out of the folders")

    add = add_verb("animate", _animate, "animate an expression", model, intensity, style, faces, fidelity, units)
    add("photo", type=_parse_path, help=photo)
    add("expression", nargs="*", help=f"{expressions} (default: happy, without --unit and --look)")
    add("--kind", choices=ANIMATION_KINDS, default=ANIMATION_KINDS[0], help="sweep: from neutral to the expression and "
        "back (default); tour: all expressions in turn; morph: from --start to the expression and back")  # fmt: skip
    add("--start", help="expression at the start of a morph, such as sad or sad:0.5 (default: the photo's)")
    add("--seconds", type=float, default=2.0, help="duration of one expression, rise and fall; default 2")
    add("--fps", type=float, default=25, help="frames a second, 1 to 50; default 25")
    add("--size", type=int, help="longest side in px (default: the photo's; .gif 640, .webp 1024)")
    add("--out", type=_parse_path, help="file to write (.mp4, .gif or .webp), or - for an MP4 on standard output")

    add = add_verb("video", lambda args: edit_clip(args, lambda: _load_model(args)),
                   "give a person in a film another expression", model, intensity, style, units)  # fmt: skip
    add("clip", type=parse_clip, help="a film; a run that was stopped is continued by the same command")
    add("expression", nargs="?", help="one of the model's expressions, or neutral, for the whole film")
    add("--at", action="append", metavar="SECONDS=EXPRESSION", help="a keyframe instead, such as 1.5=happy:0.8; between "
        "several the expression changes evenly")  # fmt: skip
    add("--face", type=parse_one_face, help=f"{which_face}, in the first frame that shows so many")
    add("--size", type=int, help="longest side in px, for larger films (default: the film's)")
    add("--out", type=Path, help="file to write (.mp4)")

    add = add_verb("drive", lambda args: drive_photo(args, lambda: _load_model(args)),
                   "give a photo the expressions of a person in a film", model)  # fmt: skip
    add("photo", type=parse_clip, help="the photo whose face moves")
    add("clip", type=parse_clip, help="the film whose expressions are taken")
    add("--strength", type=float, default=1.0, help="0 (the photo as it is) to 1 (as strong as in the film); default 1")
    add("--face", type=parse_one_face, help=f"{which_face} of the photo")
    add("--clip-face", type=parse_one_face, help=f"{which_face}, in the first frame of the film that shows so many")
    add("--size", type=int, help="longest side in px (default: the photo's, at most 1280)")
    add("--out", type=Path, help="file to write (.mp4)")

    add = add_verb("transfer", _transfer, "give a face the expression of another photo", model, intensity, fidelity)
    add("photo", type=_parse_path, help="photo whose face is edited, or - for standard input")
    add("source", type=_parse_path, help="photo whose expression is taken, or - for standard input")
    add("--face", type=parse_one_face, help="which face, counted from 1, from left to right (default: the largest)")
    add("--source-face", type=parse_one_face, help="whose expression, counted likewise in the other photo")
    add("--by", choices=TRANSFER_BY, help="units: what each part of the face does, on each side (default, if the model "
        "takes units); code: the expression's code, as in the paper")  # fmt: skip
    add("--relative", action="store_true", help="add the units to those of the face, instead of replacing them")
    add("--out", type=_parse_path, help=picture)

    add = add_verb("generate", _generate, "make pictures of new people", model, intensity, style, fidelity)
    add("expression", help="one of the model's expressions, or neutral")
    add("--count", type=int, default=8, help="number of people; default 8")
    add("--seed", type=int, help="the same seed makes the same people")
    add("--out", type=Path, default=Path("people"), help="folder to write (default: people)")

    add = add_verb("export", _export, "write the networks as ONNX files, which need no torch", model)
    add("out", type=Path, help="folder to write")
    add("--fp16", action="store_true", help="store weights in fp16 where that is exact: smaller files, the same results")
    add_verb("looks", _looks, "list the looks that come with exprgan")
    add_verb("app", _app, "serve the page, on http://127.0.0.1:7860", model)
    add = add_verb("info", _info, "describe a model", model)
    add("--check", action="store_true", help="compare its outputs with those published with the weights")
    return parser


def _find(args: argparse.Namespace) -> None:
    out, source = _output_path(args, "faces"), read_pipe(args.photo)
    photo = load_photo(source)
    faces = find_faces(photo)
    choose_face(faces)  # raises NoFaceError if there is none
    for i, face in enumerate(faces, 1):
        place = f"{i}: {face.width:.0f} px wide at ({face.box[0]:.0f}, {face.box[1]:.0f})"
        _print_note(args, f"{place} {face.warning}".rstrip())

    def write(path: Path) -> None:
        if not (file_format := SUFFIXES.get(path.suffix.lower())):
            raise ValueError(f"cannot write {path.name!r}: choose a name that ends in {', '.join(SUFFIXES)}")
        with atomic_write(path) as part:
            part.write_bytes(encode_image(draw_numbers(photo, faces), file_format))

    _write(out, _written_suffix(source), write)


def _edit(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)  # before anything slow
    if is_url(args.photo) or (args.photo != STREAM and os.path.isdir(args.photo)):
        settings, _ = parse_settings(args, " ".join(args.expression) or None)
        return edit_photos(args, settings, lambda: _load_model(args))
    if args.jobs is not None or args.follow_links or args.engine:
        flag = "--follow-links" if args.follow_links else "--engine" if args.engine else "--jobs"
        raise ValueError(f"{flag} is for folders, and {args.photo} is none")
    if args.out is not None and is_url(args.out):
        raise ValueError(f"{args.out} can be the folder of a folder's edited photos, and {args.photo} is one photo")
    requests, label = parse_requests(args.expression, args.face)
    settings, label = parse_settings(args, requests, label)
    requests = settings.pop("expression")
    out, source = _output_path(args, label), read_pipe(args.photo)
    editor = ExpressionEditor(_load_model(args))
    faces = requests if names_faces(requests) else args.face
    subjects = editor.read_all(source, None if faces == "all" else faces) if faces else {0: editor.read(source)}
    result = editor.edit_many(subjects, requests, **settings, fidelity=args.fidelity)
    for index, edit in result.edits.items():
        if edit.warning:
            print(f"face {index + 1}: {edit.warning}" if faces else edit.warning, file=sys.stderr)
    _write(out, _written_suffix(source), lambda path: save_photo(result.image, path))


def _animate(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)
    words = args.expression or ([] if args.unit or args.look else ["happy"])
    requests, label = parse_requests(words, args.face)
    settings, label = parse_settings(args, requests, label)
    out = _output_path(args, "tour" if args.kind == "tour" else label, ".mp4")
    if isinstance(out, Path):
        check_suffix(out)
    source = read_pipe(args.photo)
    start = args.start and parse_request(args.start)
    editor = ExpressionEditor(_load_model(args))
    animation = editor.animate(source, args.kind, settings.pop("expression"), **settings, face=args.face, start=start,
                               seconds=args.seconds, fps=args.fps, fidelity=args.fidelity)  # fmt: skip

    def print_progress(done: int, total: int) -> None:
        print(f"\rframe {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    def write(path: Path) -> str:
        animation.save(path, max_side=args.size, progress=print_progress if sys.stderr.isatty() else None)
        return f": {animation.seconds:g} s, {path.stat().st_size / 1e6:.1f} MB"

    _write(out, ".mp4", write)


def _transfer(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)
    if args.photo == args.source == STREAM:
        raise ValueError("only one of the two photos can come from standard input; name the other")
    out = _output_path(args, f"like-{'stdin' if args.source == STREAM else args.source.stem}")
    photo, friend = read_pipe(args.photo), read_pipe(args.source)
    editor = ExpressionEditor(_load_model(args))
    source = editor.read(friend, args.source_face)
    expression = source.reading.expression
    certainty = f"{source.reading.certainties[expression]:.0%} certain"
    found = (
        f"reads as {expression} ({certainty})"
        if source.reading.is_sure
        else f"reads as none clearly; {expression}, {certainty}"
    )
    _print_note(args, f"{args.source} {found}")
    result = editor.transfer(photo, source, args.intensity, by=args.by, relative=args.relative, face=args.face,
                             fidelity=args.fidelity)  # fmt: skip
    if result.warning:
        print(result.warning, file=sys.stderr)
    _write(out, _written_suffix(photo), lambda path: save_photo(result.image, path))


def _generate(args: argparse.Namespace) -> None:
    settings = {"style": args.style, "seed": args.seed, "fidelity": args.fidelity}
    people = ExpressionEditor(_load_model(args)).generate(args.count, args.expression, args.intensity, **settings)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExprGANError(f"{args.out} cannot be made ({error.strerror}); choose another --out") from error
    for i, person in enumerate(people):
        save_photo(person, args.out / f"{args.expression}-{i:03d}.png")
    print(f"{len(people)} pictures in {args.out}")


def _looks(args: argparse.Namespace) -> None:
    for name in bundled_looks():
        look = Look.load(name)
        parts = {look.expression: look.intensity} if isinstance(look.expression, str) else look.expression or {}
        needs_eyes = any(DIALS[split_side(unit)[0]].needs_eyes for unit in look.units)
        settings = ", ".join(f"{part} {value:g}" for part, value in [*parts.items(), *look.units.items()])
        print(f"{name:<10} {settings}{' (for a model whose T has eyes)' * needs_eyes}")


def _export(args: argparse.Namespace) -> None:
    for path in export_onnx(_load_model(args), args.out, half=args.fp16).values():
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _app(args: argparse.Namespace) -> None:
    try:
        from .ui.page import main as serve_page
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "starlette"):
            raise
        raise ExprGANError("The app needs gradio, not installed here: pip install gradio limits.") from error
    serve_page(args.model or "")


def _info(args: argparse.Namespace) -> None:
    model = _load_model(args, check=args.check)
    config = model.config
    print(f"{args.model}: ExprGAN, {config.image_size} px, {len(config.expressions)} expressions x "
          f"{config.code_dim_each} numbers, z {config.z_dim}")  # fmt: skip
    print(f"expressions: {', '.join(config.expressions)}, neutral")
    dials = dials_of(config.warp_units, config.warp_eyes)
    print(f"units: {', '.join(dials) or 'none: this model takes no --unit and no --look with units'}")
    for name, part in model.named_children():
        if count := sum(p.numel() for p in part.parameters()):
            print(f"{name:<10} {count / 1e6:6.2f} M parameters")
    if args.check:
        print("its outputs agree with those published with the weights")


def _load_model(args: argparse.Namespace, check: bool = False) -> ExprGAN:
    """Loads the model that --model names: by default the bundled weights or, without those, the Hub's."""
    args.model = args.model or default_model()
    if args.model == HUB_MODEL:
        note = f"no weights came with this installation; taking {HUB_MODEL} from the Hub, once (--model names others)"
        print(note, file=sys.stderr)
    return ExprGAN.from_pretrained(args.model, check=check)


def _parse_path(text: str) -> Path | str:
    return STREAM if text == STREAM else Path(text)


def _parse_path_or_url(text: str) -> Path | str:
    return text if is_url(text) else _parse_path(text)


def _output_path(args: argparse.Namespace, label: str, suffix: str | None = None) -> Path | str:
    """--out, or by default a name beside the photo: me-happy.jpg for me.jpg; PNG for formats that cannot be written."""
    if args.out == STREAM and (sys.stdout is None or sys.stdout.isatty()):
        raise ValueError("standard output is a terminal, or closed; send it to a file or pipe, or name a file with --out")
    if args.out is None and is_pipe(args.photo):
        raise ValueError(f"{args.photo} gives the result no name; add --out FILE, or --out - for standard output")
    out = args.out or args.photo.with_name(f"{args.photo.stem}-{label}{suffix or _written_suffix(args.photo)}")
    paths = [path for path in (out, args.photo) if isinstance(path, Path) and path.exists()]
    if len(paths) == 2 and paths[0].samefile(paths[1]):
        raise ValueError(f"{out} is the photo itself; choose another name for the result")
    return out


def _written_suffix(photo: Path | bytes) -> str:
    """The suffix of the format in which an edit of a photo is written by default: its own, if it can be written."""
    if isinstance(photo, bytes):
        return {b"\xff\xd8": ".jpg", b"RI": ".webp"}.get(photo[:2], ".png")
    return photo.suffix if photo.suffix.lower() in SUFFIXES else ".png"


def _print_note(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.out == STREAM else sys.stdout)


def _write(out: Path | str, suffix: str, write: Callable[[Path], str | None]) -> None:
    """Writes `out` and prints its name and what `write` returns; if it is -, copies a temporary file to stdout."""
    if isinstance(out, Path):
        note = write(out)
        print(f"{out}{note or ''}")
        return
    with tempfile.TemporaryDirectory(prefix="exprgan-") as folder:
        file = Path(folder, f"result{suffix}")
        write(file)
        sys.stdout.buffer.write(file.read_bytes())
