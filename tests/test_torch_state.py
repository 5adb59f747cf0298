"""Edits whatever the caller's state of torch is: forks, autocast, inference mode, types and devices."""

import itertools
import multiprocessing
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from golden import golden_photo
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, ExprGANError
from exprgan.models.hub_source import BUNDLED_WEIGHTS
from exprgan.photo.detection import find_faces
from exprgan.photo.image_io import to_tensor
from exprgan.torch_state import usable_device

STATES = {
    "plain": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
}


@pytest.fixture
def folder(warp_model, tmp_path):
    warp_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def editor(folder):
    return ExpressionEditor(ExprGAN.from_pretrained(folder))


def pictures(editor, photo, face):
    """What all calls make that compute with torch, as bytes."""
    subject = editor.read(photo, face)
    made = [editor.edit(subject, "happy", fidelity=fidelity) for fidelity in ("detail", "model", "tuned")]
    images = [getattr(edit, name) for edit in made for name in ("image", "preview", "crop", "face")]
    images += [*editor.animate(subject, "sweep", "sad", seconds=0.1, fps=20), *editor.generate(2, seed=3)]
    images += [*editor.interpolate(subject, subject, 2), editor.edit_many({0: subject}, "fear", 0.2).image]
    images += [editor.transfer(subject, editor.read_crop(subject.crop)).image]
    matches = editor.retrieve(subject, [subject, editor.read_crop(photo)], by="x")
    return [image.tobytes() for image in images], editor.read_expression(made[0].face).certainties, matches


# Forks.


def in_child(work):
    """The result of a function in a forked process, which is killed if it does not answer within a minute."""
    global _work
    _work = work
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(_call_work).get(timeout=60)


def _call_work():
    assert torch.get_num_threads() == 2
    result = _work()
    assert torch.get_num_threads() == 1
    return result


