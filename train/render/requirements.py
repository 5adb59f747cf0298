"""What the generator needs beyond the rest of the training side: an extra of its own, since few make sets."""

from importlib.util import find_spec

from ..core.files import RunError

PACKAGES = {"cv2": "opencv-python-headless", "scipy": "scipy", "numba": "numba"}


def require() -> None:
    """Does nothing if all is there.

    Raises:
        RunError: a package is missing; the message says how to install it.
    """
    if missing := [package for module, package in PACKAGES.items() if find_spec(module) is None]:
        raise RunError(f"making pictures needs {' and '.join(missing)}; install the extra: pip install -e '.[render]'")
