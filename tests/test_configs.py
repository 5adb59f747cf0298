"""Configurations of random values are either valid or raise an error that names the wrong value."""

import dataclasses
import math
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exprgan import ExprGANConfig
from train.__main__ import main
from train.core.config_flags import MAX_SEED
from train.data.prepare import PrepareConfig
from train.eval.reference_training import ReferenceConfig
from train.gan.train_config import STAGES, TrainConfig
from train.paper.synthetic_set import SyntheticConfig
from train.paper.table1 import Table1Config
from train.perceptual.face_trainer import FaceTrainConfig
from train.render.render_config import RenderConfig
from train.render.virtual_people import VirtualConfig
from train.warp.warp_trainer import WarpTrainConfig

FACES = Path(__file__).parent / "data" / "faces"
NEEDED = {RenderConfig: {"photos": "x", "mesh": "y"}, VirtualConfig: {"photos": "x"}}
CONFIGS = (TrainConfig, FaceTrainConfig, ReferenceConfig, WarpTrainConfig, RenderConfig, VirtualConfig, PrepareConfig,
           SyntheticConfig, Table1Config)  # fmt: skip
TEXTS = st.sampled_from(("", ",", "1,2,3", "0,0,0", "nan,1,1", "-1,2,3", "1e999,1,1", "a,b,c", "refine", "pixel=1",
                         "pixel=nan", "=", "happy,sad", "\0")) | st.text(max_size=5)  # fmt: skip
KINDS = {int: st.integers() | st.integers(-2, 9), float: st.floats() | st.floats(0, 1), bool: st.booleans(), str: TEXTS}


def values_of(kind):
    """Values that a command line can hold for a field."""
    return st.sampled_from(typing.get_args(kind)) if typing.get_origin(kind) is typing.Literal else KINDS[kind]


@st.composite
def draw_fields(draw, cls):
    """Draws values for some fields of a configuration."""
    kinds = typing.get_type_hints(cls)
    names = draw(st.lists(st.sampled_from([field.name for field in dataclasses.fields(cls)]), max_size=3, unique=True))
    return NEEDED.get(cls, {}) | {name: draw(values_of(kinds[name])) for name in names}


@pytest.mark.parametrize("cls", CONFIGS)
def test_any_configuration_is_accepted_or_raises_an_error_of_one_line(cls):
    @settings(max_examples=60, deadline=None, database=None)
    @given(draw_fields(cls))
    def check(values):
        try:
            config = cls(**values)
        except ValueError as error:
            assert str(error) and "\n" not in str(error).replace(repr(values), ""), values
            return
        for name, value in vars(config).items():
            assert not isinstance(value, float) or math.isfinite(value), (name, values)
        assert 0 <= getattr(config, "seed", 0) <= MAX_SEED
        assert not getattr(config, "minutes", 0) < 0
        steps = getattr(config, "steps", 1)
        assert getattr(config, "minutes", 0) or isinstance(steps, str) or steps > 0
        if cls is TrainConfig:
            assert all(config.stage_steps(stage) >= 0 and config.stage_seconds(stage) >= 0 for stage in STAGES)

    check()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
                    max_leaves=6)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([field.name for field in dataclasses.fields(ExprGANConfig)]), JSON, max_size=3))
def test_any_model_configuration_is_accepted_or_raises_an_error(values):
    try:
        config = ExprGANConfig(**values)
    except ValueError as error:
        assert str(error)
    else:
        numbers = (config.warp_width,)
        assert all(math.isfinite(number) for number in numbers)


WRONG = {
    f"facenet {FACES} --steps 0": "steps must be at least 1, not 0",
    f"facenet {FACES} --lr nan": "lr must be a finite number, not nan",
    f"facenet {FACES} --batch-size 0": "batch_size must be at least 2, not 0",
    f"facenet {FACES} --minutes -1": "minutes must be at least 0, not -1.0",
    f"judge {FACES} --steps 0": "steps must be at least 1, not 0",
    f"judge {FACES} --width 1": "width must be at least 4, not 1",
    f"judge {FACES} --seed -1": "seed must be 0 to 4294967295, not -1",
    f"fit {FACES} --lr nan": "lr must be a finite number, not nan",
    f"fit {FACES} --width inf": "width must be a finite number, not inf",
    f"fit {FACES} --minutes -1": "minutes must be at least 0, not -1.0",
    f"fit {FACES} --shares nan,1,1": "shares must be finite and not negative: 'nan,1,1'",
    f"fit {FACES} --weight pixel=nan": "weight needs finite values, not 'pixel=nan'",
    f"fit {FACES} --seed 99999999999": "seed must be 0 to 4294967295, not 99999999999",
    "detail pairs --weights w --lr nan": "lr must be a finite number, not nan",
    "detail pairs --weights w --width inf": "width must be a finite number, not inf",
    "detail pairs --weights w --ema 2": "ema must lie in 0..1, not 2.0",
    "detail pairs --weights w --seed 99999999999": "seed must be 0 to 4294967295, not 99999999999",
    "render --photos x --mesh y --test-share nan": "test_share must lie in 0..1 and below 1, not nan",
    "augment w --seed -1": "seed must be 0 to 4294967295, not -1",
    f"table1 w --data {FACES} --sets s --lr inf": "lr must be a finite number, not inf",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_setting_that_cannot_work_is_one_error_line_on_the_command_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 1
    assert capsys.readouterr().err == f"error: {WRONG[line]}\n" and not list(tmp_path.iterdir())
