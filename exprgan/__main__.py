"""Runs the command line (`cli`) as `python -m exprgan`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
