"""Seconds for one edit in each fidelity mode: python -m benchmarks.edit_modes [--rounds 5] [--cpu]

Prints a table in Markdown. Reading (finding, aligning, encoding) is done once a photo and timed apart, as tuning is.
`detail` has two columns: the first edit with an expression, at full strength, and another strength of one shown already, as
a slider asks for; `detail / model` is the latter's, and `with reading` the former's: photo in, photo out.
With --cpu it is the time that one core works, which hardly changes when the machine is busy with something else.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, Subject
from exprgan.editing.results import Fidelity

ROOT = Path(__file__).parents[1]
MEGAPIXELS = (0.25, 1.0, 4.0, 12.0)
FULL = (1.0,)
STEPS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def median_of(rounds: int, work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Median seconds of a call, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    """Times every mode on one portrait at several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "weights"))
    parser.add_argument("--photo", default=str(sorted((ROOT / "examples").glob("*.jpg"))[0]))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    if args.cpu:
        torch.set_num_threads(1)
    editor = ExpressionEditor(ExprGAN.from_pretrained(args.model))
    portrait = Image.open(args.photo).convert("RGB")
    print("| photo | read | model | detail | another strength | detail / model | with reading | tune | tuned | slider |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in MEGAPIXELS:
        factor = (size * 1e6 / (portrait.width * portrait.height)) ** 0.5
        photo = portrait.resize((round(portrait.width * factor), round(portrait.height * factor)), Image.Resampling.LANCZOS)
        subject = editor.read(photo)
        start = clock()
        tuned = editor.tune(subject)
        tuning = clock() - start

        def edit(subject: Subject, fidelity: Fidelity, strengths: Sequence[float], knows: bool = True) -> float:
            turn = itertools.cycle(strengths)

            def once() -> object:
                if not knows:
                    subject.told.clear()
                return editor.edit(subject, "happy", next(turn), fidelity=fidelity).image

            return median_of(args.rounds, once, clock)

        read = median_of(args.rounds, lambda: editor.read(photo), clock)  # noqa: B023, called at once
        model, first, late = (edit(one, fidelity, FULL, knows=False)
                              for one, fidelity in ((subject, "model"), (subject, "detail"), (tuned, "tuned")))  # fmt: skip
        other, step = (edit(one, "detail", STEPS) for one in (subject, subject.preview))
        seconds = f"{read:.2f} s | {model:.3f} s | {first:.3f} s | {other:.3f} s | {other / model:.1f}"
        whole = f"{(read + first) / (read + model):.1f} | {tuning:.1f} s | {late:.3f} s | {1000 * step:.0f} ms"
        print(f"| {photo.width} x {photo.height} | {seconds} | {whole} |", flush=True)


if __name__ == "__main__":
    main()
