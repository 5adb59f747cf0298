"""Runs the command line (`cli`) as `python -m exprgan`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
