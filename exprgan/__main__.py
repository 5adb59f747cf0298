"""The command line: `python -m exprgan edit me.jpg happy --intensity 0.8`."""

import argparse
import sys
from pathlib import Path

from .controller import check_intensity
from .editor import FIDELITIES, ExpressionEditor
from .errors import ExprGANError
from .images import save_photo
from .model import CONFIG_NAME, ExprGAN

BUNDLED = Path(__file__).parents[1] / "weights"
"""The weights that come with a checkout. What pip installs comes without."""
ON_THE_HUB = "org/exprgan"


def main(argv: list[str] | None = None) -> int:
    """The command line of the library; returns the exit status."""
    return run_verb(_parser(), argv)


def run_verb(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Parses and calls the verb's `run`; what the user can mend is one sentence on stderr and status 1."""
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ExprGANError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="exprgan", description="Edits the expression of a face in a photo.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", help="a folder, or org/name or org/name@revision on the Hub (default: the weights of "
                        f"this checkout; without one, {ON_THE_HUB})")  # fmt: skip
    look = argparse.ArgumentParser(add_help=False)
    look.add_argument("--intensity", type=float, default=1.0, help="0 (neutral) to 1 (full strength); default 1")
    style = argparse.ArgumentParser(add_help=False)
    style.add_argument("--style", type=int, help="one way alone to show the expression, counted from 0")
    paste = argparse.ArgumentParser(add_help=False)
    paste.add_argument("--face", type=int, help="which face, counted from 0, the largest first")
    paste.add_argument("--fidelity", choices=FIDELITIES, default=FIDELITIES[0], help="detail: the photo's own pixels "
                       "carry the edit (default); model: the decoder's picture")  # fmt: skip
    paste.add_argument("--out", type=Path, help="file to write (.jpg, .png or .webp)")

    edit = verbs.add_parser("edit", parents=[shared, look, style, paste], help="give a face another expression")
    edit.add_argument("photo", type=Path)
    edit.add_argument("expression", help="one of the model's expressions, as `exprgan info` lists them, or neutral")
    edit.set_defaults(run=_edit)

    transfer = verbs.add_parser("transfer", parents=[shared, look, paste], help="take the expression from a photo")
    transfer.add_argument("photo", type=Path, help="whose face is edited")
    transfer.add_argument("source", type=Path, help="whose expression is taken")
    transfer.set_defaults(run=_transfer)

    generate = verbs.add_parser("generate", parents=[shared, look, style], help="make pictures of new people")
    generate.add_argument("expression")
    generate.add_argument("--count", type=int, default=8)
    generate.add_argument("--seed", type=int, help="the same seed makes the same people")
    generate.add_argument("--out", type=Path, default=Path("people"), help="folder to write (default: people)")
    generate.set_defaults(run=_generate)

    info = verbs.add_parser("info", parents=[shared], help="say what a model is")
    info.add_argument("--check", action="store_true", help="let it do what it did when it was published, and compare")
    info.set_defaults(run=_info)
    return parser


def _edit(args: argparse.Namespace) -> None:
    check_intensity(args.intensity)  # before anything slow
    editor = _editor(args)
    result = editor.edit(args.photo, args.expression, args.intensity, style=args.style, face=args.face,
                         fidelity=args.fidelity)  # fmt: skip
    _write(result.image, args.out or _beside(args.photo, args.expression))


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
    if not args.model and (BUNDLED / CONFIG_NAME).is_file():
        args.model = str(BUNDLED)
    elif not args.model:
        args.model = ON_THE_HUB
        print(f"no weights came with this installation; taking {ON_THE_HUB} from the Hub, once (--model names others)",
              file=sys.stderr)  # fmt: skip
    return ExprGAN.from_pretrained(args.model, check=check)


def _beside(photo: Path, word: str) -> Path:
    """me.jpg, happy -> me-happy.jpg; formats that cannot be written become PNG."""
    suffix = photo.suffix if photo.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"
    return photo.with_name(f"{photo.stem}-{word}{suffix}")


def _write(image, path: Path) -> None:
    save_photo(image, path)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
