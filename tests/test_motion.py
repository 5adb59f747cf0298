"""How an edit moves the photo's own pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.alignment import crop_from_photo, face_mask, invert
from exprgan.motion import Motion, dense_flow, motion_between, paste_motion, warp

SIZE = 64
MASK = face_mask(SIZE)


def blobs(dx=0.0, dy=0.0):
    """Soft spots of three colours, moved by (dx, dy) px: (3, SIZE, SIZE) in [-1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    spots = [(20, 24, 0), (44, 24, 1), (32, 44, 2), (24, 50, 0), (42, 38, 1)]
    picture = torch.zeros(3, SIZE, SIZE)
    for x, y, channel in spots:
        picture[channel] += torch.exp(-((columns - x - dx) ** 2 + (rows - y - dy) ** 2) / 50)
    return picture.clamp(max=1) * 1.6 - 0.8


def still(flow=(0.0, 0.0), rest=0.0):
    """The same flow and rest everywhere."""
    return Motion(np.tile(np.float32(flow), (SIZE, SIZE, 1)), np.full((SIZE, SIZE), rest, np.float32))


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    return Image.fromarray(noise).resize((600, 500), Image.Resampling.BICUBIC)


@pytest.fixture
def photo_from_crop():
    return invert(crop_from_photo([(250, 200), (350, 230)], SIZE))


def difference(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max(axis=2)


@pytest.mark.parametrize("move", [(3.0, 0.0), (-2.0, 2.5), (0.0, 4.0)])
def test_flow_says_where_the_pixels_came_from(move):
    flow = dense_flow(blobs(), blobs(*move))
    middle = flow[:, 20:48, 20:48].flatten(1)
    np.testing.assert_allclose(middle.mean(1), (-move[0], -move[1]), atol=0.8)


def test_warping_along_the_flow_gives_the_other_picture():
    own, edited = blobs(), blobs(-2.0, 3.0)
    warped = warp(own[None], dense_flow(own, edited)[None])[0]
    assert (warped - edited).abs().mean() < 0.35 * (own - edited).abs().mean()


def test_two_equal_pictures_do_not_move():
    motion = motion_between(blobs(), blobs())
    assert np.abs(motion.flow).max() < 1e-5 and np.abs(motion.rest).max() < 1e-3


def test_what_no_movement_explains_is_the_rest():
    own, edited = blobs(), blobs()
    edited[:, 28:36, 28:36] = 1.0  # teeth
    rest = motion_between(own, edited).rest
    assert rest[30:34, 30:34].mean() > 30 and np.abs(rest[:8]).mean() < 5


def test_no_motion_leaves_every_pixel(photo, photo_from_crop):
    assert paste_motion(photo, still(), photo_from_crop, MASK).tobytes() == photo.tobytes()


def test_the_photo_is_moved_by_as_much_as_the_crop_says(photo):
    photo_from_crop = np.array([[4.0, 0.0, 100.0], [0.0, 4.0, 60.0]])  # a crop px is 4 photo px
    moved = paste_motion(photo, still(flow=(1.5, -2.0)), photo_from_crop, MASK)
    y, x = 60 + 4 * 26, 100 + 4 * 32  # where the mask is 1
    taken = photo.crop((x + 6 - 20, y - 8 - 20, x + 6 + 20, y - 8 + 20))
    assert difference(moved.crop((x - 20, y - 20, x + 20, y + 20)), taken).max() <= 1


def test_the_rest_is_added_and_clipped():
    photo = Image.new("RGB", (400, 400), (100, 250, 5))
    photo_from_crop = np.array([[4.0, 0.0, 60.0], [0.0, 4.0, 60.0]])
    pasted = paste_motion(photo, still(rest=20.0), photo_from_crop, MASK)
    assert pasted.getpixel((60 + 4 * 32, 60 + 4 * 26)) == (120, 255, 25)


def test_outside_the_mask_no_pixel_changes(photo, photo_from_crop):
    pasted = paste_motion(photo, still(flow=(9.0, 9.0), rest=90.0), photo_from_crop, MASK)
    crop_from_photo_px = invert(photo_from_crop)
    over = Image.fromarray(MASK).transform(
        photo.size, Image.Transform.AFFINE, tuple(crop_from_photo_px.ravel()), Image.Resampling.BILINEAR
    )
    near = np.asarray(over.resize((60, 50), Image.Resampling.BOX).resize(photo.size, Image.Resampling.BILINEAR)) > 0
    changed = difference(photo, pasted)
    assert not changed[~near].any() and (changed[np.asarray(over) > 0.9] > 0).mean() > 0.9


@pytest.mark.parametrize("middle", [(0, 0), (599, 480), (5000, 5000)])
def test_a_face_at_the_edge_of_the_photo_is_moved_as_far_as_it_goes(photo, middle):
    x, y = middle
    matrix = invert(crop_from_photo([(x - 40, y - 10), (x + 40, y + 10)], SIZE))
    pasted = paste_motion(photo, still(flow=(3.0, 3.0), rest=50.0), matrix, MASK)
    assert pasted.size == photo.size and (difference(photo, pasted).max() > 20) == (middle != (5000, 5000))
