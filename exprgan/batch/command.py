"""`exprgan edit FOLDER`: the command line of `edit_folder`."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import ExprGANError
from ..models.exprgan import ExprGAN
from .folder import PHOTO_SUFFIXES, BatchProgress, edit_folder
from .manifest import BatchRecord
from .remote_folder import is_url


def edit_photos(args: argparse.Namespace, settings: dict[str, Any], load: Callable[[], ExprGAN]) -> None:
    """Runs `exprgan edit` for a folder.

    Args:
        args: of the command line.
        settings: expression, intensity, style and units of all photos.
        load: loads the model; called once the arguments are checked.

    Raises:
        ValueError: arguments that are not for folders.
        ExprGANError: as `edit_folder`, or nothing could be edited.
        SystemExit: with status 130, after Ctrl-C.
    """
    if is_url(args.photo) and (args.photo.startswith("http") or args.photo.lower().endswith(PHOTO_SUFFIXES)):
        raise ValueError(f"{args.photo} is no folder of photos; for one photo: curl -s {args.photo} | exprgan edit - ...")
    if args.out == "-":
        raise ValueError(f"{args.photo} is a folder; its edited photos need a folder too, not standard output")
    if args.out is None:
        raise ValueError(f"{args.photo} is a folder; name another one for the edited photos with --out")
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {args.jobs}")
    if args.face not in (None, "all"):
        raise ValueError("--face of a folder's photos is all; without it, the largest face of each is edited")
    if len(args.expression) > 1 or any(sign in word for word in args.expression for sign in "=:"):
        raise ValueError(f"{' '.join(args.expression)} is for one photo; name one expression for a folder's")
    try:
        with _progress_bar() as progress:
            report = edit_folder(load(), args.photo, args.out, **settings, fidelity=args.fidelity,
                                 faces="all" if args.face == "all" else "largest", workers=args.jobs,
                                 engine=args.engine or "processes", follow_links=args.follow_links,
                                 progress=progress)  # fmt: skip
    except KeyboardInterrupt:
        print("stopped; run the same command to continue", file=sys.stderr)
        sys.exit(130)
    counts = ", ".join(f"{number} {status}" for status, number in sorted(report.counts.items()))
    this_run = f"{report.new} in this run, {report.seconds:.0f} s"
    summary = f"{len(report.outcomes)} photos: {counts} ({this_run}); see {report.table}"
    if "edited" not in report.counts:
        raise ExprGANError(summary)
    print(summary)


@contextmanager
def _progress_bar() -> Iterator[BatchProgress | None]:
    """Yields the callback of a bar on stderr, or of a line now and then where that is not a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:  # so far huggingface_hub brings it
        yield None
        return
    bars, interval_s = [], 0.1 if sys.stderr.isatty() else 30

    def update(done: int, total: int, record: BatchRecord | None) -> None:
        if record is None:  # the start. initial: photos of earlier runs must not count in this run's speed
            bar = tqdm(initial=done, total=total, unit=" photos", mininterval=interval_s, dynamic_ncols=True)
            bars.append(stack.enter_context(bar))
        else:
            bars[0].update()

    with ExitStack() as stack:  # closes the bar before anything else is printed
        yield update
