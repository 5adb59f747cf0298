"""Which arithmetic a run does."""

import pytest

from train.core import precision as arithmetic
from train.core.precision import SLOW, has_bf16, supported_precision


@pytest.mark.parametrize(("asked", "native", "done"), [("bf16", False, "no"), ("bf16", True, "bf16"), ("no", False, "no")])
def test_bf16_that_a_cpu_imitates_is_replaced_and_said(asked, native, done, monkeypatch, capsys):
    monkeypatch.setattr(arithmetic, "has_bf16", lambda: native)
    assert supported_precision(asked, cpu=True) == done
    assert (SLOW in capsys.readouterr().err) == (asked != done)


def test_this_cpu_knows_whether_it_has_bf16():
    assert has_bf16() in (True, False)
