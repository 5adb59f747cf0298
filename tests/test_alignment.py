"""Crops and pasting: the eyes fix the crop, and an edit returns to where it came from."""

import time

import numpy as np
import pytest
from PIL import Image

from exprgan.photo.alignment import EYES, crop_face, crop_from_photo, invert, transform
from exprgan.photo.blending import face_mask, match_color, paste_back, planes_in_photo

SIZE = 128
MASK = face_mask(SIZE)


def eyes_at(middle: tuple[float, float], distance: float, degrees: float = 0) -> np.ndarray:
    """Returns two eyes around a point, (2, 2); positive angles turn the line through them clockwise in the picture."""
    angle = np.radians(degrees)
    half = distance / 2 * np.array([np.cos(angle), np.sin(angle)])
    return np.array([middle - half, middle + half])


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """600 x 500 px of smooth colour, which a crop of 128 px holds without loss."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((600, 500), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module", params=[0, 30, -75])
def rotated(request) -> np.ndarray:
    """Crop from photo, for a face of some 300 px rotated by so many degrees."""
    return crop_from_photo(eyes_at((300, 210), 90, request.param), SIZE)


def difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).max(axis=2)


def weight_in_photo(photo: Image.Image, matrix: np.ndarray) -> np.ndarray:
    """Returns the maximum of the mask within a crop pixel of each of the photo's pixels, (H, W)."""
    maximum = np.max([np.roll(MASK, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
    x, y = np.meshgrid(np.arange(photo.width) + 0.5, np.arange(photo.height) + 0.5)
    points = np.floor(transform(matrix, np.stack([x, y], -1).reshape(-1, 2))).astype(int)
    inside = ((points >= 0) & (points < SIZE)).all(axis=1)
    weight = np.zeros(len(points))
    weight[inside] = maximum[points[inside, 1], points[inside, 0]]
    return weight.reshape(photo.height, photo.width)


# Matrices.


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_eyes_land_on_their_positions_in_the_crop(size):
    eyes = [(812.5, 400.0), (1033.0, 371.5)]
    assert np.allclose(transform(crop_from_photo(eyes, size), eyes), np.multiply(EYES, size), atol=1e-9)


def test_only_the_eyes_fix_the_crop():
    eyes = eyes_at((300, 200), 100).tolist()
    smiling = crop_from_photo([*eyes, (300, 260), (240, 300), (360, 300)], SIZE)
    aghast = crop_from_photo([*eyes, (300, 270), (280, 360), (320, 360)], SIZE)
    assert np.array_equal(smiling, aghast)


def test_a_matrix_and_its_inverse_cancel(rotated):
    points = np.random.default_rng(1).uniform(-500, 5000, (50, 2))
    assert np.allclose(transform(invert(rotated), transform(rotated, points)), points, atol=1e-6)


def test_eyes_at_one_point_are_refused():
    with pytest.raises(ValueError, match=r"\(20, 30\)"):
        crop_from_photo([(20, 30), (20, 30)], SIZE)


# Cropping.


@pytest.mark.parametrize(("distance", "degrees"), [(15, 0), (40, 12), (90, 30), (250, -20), (900, 8)])
def test_a_point_between_the_eyes_lands_there_within_half_a_pixel(distance, degrees):
    """A white disc in the photo is found in the crop, for faces from far smaller than the crop to far larger."""
    middle = np.array([600.0, 450.0])
    matrix = crop_from_photo(eyes_at(tuple(middle), distance, degrees), SIZE)
    x, y = np.meshgrid(np.arange(1200) + 0.5, np.arange(900) + 0.5)
    disc = np.clip(0.2 * distance - np.hypot(x - middle[0], y - middle[1]) + 0.5, 0, 1)
    photo = Image.fromarray(np.repeat(np.uint8(disc * 255)[..., None], 3, axis=2))

    light = np.asarray(crop_face(photo, matrix, SIZE), float)[..., 0]
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    centroid = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    assert np.abs(centroid - np.mean(EYES, axis=0) * SIZE).max() < 0.1


def test_a_crop_that_is_pasted_and_cut_out_again_has_not_moved(photo, rotated):
    crop = crop_face(photo, rotated, SIZE)
    pasted = paste_back(Image.new("RGB", photo.size), crop, invert(rotated), np.ones((SIZE, SIZE)))
    again = crop_face(pasted, rotated, SIZE)
    assert difference(crop, again)[3:-3, 3:-3].max() < 6


def test_fine_stripes_become_grey_without_aliasing():
    stripes = np.zeros((1500, 1500, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = crop_face(Image.fromarray(stripes), crop_from_photo(eyes_at((750, 500), 400), SIZE), SIZE)
    assert np.abs(np.asarray(crop, float)[4:-4, 4:-4] - 127.5).max() < 8


def test_beyond_the_photo_its_edge_pixels_are_repeated():
    photo = Image.new("RGB", (200, 200), (10, 120, 200))
    for middle in ((100, 100), (5, 190), (-300, -300)):
        crop = crop_face(photo, crop_from_photo(eyes_at(middle, 80, 20), SIZE), SIZE)
        assert crop.size == (SIZE, SIZE) and crop.getextrema() == ((10, 10), (120, 120), (200, 200))


def test_a_face_of_3000_px_in_a_12_megapixel_photo_is_cropped_and_pasted_fast():
    photo = Image.new("RGB", (4000, 3000), "grey")
    matrix = crop_from_photo(eyes_at((2000, 1000), 900, 5), SIZE)
    start = time.process_time()
    crop = crop_face(photo, matrix, SIZE)
    cropped = time.process_time()
    paste_back(photo, crop, invert(matrix), MASK)
    assert cropped - start < 0.5 and time.process_time() - cropped < 2  # measured: 0.03 and 0.2 s


# The mask.


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_mask_is_1_on_the_face_0_on_the_border_and_smooth(size):
    mask = face_mask(size)
    assert mask.shape == (size, size) and mask.dtype == np.float32
    assert mask.min() == 0 and mask.max() == 1
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()
    for x, y in (*EYES, (0.5, 0.45), (0.5, 0.62), (0.36, 0.62), (0.64, 0.62), (0.38, 0.15), (0.62, 0.15)):
        assert mask[int(y * size), int(x * size)] > 0.9
    assert np.abs(np.diff(mask, axis=0)).max() < 12 / size and np.abs(np.diff(mask, axis=1)).max() < 14 / size
    assert np.allclose(mask, mask[:, ::-1], atol=1e-6)


# Pasting.


def test_outside_the_mask_no_pixel_changes(photo, rotated):
    magenta = np.tile(np.float32([255, 0, 255]), (SIZE, SIZE, 1))
    weight = weight_in_photo(photo, rotated)
    changed = difference(photo, paste_back(photo, magenta, invert(rotated), MASK))
    assert (weight == 0).mean() > 0.5 and not changed[weight == 0].any()
    assert (changed[weight > 0.5] > 0).mean() > 0.95


def test_the_untouched_crop_leaves_the_photo_nearly_as_it_was(photo, rotated):
    pasted = paste_back(photo, crop_face(photo, rotated, SIZE), invert(rotated), MASK)
    assert difference(photo, pasted).max() <= 4


def test_a_face_smaller_than_the_crop_is_pasted_without_moving(photo):
    matrix = crop_from_photo(eyes_at((300, 200), 12, 10), SIZE)
    pasted = paste_back(photo, crop_face(photo, matrix, SIZE), invert(matrix), MASK)
    assert difference(photo, pasted).max() <= 4


def test_a_face_at_the_edge_of_the_photo_is_pasted_as_far_as_it_goes(photo):
    red = np.tile([255.0, 0, 0], (SIZE, SIZE, 1))
    for middle in ((0, 0), (599, 480), (5000, 5000)):
        matrix = crop_from_photo(eyes_at(middle, 90, 30), SIZE)
        pasted = paste_back(photo, red, invert(matrix), MASK)
        assert pasted.size == photo.size
        assert (difference(photo, pasted).max() > 50) == (middle != (5000, 5000))


def test_an_empty_mask_changes_nothing_and_the_profile_stays(photo, rotated):
    with_profile = photo.copy()
    with_profile.info["icc_profile"] = b"profile"
    pasted = paste_back(with_profile, np.zeros((SIZE, SIZE, 3)), invert(rotated), np.zeros((SIZE, SIZE)))
    assert pasted.tobytes() == photo.tobytes() and pasted.info["icc_profile"] == b"profile"
    pasted.putpixel((0, 0), (1, 2, 3))
    assert with_profile.getpixel((0, 0)) == photo.getpixel((0, 0))


def test_a_patch_of_another_size_than_the_mask_is_refused(photo, rotated):
    with pytest.raises(ValueError, match=r"\(64, 64, 3\)"):
        paste_back(photo, np.zeros((64, 64, 3)), invert(rotated), MASK)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.6, 7.3])
def test_the_cheaper_warp_of_smooth_planes_is_as_exact(scale):
    """Bands and strides: each pixel is yielded once, with the value of a full warp."""
    position = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    wave = np.sin(4 * position)[:, None] * np.cos(3 * position)
    matrix = np.array([[scale, 0.2 * scale, 30.0], [-0.2 * scale, scale, 60.0]])
    size = (int(1.3 * scale * SIZE) + 90, int(1.3 * scale * SIZE) + 90)
    warped = []
    for smooth in (False, True):
        picture, count = np.zeros(size[::-1], np.float32), np.zeros(size[::-1], int)
        for (x0, y0, x1, y1), (plane,), weight in planes_in_photo([wave], matrix, MASK, size, smooth):
            picture[y0:y1, x0:x1] += plane * weight
            count[y0:y1, x0:x1] += 1
        assert count.max() == 1
        warped.append(picture)
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    u, v = transform(invert(matrix), np.stack([x, y], -1).reshape(-1, 2)).T.reshape(2, *size[::-1])
    inside = (np.abs(u / SIZE - 0.5) < 0.15) & (np.abs(v / SIZE - 0.45) < 0.15)  # where the mask is 1
    exact = np.sin(4 * v / SIZE) * np.cos(3 * u / SIZE)
    for picture in warped:
        assert inside.any() and np.abs(picture - exact)[inside].max() < 0.005
    assert np.abs(warped[0] - warped[1]).max() < 0.03


# Colour.


def test_a_patch_of_other_brightness_is_matched_to_its_reference(photo, rotated):
    crop = np.asarray(crop_face(photo, rotated, SIZE), np.float32)
    darker = crop * [0.8, 0.9, 1.1] + [10, -20, 5]
    assert np.abs(match_color(darker, crop, MASK) - crop).max() < 0.1


def test_the_gain_of_color_matching_is_limited():
    rng = np.random.default_rng(3)
    reference, flat = rng.normal(128, 40, (SIZE, SIZE, 3)), rng.normal(90, 1, (SIZE, SIZE, 3))
    matched = match_color(flat, reference, MASK)
    assert matched.std((0, 1)) == pytest.approx(1.4 * flat.std((0, 1)), rel=1e-3)
    matched = match_color(reference, flat, MASK)
    assert matched.std((0, 1)) == pytest.approx(0.7 * reference.std((0, 1)), rel=1e-3)


def test_without_a_soft_edge_of_the_mask_colours_do_not_change():
    patch = np.random.default_rng(4).uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)
    assert np.array_equal(match_color(patch, patch / 2, np.ones((SIZE, SIZE))), patch)
