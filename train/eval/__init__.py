"""Weights to numbers: `metrics` measures, `report` runs every metric and writes results.json."""
