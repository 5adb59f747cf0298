"""The version of the code that a result was made with."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The short hash of the code's commit, or "unknown" outside a checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
