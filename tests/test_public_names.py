"""`import exprgan`: its public names, imported on first use, and its help page."""

import pickle
import pydoc
import subprocess
import sys

import pytest

import exprgan


@pytest.mark.parametrize("name", exprgan.__all__)
def test_every_public_name_can_be_imported_and_is_in_the_reference(name):
    assert getattr(exprgan, name) is not None
    assert f"    {name} " in exprgan.__doc__


def test_public_names_work_with_star_imports_and_pickle():
    scope = {}
    exec("from exprgan import *", scope)
    assert scope.keys() >= set(exprgan.__all__)
    assert type(pickle.loads(pickle.dumps(exprgan.NoFaceError("none")))) is exprgan.NoFaceError
    assert pickle.loads(pickle.dumps(exprgan.ExprGANConfig())) == exprgan.ExprGANConfig()


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="module 'exprgan' has no attribute 'Editor'"):
        exprgan.Editor  # noqa: B018
    with pytest.raises(ImportError):
        exec("from exprgan import Editor")


def test_help_is_one_page_even_after_all_names_were_used():
    from exprgan import ExpressionEditor, ExprGAN  # noqa: F401

    assert len(pydoc.render_doc(exprgan)) < 6000


def test_importing_the_package_does_not_load_torch():
    code = "import sys, exprgan; assert exprgan.NEUTRAL == 'neutral' and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
