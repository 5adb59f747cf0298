"""Checks for the packages of the optional extra `render`, which only the makers of training sets need."""

from importlib.util import find_spec

from ..core.train_errors import RunError

PACKAGES = {"cv2": "opencv-python-headless", "scipy": "scipy", "numba": "numba"}


def require_packages(*modules: str) -> None:
    """Checks that packages of the extra are installed.

    Args:
        modules: keys of PACKAGES; none: all of them.

    Raises:
        RunError: a package is missing; the message says how to install it.
    """
    if missing := [PACKAGES[module] for module in modules or PACKAGES if find_spec(module) is None]:
        raise RunError(f"this command needs {' and '.join(missing)}; install the extra: pip install -e '.[render]'")
