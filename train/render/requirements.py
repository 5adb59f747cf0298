"""Checks for the packages of the optional extra `render`, which only the makers of training sets need."""

from importlib.util import find_spec

from ..core.train_errors import RunError

PACKAGES = {"cv2": "opencv-python-headless", "scipy": "scipy", "numba": "numba"}


def require_packages() -> None:
    """Checks that all packages of the extra are installed.

    Raises:
        RunError: a package is missing; the message says how to install it.
    """
    if missing := [package for module, package in PACKAGES.items() if find_spec(module) is None]:
        raise RunError(f"making pictures needs {' and '.join(missing)}; install the extra: pip install -e '.[render]'")
