"""Times one edit in each fidelity mode: python -m benchmarks.edit_modes [--rounds 5] [--cpu]

Prints tables in Markdown. Reading (detection, alignment, the expression) and tuning are done once a photo and timed
separately. `detail` is the first edit with an expression, at full strength, `another strength` a later one with the same
expression, as a slider requests it. `detail / model` compares the latter, and `with reading` the former including `read`.
The second table compares with what no editor can avoid: `codec` decodes and encodes the photo's JPEG, `file to file` also
reads and edits it, and `page` is a slider step on the preview with the JPEG that the browser gets, beside that JPEG alone.
With --cpu it is the CPU time of one thread, which hardly depends on other load on the machine. --command instead times
`python -m exprgan edit` and `import torch`, each in a new process.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, Subject
from exprgan.editing.results import Fidelity
from exprgan.photo.image_io import encode_image, load_photo, save_photo

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
    parser.add_argument("--command", action="store_true")
    args = parser.parse_args()
    if args.command:
        return time_command(args)
    clock = time.process_time if args.cpu else time.perf_counter
    if args.cpu:
        torch.set_num_threads(1)
    editor = ExpressionEditor(ExprGAN.from_pretrained(args.model))
    portrait, files = Image.open(args.photo).convert("RGB"), []
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
        codec, whole, shown = time_files(editor, photo, args.rounds, clock)
        row = f"| {photo.width} x {photo.height} | {codec:.3f} s | {whole:.3f} s | {whole / codec:.1f} | "
        files.append(f"{row}{(codec + other) / codec:.2f} | {1000 * shown:.0f} ms | {(preview + shown) / shown:.1f} |")
    print("\n| photo | codec | file to file | / codec | another strength + codec, / codec | preview's JPEG | page / JPEG |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(files))


def time_files(editor: ExpressionEditor, photo: Image.Image, rounds: int, clock: Callable[[], float]) -> tuple[float, ...]:
    """Seconds to decode and encode a photo's JPEG, to edit it from file to file, and to encode its preview for the page."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "photo.jpg"), Path(folder, "edited.jpg")
        save_photo(photo, source)
        codec = time_median(rounds, lambda: save_photo(load_photo(source), target), clock)
        whole = time_median(rounds, lambda: save_photo(editor.edit(source, "happy").image, target), clock)
    preview = photo.copy()
    preview.thumbnail((1024, 1024))
    return codec, whole, time_median(rounds, lambda: encode_image(preview, "JPEG", quality=95, subsampling=0), clock)


def time_command(args: argparse.Namespace) -> None:
    """Prints the seconds of a command and of importing torch alone, and their ratio."""

    def time_process(*arguments: str) -> float:
        def run() -> float:
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            return cpu if args.cpu else time.perf_counter() - start

        return statistics.median([run() for _ in range(args.rounds)])

    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if args.cpu else {})
    with TemporaryDirectory() as folder:
        target = str(Path(folder, "edited.jpg"))
        edit = time_process("-m", "exprgan", "edit", args.photo, "happy", "--model", args.model, "--out", target)
    torch_alone = time_process("-c", "import torch")
    print(f"edit {edit:.2f} s, import torch {torch_alone:.2f} s: {edit / torch_alone:.2f}")


if __name__ == "__main__":
    main()
