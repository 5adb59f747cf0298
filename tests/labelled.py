"""Photos of nobody in a data set's layout, for tests of names, labels and files."""

import csv
import zlib

from PIL import Image, ImageOps

from exprgan.photo.detection import Face


def finder(photo):
    """Replaces the face detector: returns the same face for every photo."""
    points = ((140.0, 100.0), (180.0, 100.0), (160.0, 125.0), (145.0, 150.0), (175.0, 150.0))
    return [Face((120, 70, 200, 170), points, 0.99)]


def photo(path, size=(320, 240)):
    """Writes a gradient whose colours are a function of the last two parts of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = zlib.crc32("/".join(path.parts[-2:]).encode()).to_bytes(4, "big")
    dark, light = ((*colours[:3],), (255, 255, colours[3]))
    ImageOps.colorize(Image.linear_gradient("L").resize(size), dark, light).save(path)


def table(folder):
    return list(csv.DictReader((folder / "metadata.csv").open(newline="")))