@pytest.fixture
def openmp():
    """Torch's OpenMP threads, which a fork does not copy, as any larger operation of the parent starts them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.rand(1000, 1000) @ torch.rand(1000, 1000) + 1
    yield
    torch.set_num_threads(threads)


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")


@needs_fork
def test_a_forked_process_makes_the_same_pictures(openmp, editor, portrait, face):
    made = in_child(lambda: pictures(editor, portrait, face))
    torch.set_num_threads(1)  # another number rounds sums otherwise
    assert made == pictures(editor, portrait, face)


@needs_fork
@pytest.mark.parametrize("work", ["find", "read_crop", "crop", "retrieve", "load"])
def test_each_call_may_be_the_first_of_a_forked_process(openmp, editor, folder, portrait, work):
    subject = editor.read(portrait.resize((128, 128)))
    edit = editor.edit(subject, "happy")
    large = Image.effect_noise((512, 512), 40).convert("RGB")
    first_calls = {
        "find": lambda: len(find_faces(portrait)) == 1,
        "read_crop": lambda: editor.read_crop(large).z.shape == (8,),
        "crop": lambda: (edit.crop.size, edit.image.size) == ((32, 32), (128, 128)),
        "retrieve": lambda: len(editor.retrieve(subject, [subject] * 2000, by="x")) == 5,
        "load": lambda: ExpressionEditor(ExprGAN.from_pretrained(folder)).read_crop(large) == editor.read_crop(large),
    }
    assert in_child(first_calls[work])


# Autocast and inference mode.


@pytest.mark.slow
def test_pictures_are_the_same_in_every_state_of_torch_in_which_the_model_was_loaded_or_is_used(folder, portrait, face):
    made = {}
    for loading, using in itertools.product(STATES, STATES):
        with STATES[loading]():
            model = ExprGAN.from_pretrained(folder)
        with STATES[using]():
            made[loading, using] = pictures(ExpressionEditor(model), portrait, face)
    assert all(one == made["plain", "plain"] for one in made.values())


@pytest.mark.parametrize("state", STATES)
def test_faces_are_found_at_the_same_place_in_every_state_of_torch(state, portrait):
    with STATES[state]():
        found = find_faces(portrait)
    assert found == find_faces(portrait)


def test_results_of_one_state_can_be_used_in_another(editor, portrait, face):
    with torch.inference_mode():
        subject = editor.read(portrait, face)
        edit = editor.edit(subject, "happy")
    with torch.autocast("cpu", torch.bfloat16):
        assert edit.image.tobytes() == editor.edit(editor.read(portrait, face), "happy").image.tobytes()
    assert editor.tune(subject).reconstruction.isfinite().all()
    weight = torch.ones(8, requires_grad=True)
    (subject.z * weight).sum().backward()  # an inference tensor cannot be saved for this
    assert torch.equal(weight.grad, subject.z)


def test_a_model_made_or_converted_in_inference_mode_can_be_used_outside(tiny_config, editor, portrait, face):
    with torch.inference_mode():
        made = ExprGAN(tiny_config)
        converted = editor.model.to(torch.float64)
    for model in (made, converted):
        assert ExpressionEditor(model).edit(portrait, "happy", face=face).image.size == portrait.size
        assert not any(tensor.is_inference() for tensor in model.state_dict().values())


# Types and devices.


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        ("float64", 4),
        ("torch.float64", 4),
        (torch.float16, 4),
        ("bfloat16", 12),
        (torch.bfloat16, 12),
    ],  # fitting a decoder amplifies rounding
)
def test_every_kind_of_edit_works_with_weights_of_every_type(folder, editor, portrait, face, dtype, tolerance):
    other = ExpressionEditor(ExprGAN.from_pretrained(folder, dtype=dtype))
    assert str(next(other.model.T.parameters()).dtype).endswith(str(dtype).removeprefix("torch."))
    images, certainties, _ = pictures(other, portrait, face)
    expected, expected_certainties, _ = pictures(editor, portrait, face)
    differences = [
        np.abs(np.subtract(*(np.frombuffer(data, np.uint8).astype(np.int16) for data in pair))).mean()
        for pair in zip(images, expected, strict=True)
    ]
    assert max(differences) < tolerance
    assert certainties == pytest.approx(expected_certainties, abs=0.05)
    subject = other.read(portrait, face)
    assert subject.z.dtype == subject.reading.code.dtype == subject.reconstruction.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 0.02), ("float16", 0.05), ("bfloat16", 0.5)])
def test_the_bundled_weights_make_nearly_the_same_photo_in_every_type(dtype, tolerance):
    photos = [
        golden_photo(ExpressionEditor(ExprGAN.from_pretrained(BUNDLED_WEIGHTS, dtype=one))) for one in (dtype, "float32")
    ]
    assert (to_tensor(photos[0]) - to_tensor(photos[1])).abs().mean() * 127.5 < tolerance


@pytest.mark.parametrize("dtype", ["float8", "int8", torch.int32, torch.complex64, "", None, 16])
def test_other_types_are_refused_before_anything_is_loaded(dtype):
    with pytest.raises(ValueError, match=r"dtype must be one of float32, float16, bfloat16, float64, not "):
        ExprGAN.from_pretrained("no/such/model", dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "float16", "cuda:x", None])
def test_an_unknown_device_is_named(device):
    with pytest.raises(ValueError, match=r"device must be one of torch's, such as 'cpu' or 'cuda:0', not "):
        ExprGAN.from_pretrained("no/such/model", device=device)


@pytest.mark.parametrize("device", ["cuda:99", "mps:3", "xpu", "meta"])
def test_a_device_that_is_not_present_is_named_in_a_sentence(device):
    with pytest.raises(
        ExprGANError, match=rf"^{device} cannot hold torch\.float32 here \(.+\)\. Choose another device"
    ) as caught:
        ExprGAN.from_pretrained("no/such/model", device=device)
    assert len(str(caught.value)) < 300


def test_a_present_device_is_found_by_name():
    assert usable_device("cpu", torch.float16) == usable_device(torch.device("cpu"), torch.float64) == torch.device("cpu")
