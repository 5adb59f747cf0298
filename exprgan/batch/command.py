"""`exprgan edit FOLDER`: the command line of `edit_folder`."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import ExprGANError
from ..models.exprgan import ExprGAN
from .folder import BatchProgress, edit_folder
from .manifest import BatchRecord


def edit_photos(args: argparse.Namespace, load: Callable[[], ExprGAN]) -> None:
    """Edits a folder as the command line says.

    Args:
        args: what `exprgan edit` takes.
        load: gives the model, once it is known that it will be needed.

    Raises:
        ValueError: options that are not for folders.
        ExprGANError: as `edit_folder`, or nothing could be edited.
        SystemExit: of status 130, after Ctrl-C.
    """
    if args.out is None:
        raise ValueError(f"{args.photo} is a folder; name another one for the edited photos with --out")
    if args.face not in (None, "all", [0]):
        raise ValueError("--face of a folder's photos is 0, the largest, or all")
    if len(args.expression) > 1 or any(sign in args.expression[0] for sign in "=:"):
        raise ValueError(f"{' '.join(args.expression)} is for one photo; name one expression for a folder's")
    try:
        with _progress() as progress:
            report = edit_folder(load(), args.photo, args.out, args.expression[0], args.intensity, style=args.style,
                                 fidelity=args.fidelity, faces="all" if args.face == "all" else "largest",
                                 workers=args.jobs, progress=progress)  # fmt: skip
    except KeyboardInterrupt:
        print("stopped; the same line goes on from here", file=sys.stderr)
        sys.exit(130)
    counts = ", ".join(f"{number} {status}" for status, number in sorted(report.counts.items()))
    this_run = f"{report.new} in this run, {report.seconds:.0f} s"
    summary = f"{len(report.outcomes)} photos: {counts} ({this_run}); see {report.table}"
    if "edited" not in report.counts:
        raise ExprGANError(summary)
    print(summary)


@contextmanager
def _progress() -> Iterator[BatchProgress | None]:
    """A bar on stderr, closed before anything else is said; of a file that is no terminal, a line now and then."""
    try:
        from tqdm import tqdm
    except ImportError:  # huggingface_hub brings it, so far
        yield None
        return
    bar = None

    def tell(done: int, total: int, outcome: BatchRecord | None) -> None:
        nonlocal bar
        if bar is None:  # what earlier runs did says nothing about this one's pace: `initial`
            often = 0.1 if sys.stderr.isatty() else 30  # s
            bar = tqdm(initial=done, total=total, unit=" photos", mininterval=often, dynamic_ncols=True)
        else:
            bar.update()

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()
