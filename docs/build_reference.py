"""Writes the API reference, made of the docstrings, to build/docs (`make docs`)."""

from pathlib import Path

import pdoc

import exprgan

vars(exprgan).update({name: getattr(exprgan, name) for name in exprgan.__all__})  # pdoc does not load names on first use
pdoc.render.configure(docformat="google")
packages = ("models", "photo", "editing", "batch", "ui")
pdoc.pdoc("exprgan", *(f"exprgan.{name}" for name in packages), output_directory=Path("build/docs"))
