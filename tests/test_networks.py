"""The networks: the paper's shapes, and the fast forms against the plain ones."""

import pytest
import torch

from benchmarks.direct import concatenating_conv, direct_copy
from exprgan.models.networks import (
    MAX_MATMUL_PX,
    ConditionedConv,
    Decoder,
    Encoder,
    FaceNetwork,
    ImageDiscriminator,
    LatentDiscriminator,
    block_codes,
    pool_elements,
)


@pytest.mark.parametrize(
    ("kernel", "stride", "upsample", "side"),
    [(3, 1, True, 8), (3, 1, True, 2 * MAX_MATMUL_PX), (3, 1, False, 8), (5, 2, False, 8)],
    ids=["up by products", "up by transposing", "plain", "down"],
)
def test_the_fast_convolution_equals_the_plain_one_in_output_and_gradients(kernel, stride, upsample, side):
    torch.manual_seed(0)
    layer = ConditionedConv(6, 5, 4, kernel=kernel, stride=stride, upsample=upsample).double()
    h = torch.randn(3, 6, side, side, dtype=torch.double, requires_grad=True)
    c = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    leaves = (h, c, layer.weight)
    fast, plain = layer(h, c), concatenating_conv(layer, h, c)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    probe = torch.randn_like(fast)
    for a, b in zip(torch.autograd.grad(fast, leaves, probe), torch.autograd.grad(plain, leaves, probe), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("network_class", "arguments", "shapes"),
    [
        (Encoder, (64, 7, 4), [(2, 3, 64, 64)]),
        (Decoder, (64, 7, 6, 64), [(2, 7), (2, 6)]),
        (ImageDiscriminator, (64, 2, 3, 4), [(2, 3, 64, 64), (2, 2)]),
    ],
)
def test_a_network_equals_its_plain_form(network_class, arguments, shapes):
    torch.manual_seed(0)
    network = network_class(*arguments).double()
    plain = direct_copy(network)
    inputs = [torch.rand(shape, dtype=torch.double) * 2 - 1 for shape in shapes]
    torch.testing.assert_close(network(*inputs), plain(*inputs), rtol=0, atol=1e-12)


def test_the_fast_form_works_in_inference_mode_and_in_training_after_it():
    layer = ConditionedConv(2, 3, 4, kernel=3, upsample=True)
    h, c = torch.randn(1, 2, 4, 4), torch.randn(1, 4)
    with torch.inference_mode():
        before = layer(h, c)
    layer(h, c).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        layer.weight.add_(1.0)
    with torch.inference_mode():
        after = layer(h, c)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, concatenating_conv(layer, h, c).detach())


def test_rearranging_the_memory_of_a_decoder_does_not_change_it():
    decoder, z, c = Decoder(64, 7, 6, 64), torch.randn(2, 7), torch.randn(2, 6)
    before, x_hat = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}, decoder(z, c)
    for _ in range(2):
        decoder.optimize_layout()
        assert all(torch.equal(before[name], tensor) for name, tensor in decoder.state_dict().items())
    torch.testing.assert_close(decoder(z, c), x_hat)
    decoder(z, c).sum().backward()


def test_pooled_codes_reach_full_strength_by_one_element_or_all():
    equal, neutral = torch.tensor([[1.0, 1, 1], [-1, -1, -1]]), -torch.ones(1, 6)
    torch.testing.assert_close(pool_elements(equal.flatten()[None], 3), equal.flatten()[None])
    torch.testing.assert_close(pool_elements(neutral, 3), neutral)
    half = torch.full((1, 3), 0.2)
    torch.testing.assert_close(pool_elements(half, 3), half)
    torch.testing.assert_close(pool_elements(torch.tensor([[-1.0, 1, -1]]), 3), torch.tensor([[-1.0, 5, -1]]))
    torch.testing.assert_close(
        pool_elements(torch.tensor([[-1.0, 0, -1]]), 3), torch.tensor([[-1.0, 2, -1]]), atol=1e-4, rtol=0
    )
    u = torch.tensor([0.1, 0.4, 0.8])
    strength = (u**3).sum() / (u**2).sum()
    expected = 2 * 3 * strength * u**2 / (u**2).sum() - 1
    torch.testing.assert_close(pool_elements(2 * u[None] - 1, 3), expected[None], atol=1e-4, rtol=0)


def test_elements_share_their_weights_in_all_blocks():
    c = torch.tensor([[-1.0, 1, -1, -1, -1, -1]])
    first, *blocks = block_codes(c, 3, 7)
    assert torch.equal(first, pool_elements(c, 3)) and len(blocks) == 7
    assert all(torch.allclose(code, torch.tensor([[1.0] * 3 + [-1.0] * 3]), atol=1e-4) for code in blocks)
    assert block_codes(c, 0, 7) == [c] * 8


