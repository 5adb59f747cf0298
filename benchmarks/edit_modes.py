"""Seconds for one edit in each fidelity mode: python -m benchmarks.edit_modes [--rounds 5] [--cpu]

Prints a table in Markdown. Reading (finding, aligning, encoding) is done once a photo and timed apart, as tuning is;
`detail / model` compares edits of a photo that was read, `with reading` the first one: photo in, photo out.
With --cpu it is the time that one core works, which hardly changes when the machine is busy with something else.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN

ROOT = Path(__file__).parents[1]
MEGAPIXELS = (0.25, 1.0, 4.0, 12.0)


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
    print("| photo | read | model | detail | detail / model | with reading | tune | tuned | slider (preview, detail) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size in MEGAPIXELS:
        factor = (size * 1e6 / (portrait.width * portrait.height)) ** 0.5
        photo = portrait.resize((round(portrait.width * factor), round(portrait.height * factor)), Image.Resampling.LANCZOS)
        read = median_of(args.rounds, lambda: editor.read(photo), clock)  # noqa: B023, called at once
        subject = editor.read(photo)
        start = clock()
        tuned = editor.tune(subject)
        tuning = clock() - start

        def edit(fidelity: str, subject=subject) -> float:
            return median_of(args.rounds, lambda: editor.edit(subject, "happy", 0.8, fidelity=fidelity).image, clock)

        model, detail, late = edit("model"), edit("detail"), edit("tuned", tuned)
        small = subject.preview
        step = median_of(args.rounds, lambda: editor.edit(small, "happy", 0.8).image, clock)  # noqa: B023
        seconds = f"{read:.2f} s | {model:.2f} s | {detail:.2f} s | {detail / model:.1f}"
        whole, late = f"{(read + detail) / (read + model):.1f}", f"{tuning:.1f} s | {late:.2f} s | {1000 * step:.0f} ms"
        print(f"| {photo.width} x {photo.height} | {seconds} | {whole} | {late} |", flush=True)


if __name__ == "__main__":
    main()
