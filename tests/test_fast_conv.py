"""The fast forms of the convolutions against their plain forms: values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from exprgan.models.fast_conv import add_constant_maps, patch_products, upsampled_products, upsampling_kernel


def random_leaf(*shape):
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def assert_equal(fast, plain, leaves):
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    probe = torch.randn_like(fast)
    gradients = [torch.autograd.grad(form, leaves, probe) for form in (fast, plain)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2)])
def test_constant_maps(kernel, stride, side):
    torch.manual_seed(0)
    out, weight, values = (
        random_leaf(2, 4, side // stride, side // stride),
        random_leaf(4, 3, kernel, kernel),
        random_leaf(2, 3),
    )
    maps = values[:, :, None, None].expand(-1, -1, side, side)
    plain = out + F.conv2d(maps, weight, stride=stride, padding=kernel // 2)
    assert_equal(add_constant_maps(out.clone(), weight, values), plain, (out, weight, values))


def test_constant_maps_can_be_differentiated_twice():
    """R1 on D_img differentiates a gradient."""
    torch.manual_seed(0)
    out, weight, values = random_leaf(1, 2, 4, 4), random_leaf(2, 3, 3, 3), random_leaf(1, 3)
    torch.autograd.gradgradcheck(
        lambda *inputs: add_constant_maps(inputs[0].clone(), *inputs[1:]).square(), (out, weight, values)
    )


def test_upsampling_kernel():
    torch.manual_seed(0)
    h, weight = random_leaf(2, 5, 4, 4), random_leaf(6, 5, 3, 3)
    fast = F.conv_transpose2d(h, upsampling_kernel(weight), stride=2, padding=1)
    assert_equal(fast, F.conv2d(F.interpolate(h, scale_factor=2.0), weight, padding=1), (h, weight))


@pytest.mark.parametrize("side", [1, 2, 4])
def test_upsampled_products(side):
    torch.manual_seed(0)
    h, weight = random_leaf(2, 5, side, side), random_leaf(6, 5, 3, 3)
    plain = F.conv2d(F.interpolate(h, scale_factor=2.0), weight, padding=1)
    assert_equal(upsampled_products(h, weight), plain, (h, weight))


@pytest.mark.parametrize("side", [2, 4, 8])
def test_patch_products(side):
    torch.manual_seed(0)
    x, weight, bias = random_leaf(2, 5, side, side), random_leaf(6, 5, 5, 5), random_leaf(6)
    assert_equal(patch_products(x, weight, bias), F.conv2d(x, weight, bias, stride=2, padding=2), (x, weight, bias))


def test_products_follow_autocast_and_gradients_have_the_type_of_the_weights():
    h, weight = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = upsampled_products(h, weight)
    assert out.dtype == torch.bfloat16 and upsampled_products(h, weight).dtype == torch.float32
    out.float().sum().backward()
    assert weight.grad.dtype == torch.float32
