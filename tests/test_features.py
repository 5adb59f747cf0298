"""phi of eq. 7: the maps of every source against a plain form, and the files of weights that are read or refused."""

import importlib.util
import pickle
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from exprgan.errors import WeightsError
from exprgan.models.networks import FaceNetwork
from train.gan.gan_losses import TrainBatch, identity
from train.perceptual import feature_maps
from train.perceptual.feature_maps import FEATURE_SOURCES, VGG_CONVS, VGG_LAYOUTS, VGG_MEAN, create_face_maps

CONV_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26)
"""Indices of the convolutions in torchvision's vgg16().features."""

LAYOUTS = {
    "conv1_1": ("rgb", 255, [f"conv{b}_{n}" for b, n in VGG_CONVS]),
    "conv_1_1": ("bgr", 255, [f"conv_{b}_{n}" for b, n in VGG_CONVS]),
    "features.conv_1_1, conv_2_2-conv": ("bgr", 255, [f"features.conv_{b}_{n}" for b, n in VGG_CONVS]),
    "conv1.convs.0": ("bgr", 1, [f"conv{b}.convs.{n - 1}" for b, n in VGG_CONVS]),
    "features.0": ("bgr", 255, [f"features.{i}" for i in CONV_INDICES]),
    "module.features.0": ("bgr", 255, [f"module.features.{i}" for i in CONV_INDICES]),
    "0": ("bgr", 255, [str(i) for i in CONV_INDICES]),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def classifier():
    """A face network with batch-norm statistics as after training: no mean is 0, no variance 1, one scale is negative."""
    torch.manual_seed(1)
    network = FaceNetwork(6, width=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.weight.data[0] *= -1
    return network.eval()


@pytest.fixture
def x():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture
def weights(monkeypatch):
    """Kernel and bias of a narrow VGG-16 by (block, number), for RGB in 0..255."""
    widths = (2, 3, 4, 5, 6)
    monkeypatch.setattr(feature_maps, "VGG_WIDTHS", widths)
    generator, weights, in_channels = torch.Generator().manual_seed(3), {}, 3
    for block, number in VGG_CONVS:
        width = widths[block - 1]
        kernel = torch.randn(width, in_channels, 3, 3, generator=generator) * (2 / (9 * in_channels)) ** 0.5
        weights[block, number], in_channels = (kernel, torch.randn(width, generator=generator) * 30), width
    return weights


def write_vgg(path, weights, layout):
    """Writes the weights in a layout, with the fully connected layers that such files have as well."""
    order, white, names = LAYOUTS[layout]
    tensors = {"fc8.weight": torch.zeros(2, 2), "classifier.0.weight": torch.zeros(2, 2)}
    for name, (kernel, bias) in zip(names, weights.values(), strict=True):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = kernel, bias
    first = tensors[f"{names[0]}.weight"] * (255 / white)
    tensors[f"{names[0]}.weight"] = first.flip(1) if order == "bgr" else first
    if "-conv" in layout:
        tensors = {key.replace("conv_2_2", "conv_2_2-conv"): tensor for key, tensor in tensors.items()}
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return str(path)


def vgg_maps(x, weights):
    """The maps as Parkhi et al. define them, for images in 0..255."""
    h, maps = (x + 1) * 127.5 - torch.tensor(VGG_MEAN)[:, None, None], []
    for (block, number), (kernel, bias) in weights.items():
        h = F.max_pool2d(h, 2) if block > 1 and number == 1 else h
        h = F.relu(F.conv2d(h, kernel, bias, padding=1))
        maps += [h] if number == 2 else []
    return maps


def relative_error(a, b):
    return ((a - b).norm() / b.norm()).item()


def maps_and_gradient(network, x):
    x = x.clone().requires_grad_(True)
    maps = network(x)
    torch.stack([(m * torch.linspace(0, 1, m.shape[-1])).mean() for m in maps]).sum().backward()
    return [m.detach() for m in maps], x.grad


def test_the_folded_network_equals_the_classifier(classifier, x):
    (folded, folded_grad), (plain, plain_grad) = (
        maps_and_gradient(create_face_maps("local", classifier), x),
        maps_and_gradient(classifier.requires_grad_(False).maps, x),
    )
    assert [m.shape for m in folded] == [m.shape for m in plain] and len(folded) == 5
    for a, b in zip([*folded, folded_grad], [*plain, plain_grad], strict=True):
        assert relative_error(a, b) < 1e-5


def test_its_rounding_errors_in_bf16_are_no_larger(classifier, x):
    exact = classifier.maps(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        folded, plain = create_face_maps("local", classifier)(x), classifier.maps(x)
    for a, b, e in zip(folded, plain, exact, strict=True):
        assert relative_error(a.float(), e) < 1.5 * relative_error(b.float(), e) + 0.005 < 0.05


def test_the_maps_are_of_a_copy_of_the_classifier(classifier, x):
    maps = create_face_maps("local", classifier.train())
    assert classifier.training and all(p.requires_grad for p in classifier.parameters())
    before = maps(x)[-1]
    classifier.blocks[0][0].weight.data.zero_()
    assert torch.equal(maps(x)[-1], before)


def test_the_maps_are_frozen(classifier, x):
    maps = create_face_maps("local", classifier)
    assert not maps.train().training and not any(module.training for module in maps.modules())
    maps_and_gradient(maps, x)
    assert not any(p.requires_grad or p.grad is not None for p in maps.parameters())


def test_larger_images_are_averaged_down(classifier, x):
    maps = create_face_maps("local", classifier, sizes=(16,))
    for a, b in zip(maps(x), maps(F.avg_pool2d(x, 2)), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    with pytest.raises(ValueError, match="size must be at least 16 px for this face network, not 8"):
        create_face_maps("local", classifier, sizes=(8,))
    with pytest.raises(ValueError, match="needs pictures of at least 16 px, not 8"):
        maps(x[..., :8, :8])


def test_the_loss_at_several_sizes_is_the_mean_over_them(classifier, x):
    def identity_loss(*sizes):
        batch = TrainBatch(None, create_face_maps("local", classifier, sizes=sizes), x, None, None, None)
        batch.x_hat = x.flip(3)
        return identity(batch)

    assert len(create_face_maps("local", classifier, sizes=(32, 16))(x)) == 10
    assert torch.allclose(identity_loss(32, 16), (identity_loss(32) + identity_loss(16)) / 2)


def test_an_unknown_source_is_an_error_that_lists_the_sources(classifier):
    assert list(FEATURE_SOURCES) == ["local", "vggface", "facenet"]
    with pytest.raises(ValueError, match="no face network 'vgg'; choose from local, vggface, facenet"):
        create_face_maps("vgg", classifier)
    with pytest.raises(ValueError, match="channels must be rgb, bgr or empty, not 'grb'"):
        create_face_maps("vggface", classifier, channels="grb")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vggface_reads_every_layout(classifier, x, weights, tmp_path, layout):
    maps = create_face_maps("vggface", classifier, file=write_vgg(tmp_path / "vgg.pth", weights, layout))
    assert not any(p.requires_grad for p in maps.parameters())
    for actual, expected in zip(maps(x), vgg_maps(x, weights), strict=True):
        assert relative_error(actual, expected / 127.5) < 1e-5


def test_every_layout_is_tested():
    assert len(VGG_LAYOUTS) == len({(order, white, names[0].split(".")[-1]) for order, white, names in LAYOUTS.values()})


def test_vggface_reads_safetensors_checkpoints_and_the_other_order(classifier, x, weights, tmp_path):
    expected = vgg_maps(x, weights)[0] / 127.5
    safe = write_vgg(tmp_path / "vgg.safetensors", weights, "features.0")
    assert relative_error(create_face_maps("vggface", classifier, file=safe)(x)[0], expected) < 1e-5
    assert relative_error(create_face_maps("vggface", classifier, file=safe, channels="rgb")(x)[0], expected) > 0.01
    plain = torch.load(write_vgg(tmp_path / "vgg.pth", weights, "conv1_1"))
    torch.save({"epoch": 3, "state_dict": {key: tensor.half() for key, tensor in plain.items()}}, tmp_path / "run.pt")
    maps = create_face_maps("vggface", classifier, file=str(tmp_path / "run.pt"), channels="rgb")
    assert relative_error(maps(x)[0], expected) < 1e-2 and maps(x)[0].dtype == torch.float32


def test_vggface_has_the_published_widths(classifier, tmp_path):
    torch.save({"conv1_1.weight": torch.zeros(64, 3, 3, 3), "conv1_1.bias": torch.zeros(64)}, tmp_path / "vgg.pth")
    assert feature_maps.VGG_WIDTHS == (64, 128, 256, 512, 512)
    with pytest.raises(WeightsError, match=r"vgg.pth lacks conv1_2.weight \(and 21 more\)"):
        create_face_maps("vggface", classifier, file=str(tmp_path / "vgg.pth"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("conv4_2.bias"), r"lacks conv4_2.bias \(and 0 more\)"),
        (lambda t: t.update({"conv2_1.weight": torch.zeros(3, 2, 5, 5)}), r"conv2_1.weight in .* is \(3, 2, 5, 5\) inst"),
        (lambda t: t["conv5_1.bias"].fill_(torch.nan), "conv5_1.bias in .* holds NaN"),
        (lambda t: [t.pop(key) for key in list(t) if "conv" in key], "holds classifier.0.weight, fc8.weight, not conv1_1"),
        (lambda t: t.update({"conv1_1.weight": 3}), "of more than tensors"),
    ],
)  # fmt: skip
def test_a_file_of_another_network_is_refused(classifier, weights, tmp_path, damage, message):
    file = write_vgg(tmp_path / "vgg.pth", weights, "conv1_1")
    tensors = torch.load(file)
    damage(tensors)
    torch.save(tensors, file)
    with pytest.raises(WeightsError, match=message):
        create_face_maps("vggface", classifier, file=file)


class MaliciousPickle:
    """Calls a function when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("the file was run",)


def test_a_missing_file_a_damaged_one_and_a_pickle_are_refused(classifier, tmp_path):
    for source in ("vggface", "facenet"):
        with pytest.raises(WeightsError, match=r"there is no file .*none.pth.*; name one that exists"):
            create_face_maps(source, classifier, file=str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="vggface needs a file"):
        create_face_maps("vggface", classifier)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "cut.safetensors").write_bytes(b"cut off")
    (tmp_path / "pickled.pth").write_bytes(pickle.dumps({"conv1_1.weight": MaliciousPickle()}, protocol=2))
    torch.save({"conv1_1.weight": MaliciousPickle()}, tmp_path / "planted.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    for name in ("cut.pth", "pickled.pth", "planted.pth", "cut.safetensors", "list.pth"):
        with pytest.raises(WeightsError, match=r"damaged|list of more than tensors"):
            create_face_maps("vggface", classifier, file=str(tmp_path / name))


def test_facenet_from_a_local_file(classifier, tmp_path):
    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    torch.manual_seed(4)
    net = facenet_pytorch.InceptionResnetV1().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    torch.save({**net.state_dict(), "logits.weight": torch.zeros(2, 512)}, tmp_path / "facenet.pt")
    maps = create_face_maps("facenet", classifier, file=str(tmp_path / "facenet.pt"), sizes=(80,))
    x = torch.rand(1, 3, 80, 80) * 2 - 1
    taps = {name: [] for name in ("conv2d_2b", "conv2d_4a", "repeat_1", "repeat_2", "repeat_3")}
    for name, outputs in taps.items():
        getattr(net, name).register_forward_hook(lambda module, inputs, output, outputs=outputs: outputs.append(output))
    with torch.no_grad():
        net(facenet_pytorch.fixed_image_standardization((x + 1) * 127.5))
    actual, gradient = maps_and_gradient(maps, x)
    for a, (b,) in zip(actual, taps.values(), strict=True):
        assert a.shape == b.shape and relative_error(a, b) < 1e-4
    assert gradient.abs().sum() > 0 and not any(p.requires_grad or p.grad is not None for p in maps.parameters())
    with pytest.raises(ValueError, match="at least 75 px"):
        create_face_maps("facenet", classifier, file=str(tmp_path / "facenet.pt"), sizes=(64,))
    torch.save({key: tensor for key, tensor in net.state_dict().items() if "last" not in key}, tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match=r"cut.pt lacks last_linear.weight"):
        create_face_maps("facenet", classifier, file=str(tmp_path / "cut.pt"))


def test_facenet_without_its_package_or_the_network(classifier, monkeypatch):
    class Offline:
        def __init__(self, pretrained):
            assert pretrained == "vggface2"
            raise OSError("no route to host")

    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    monkeypatch.setattr(facenet_pytorch, "InceptionResnetV1", Offline)
    with pytest.raises(WeightsError, match=r"could not be downloaded .no route to host.; name a file of them"):
        create_face_maps("facenet", classifier)
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)  # cannot be imported
    spec = importlib.util.spec_from_file_location("feature_maps_alone", feature_maps.__file__)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert len(alone.create_face_maps("local", classifier)(torch.zeros(1, 3, 16, 16))) == 5
    with pytest.raises(WeightsError, match="needs the package facenet-pytorch; install it, or choose local"):
        alone.create_face_maps("facenet", classifier)
