"""How fast `fit` reads its pictures: python -m benchmarks.loader DATA

Draws the batches of an epoch as `fit` does, without training on them, and prints pictures per second of time and of CPU
time: reading alone, and with the augmentation, which runs on the training device.
"""

import argparse
import time

import torch

from train.data import FaceFolder
from train.data.face_folder import batch_indices
from train.data.transforms import augment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with metadata.csv")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=160)
    parser.add_argument("--batches", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    faces = FaceFolder.load(args.data, "train", args.image_size, mapped=True).expressive()
    print(f"{len(faces):,} pictures, {type(faces.images).__name__}: loaded in {time.process_time() - start:.1f} s of CPU")
    for name, strength in (("read", None), ("read and augment", 0.4)):
        wall, cpu = time.perf_counter(), time.process_time()
        for step in range(args.batches):
            images = faces.images[batch_indices(len(faces), args.batch_size, step)]
            if strength:
                augment(images, torch.Generator().manual_seed(step), colour=strength, shift=strength)
        wall, cpu, number = time.perf_counter() - wall, time.process_time() - cpu, args.batches * args.batch_size
        print(f"{name}: {number / wall:,.0f} pictures/s, {number / cpu:,.0f} per second of CPU")


if __name__ == "__main__":
    main()