def test_a_code_is_emphasised_and_an_element_shifted_in_the_first_layer_and_neutral_stays():
    torch.manual_seed(2)
    decoder, z, neutral = Decoder(16, 7, 6, 16, pooled_numbers=3), torch.rand(2, 7), -torch.ones(2, 6)
    codes = [
        torch.tensor([[*c]] * 2)
        for c in ((1.0, 1, 1, -1, -1, -1), (-1.0, -1, -1, 0.2, 0.2, 0.2), (-1.0, -1, -1, -1, 1, -1))
    ]

    def changes():
        return [decoder.first_layer(z, c) - decoder.first_layer(z, neutral) for c in codes]

    start, before, x_hat = decoder.first_layer(z, neutral), changes(), decoder(z, codes[0])
    torch.testing.assert_close(decoder.from_first_layer(decoder.first_layer(z, codes[0]), codes[0]), x_hat)
    decoder.emphasize(torch.tensor([1.5, 2.0]))
    torch.testing.assert_close(decoder.first_layer(z, neutral), start, atol=1e-5, rtol=0)
    for change, factor, old in zip(changes(), (1.5, 2.0, 2.0), before, strict=True):
        torch.testing.assert_close(change, factor * old, atol=1e-4, rtol=1e-4)

    emphasised, shifts = changes(), torch.randn(6, len(start[0]))
    decoder.shift_elements(shifts)
    torch.testing.assert_close(decoder.first_layer(z, neutral), start, atol=1e-5, rtol=0)
    added = [change - old for change, old in zip(changes(), emphasised, strict=True)]
    for part, expected in zip(added, (shifts[:3].mean(0), 0.6 * shifts[3:].mean(0), shifts[4]), strict=True):
        torch.testing.assert_close(part, expected.expand_as(part), atol=1e-3, rtol=0)


def test_a_decoder_with_averaged_elements_keeps_equal_codes_and_shows_single_ones_in_full():
    torch.manual_seed(1)
    decoder, z = Decoder(64, 7, 6, 64), torch.rand(2, 7)
    equal, single = torch.tensor([[1.0, 1, 1, -1, -1, -1]] * 2), torch.tensor([[-1.0, 1, -1, -1, -1, -1]] * 2)
    neutral = -torch.ones(2, 6)
    before = decoder(z, equal), decoder(z, neutral)
    decoder.average_elements(3)
    decoder.pooled_numbers = 3
    for c, x_hat in ((equal, before[0]), (neutral, before[1]), (single, before[0])):
        torch.testing.assert_close(decoder(z, c), x_hat, atol=1e-4, rtol=0)


def test_the_layers_are_the_papers():
    encoder, decoder = Encoder(128, 50, 64), Decoder(128, 50, 30, 1024)
    assert [tuple(block.weight.shape) for block in encoder.blocks] == [
        (64, 3, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5), (512, 256, 5, 5), (1024, 512, 5, 5),
    ]  # fmt: skip
    assert encoder.fc.weight.shape == (50, 16 * 1024)
    assert decoder.fc.weight.shape == (16 * 1024, 50 + 8 * 30)
    assert [block.weight.shape[0] for block in decoder.blocks] == [512, 256, 128, 64, 32, 16, 3]
    assert [block.upsample for block in decoder.blocks] == [True] * 5 + [False] * 2
    assert all(block.weight.shape[1] == block.in_channels + 30 for block in decoder.blocks)


def test_the_discriminators_are_the_papers():
    discriminator = ImageDiscriminator(128, 6, 5, 16)
    assert [block.weight.shape[:2] for block in discriminator.blocks] == [
        (16, 3 + 6),
        (32, 16 + 6),
        (64, 32 + 6),
        (128, 64 + 6),
    ]
    assert discriminator.fc.weight.shape == (1024, 128 * 8 * 8 + 6)
    assert [branch[0].out_features for branch in discriminator.Q.branches] == [64] * 6
    assert [branch[-1].out_features for branch in discriminator.Q.branches] == [5] * 6
    linear = [m for m in LatentDiscriminator(50).layers if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [64, 32, 16, 1]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_other_sizes_work(size):
    z = Encoder(size, 9, 4)(torch.randn(2, 3, size, size))
    assert z.shape == (2, 9) and z.abs().max() <= 1
    x_hat = Decoder(size, 9, 10, 64)(z, torch.rand(2, 10))
    assert x_hat.shape == (2, 3, size, size) and x_hat.abs().max() <= 1
    logits, c_hat = ImageDiscriminator(size, 2, 5, 4)(x_hat, torch.eye(2))
    assert logits.shape == (2,) and c_hat.shape == (2, 10) and c_hat.abs().max() <= 1


def test_the_face_network_halves_its_maps_and_embeds_on_the_unit_sphere():
    network = FaceNetwork(6, width=2).eval()
    x = torch.randn(2, 3, 32, 32)
    assert [tuple(m.shape[1:]) for m in network.maps(x)] == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    logits, embedding, units = network(x)
    assert logits.shape == (2, 7) and units.shape == (2, 0, 2)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_a_face_network_with_that_head_reads_action_units_of_both_sides():
    network = FaceNetwork(6, width=2, size=64, num_units=3).eval()
    units = network(torch.randn(2, 3, 96, 96)).units
    assert units.shape == (2, 3, 2) and (units > 0).all()
    assert network(torch.randn(1, 3, 16, 16)).units.shape == (1, 3, 2)


def test_codes_are_read_from_a_grey_copy_of_varied_tone():
    torch.manual_seed(0)
    D_img = ImageDiscriminator(32, 6, 5, 8, features=32, grey_codes=True).eval()
    x, y = torch.rand(2, 3, 32, 32) - 0.5, torch.eye(6)[:2]
    tinted = x + torch.tensor([0.114, 0.0, -0.299])[:, None, None]  # of the same luma
    torch.testing.assert_close(D_img(x, y)[1], D_img(tinted, y)[1])
    assert (D_img(x, y)[0] - D_img(tinted, y)[0]).abs().min() > 1e-4
    tone = torch.tensor([0.7, 1.3]).view(2, 1, 1, 1), torch.tensor([0.2, -0.1]).view(2, 1, 1, 1)
    torch.testing.assert_close(D_img.read_code(x, y, tone), D_img.read_code(x * tone[0] + tone[1], y))
