"""`exprgan video` and `exprgan drive`: the command line of films."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .cli_settings import parse_request, parse_settings
from .editor import ExpressionEditor
from .models.exprgan import ExprGAN
from .video.film import FilmProgress, FilmResult, Progress, check_output
from .video.keyframes import parse_keyframe


def edit_clip(args: argparse.Namespace, load: Callable[[], ExprGAN]) -> None:
    """Runs `exprgan video`; `load` loads the model once the arguments are checked."""
    if args.expression and args.at:
        raise ValueError("name one expression, or keyframes with --at, such as --at 0=neutral --at 1.5=happy:0.8")
    keyframes = [*map(parse_keyframe, args.at or [])] or None
    expression = parse_request(args.expression) if args.expression else None
    label = args.expression.partition(":")[0] if args.expression else "edited"
    settings, label = parse_settings(args, expression or keyframes, label)
    out = args.out or args.clip.with_name(f"{args.clip.stem}-{label}.mp4")
    check_output(out, args.clip)
    with _stoppable(), _progress_bar() as progress:
        result = ExpressionEditor(load()).edit_video(args.clip, out=out, **settings, face=args.face, max_side=args.size,
                                                     progress=progress)  # fmt: skip
    _print_result(result)


def drive_photo(args: argparse.Namespace, load: Callable[[], ExprGAN]) -> None:
    """Runs `exprgan drive`; `load` loads the model once the arguments are checked."""
    out = args.out or args.photo.with_name(f"{args.photo.stem}-like-{args.clip.stem}.mp4")
    check_output(out, args.clip)
    with _stoppable(), _progress_bar() as progress:
        editor = ExpressionEditor(load())
        result = editor.drive(args.photo, args.clip, out, args.strength, face=args.face, clip_face=args.clip_face,
                              max_side=args.size, progress=progress)  # fmt: skip
    _print_result(result)


def parse_clip(text: str) -> Path:
    """Parses the name of a film, which must be a file: a film is read more than once."""
    if text == "-":
        raise argparse.ArgumentTypeError("a film cannot come from standard input; name a file")
    return Path(text)


def _print_result(result: FilmResult) -> None:
    if result.warning:
        print(result.warning, file=sys.stderr)
    left = result.frames - result.edited
    note = f", {left} without the face" if left else ""
    print(f"{result.path}: {result.frames} frames{note}, {result.seconds:.1f} s, {result.path.stat().st_size / 1e6:.1f} MB")


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; run the same command to continue", file=sys.stderr)
        sys.exit(130)


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Yields the callback of a bar on stderr, or of a line now and then where that is not a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:  # so far huggingface_hub brings it
        yield None
        return
    bars: list[tqdm] = []
    interval_s = 0.1 if sys.stderr.isatty() else 30

    def update(progress: FilmProgress) -> None:
        if not bars:
            if progress.note:
                print(progress.note, file=sys.stderr)
            bar = tqdm(
                initial=progress.frames, total=progress.total, unit=" frames", mininterval=interval_s, dynamic_ncols=True
            )
            bars.append(stack.enter_context(bar))
        bars[0].total = progress.total
        bars[0].update(progress.frames - bars[0].n)

    with ExitStack() as stack:  # closes the bar before anything else is printed
        yield update
