"""Times one edit in each fidelity mode: python -m benchmarks.edit_modes [--rounds 5] [--cpu]

Prints a table in Markdown. Reading (detection, alignment, encoding) and tuning are done once a photo and timed separately.
`detail` is the first edit with an expression, at full strength, `another strength` a later one with the same expression,
as a slider requests it. `detail / model` compares the latter, and `with reading` the former including `read`.
With --cpu it is the CPU time of one thread, which hardly depends on other load on the machine.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, Subject
from exprgan.editing.results import Fidelity

ROOT = Path(__file__).parents[1]
MEGAPIXELS = (0.25, 1.0, 4.0, 12.0)
SLIDER_STRENGTHS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def time_median(rounds: int, function: Callable[[], object], clock: Callable[[], float]) -> float:
    """Median seconds of a call, after one for warm-up."""
    function()
    times = []
    for _ in range(rounds):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    """Times every mode on one portrait at several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "weights"))
    parser.add_argument("--photo", default=str(sorted((ROOT / "exprgan/ui/examples").glob("*.jpg"))[0]))
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

        def time_first_edit(subject: Subject, fidelity: Fidelity) -> float:
            def edit() -> object:
                subject.warp_cache.clear()
                return editor.edit(subject, "happy", fidelity=fidelity).image

            return time_median(args.rounds, edit, clock)

        def time_slider(subject: Subject) -> float:
            strengths = itertools.cycle(SLIDER_STRENGTHS)
            return time_median(args.rounds, lambda: editor.edit(subject, "happy", next(strengths)).image, clock)

        read = time_median(args.rounds, lambda: editor.read(photo), clock)  # noqa: B023, called at once
        model, detail = time_first_edit(subject, "model"), time_first_edit(subject, "detail")
        edit_tuned, other = time_first_edit(tuned, "tuned"), time_slider(subject)
        preview = time_slider(subject.preview)
        print(f"| {photo.width} x {photo.height} | {read:.2f} s | {model:.3f} s | {detail:.3f} s | {other:.3f} s | "
              f"{other / model:.1f} | {(read + detail) / (read + model):.1f} | {tuning:.1f} s | {edit_tuned:.3f} s | "
              f"{1000 * preview:.0f} ms |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
