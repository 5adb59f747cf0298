"""Turns photos into weights, and weights into numbers: `python -m train --help`."""
