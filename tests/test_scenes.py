"""Varied pictures of the renderer: random combinations of action units, head pose, gaze, light, and a person's teeth."""

import json
from dataclasses import replace
from random import Random

import pytest

from exprgan.editing.dials import DIALS
from exprgan.expressions import EXPRESSIONS
from train.render.face_model.action_units import ACTION_UNITS
from train.render.face_model.unit_combinations import (
    MAX_ASYMMETRY,
    MIN_WEIGHT,
    SIDEWAYS_UNITS,
    SINGLE_UNITS,
    sample_combination,
)
from train.render.head_pose import MAX_PITCH_DEG, MAX_YAW_DEG, HeadPose
from train.render.photo_manifest import Person
from train.render.render_config import RenderConfig
from train.render.sampling_plan import plan_neutral_photo, plan_smile
from train.render.scene import Scene
from train.render.shading.mouth_look import MouthLook
from train.render.shading.scene_light import Light

MAX_DIAL_WEIGHT = max(dial.scale for dial in DIALS.values())
LIT_SEED = 4  # a scene with all three
CONFIG = RenderConfig(photos="photos", mesh="mesh.npz", number=4, varied=3, combinations=20)


@pytest.fixture(scope="module")
def combinations():
    return [sample_combination(Random(seed)) for seed in range(400)]


def make_person(**fields):
    values = {name: "" for name in Person.__dataclass_fields__} | {"subject": "ann", "parents": ()} | fields
    return Person(**values)


def test_combinations_use_known_units_within_their_range(combinations):
    for units in combinations:
        assert units and set(units) <= set(ACTION_UNITS)
        for right, left in units.values():
            highest = MAX_DIAL_WEIGHT if len(units) == 1 else 1.25
            assert min(right, left) >= 0 and max(right, left) >= MIN_WEIGHT * (1 - MAX_ASYMMETRY)
            assert max(right, left) <= highest * (1 + MAX_ASYMMETRY)
    assert sample_combination(Random(3)) == sample_combination(Random(3))
    assert len({frozenset(units) for units in combinations}) > 130


def test_half_of_the_combinations_move_one_unit_as_far_as_its_dial_does():
    singles = [units for seed in range(3000) if len(units := sample_combination(Random(seed))) == 1]
    assert len(singles) / 3000 == pytest.approx(0.5, abs=0.06)
    furthest = {unit: max(max(sides) for units in singles for sides in [units.get(unit, (0, 0))]) for unit in SINGLE_UNITS}
    for dial in DIALS.values():
        assert furthest[dial.unit] > 0.85 * dial.scale


def test_some_combinations_move_one_side_only_and_the_jaw_never_both(combinations):
    weights = [(unit, sides) for units in combinations for unit, sides in units.items()]
    one_sided = [unit for unit, sides in weights if 0 in sides]
    assert {1, 4, 12, 43} <= set(one_sided)
    assert 0.15 < len(one_sided) / len(weights) < 0.45
    assert all(0 in sides for unit, sides in weights if unit in SIDEWAYS_UNITS)


def test_scenes_stay_within_their_limits():
    scenes = [Scene.sample(Random(seed)) for seed in range(300)]
    assert all(abs(scene.pose.yaw_deg) <= MAX_YAW_DEG and abs(scene.pose.pitch_deg) <= MAX_PITCH_DEG for scene in scenes)
    turned = sum(scene.pose != HeadPose() for scene in scenes) / 300
    lit = sum(scene.light != Light() for scene in scenes) / 300
    assert 0.65 < turned < 0.85 and 0.5 < lit < 0.7


def test_the_columns_of_a_scene_are_empty_for_that_of_the_photo():
    assert set(Scene().to_columns().values()) == {""}
    columns = Scene.sample(Random(LIT_SEED)).to_columns()
    scene = Scene.sample(Random(LIT_SEED))
    assert columns["yaw"] == (f"{scene.pose.yaw_deg:.1f}" if scene.pose.yaw_deg else "")
    for name, value in json.loads(columns["light"]).items():
        assert value == pytest.approx(getattr(scene.light, name), abs=5e-4)


def test_the_plan_has_studio_and_varied_pictures_of_every_expression_and_combinations_of_no_class():
    pictures = plan_neutral_photo(make_person(), CONFIG)
    studio = [picture for picture in pictures if picture.scene == Scene()]
    for expression in EXPRESSIONS:
        assert sum(picture.expression == expression for picture in pictures) == 4 + 3
        assert sum(picture.expression == expression for picture in studio) >= 4
    combined = [picture for picture in pictures if picture.style == "combination"]
    assert len(combined) == 20 and {picture.expression for picture in combined} == {""}
    assert sum(picture.expression == "neutral" for picture in pictures) == 1 + 2 + 3
    rendered = [picture for picture in pictures if picture.kind == "rendered"]
    assert len({picture.mouth.teeth for picture in rendered}) == 1  # a person's teeth
    assert len({picture.mouth.tongue for picture in rendered}) > 10
    assert pictures == plan_neutral_photo(make_person(), CONFIG)
    assert rendered[0].mouth.teeth != plan_neutral_photo(make_person(subject="bob"), CONFIG)[1].mouth.teeth


def test_studio_pictures_do_not_depend_on_the_number_of_varied_ones():
    first, second = (plan_neutral_photo(make_person(), replace(CONFIG, varied=n, combinations=n)) for n in (0, 5))
    assert [picture for picture in second if picture in first] == first


def test_with_flow_all_pictures_keep_the_scene_and_without_mouths_all_teeth_are_alike():
    pictures = plan_neutral_photo(make_person(), replace(CONFIG, flow=True, mouths=False))
    assert all(picture.scene == Scene() for picture in pictures)
    assert {picture.mouth for picture in pictures} == {MouthLook()}


def test_a_real_smile_is_also_seen_in_varied_scenes_but_with_the_photos_gaze():
    pictures = plan_smile(make_person(), 0.9, True, replace(CONFIG, varied=30))
    varied = [picture for picture in pictures if picture.scene != Scene()]
    assert len(varied) > 20 and all(picture.kind == "morph" and picture.from_smile for picture in varied)
    assert all(picture.scene.gaze == Scene().gaze for picture in varied)
    assert not [picture for picture in plan_smile(make_person(), 0.9, False, CONFIG) if picture.kind == "morph"]
