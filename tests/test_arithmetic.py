"""The arithmetic of a training run."""

import pytest

from train.core import precision
from train.core.precision import NO_BF16, has_bf16, supported_precision


@pytest.mark.parametrize(
    ("requested", "native", "expected"), [("bf16", False, "no"), ("bf16", True, "bf16"), ("no", False, "no")]
)
def test_bf16_that_a_cpu_would_emulate_is_replaced_with_a_note(requested, native, expected, monkeypatch, capsys):
    monkeypatch.setattr(precision, "has_bf16", lambda: native)
    assert supported_precision(requested, cpu=True) == expected
    assert (NO_BF16 in capsys.readouterr().err) == (requested != expected)


def test_this_cpu_knows_whether_it_has_bf16():
    assert has_bf16() in (True, False)
