"""Seconds for one edit in each fidelity mode, photo in and photo out: python -m benchmarks.edit_modes [--rounds 5]

Prints a table in Markdown. Reading (finding, aligning, encoding) is done once a photo and timed apart; so is tuning.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from exprgan import ExpressionEditor, ExprGAN

ROOT = Path(__file__).parents[1]
MEGAPIXELS = (0.25, 1.0, 4.0, 12.0)


def median_of(rounds: int, work: Callable[[], object]) -> float:
    """Median seconds of a call, after one that does not count."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Times every mode on one portrait at several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "weights"))
    parser.add_argument("--photo", default=str(sorted((ROOT / "examples").glob("*.jpg"))[0]))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    editor = ExpressionEditor(ExprGAN.from_pretrained(args.model))
    portrait = Image.open(args.photo).convert("RGB")
    print("| photo | read | tune | model | detail | detail / model | tuned | a step of the slider (preview, detail) |")
    print("|---|---|---|---|---|---|---|---|")
    for size in MEGAPIXELS:
        factor = (size * 1e6 / (portrait.width * portrait.height)) ** 0.5
        photo = portrait.resize((round(portrait.width * factor), round(portrait.height * factor)), Image.Resampling.LANCZOS)
        face = editor.find(photo)[0]
        read = median_of(args.rounds, lambda: editor.read(photo, face))  # noqa: B023, called at once
        subject = editor.read(photo, face)
        start = time.perf_counter()
        tuned = editor.tune(subject)
        tuning = time.perf_counter() - start

        def edit(fidelity: str, subject=subject) -> float:
            return median_of(args.rounds, lambda: editor.edit(subject, "happy", 0.8, fidelity=fidelity).image)

        model, detail, late = edit("model"), edit("detail"), edit("tuned", tuned)
        small = subject.preview
        step = median_of(args.rounds, lambda: editor.edit(small, "happy", 0.8).image)  # noqa: B023
        print(f"| {photo.width} x {photo.height} | {read:.2f} s | {tuning:.1f} s | {model:.2f} s | {detail:.2f} s | "
              f"{detail / model:.1f} | {late:.2f} s | {1000 * step:.0f} ms |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
