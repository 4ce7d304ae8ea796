"""A critic of pictures that judges patches: PatchGAN (Isola et al., "pix2pix", 2017, section 3.2.2).

4x4 convolutions, of stride 2 but for the last two; each score sees a patch of 16, 34, 70 or 142 pixels
a side for 1 to 4 strided layers. As in Esser, Rombach and Ommer (2021). Maps are (B, C, h, w).
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.nets.critic import Judgement

NORMS = ("batch", "act")
SLOPE = 0.2


class ActNorm(nn.Module):
    """A shift and then a scale for each channel, which make the first training batch standard.

    Kingma and Dhariwal, "Glow" (2018), section 3.1. Buffer ``started``: whether that batch was seen.
    """

    started: Tensor

    def __init__(self, channels: int) -> None:
        """``loc`` and ``scale`` are parameters (1, channels, 1, 1)."""
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to scale * (x + loc)."""
        if self.training and not self.started:
            self._start(x.detach().float())
        return self.scale * (x + self.loc)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
        self.scale.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-6))
        self.started.fill_(True)


class PatchCritic(nn.Module):
    """One score for every patch, high where it looks real."""

    def __init__(self, layers: int = 3, *, channels: int = 3, width: int = 64, norm: str = "batch") -> None:
        """Build it, with weights drawn from N(0, 0.02).

        Args:
            layers: strided ones, 1 to 4 in the papers; a patch is 9 * 2 ** layers - 2 pixels a side.
            channels: of the pictures.
            width: channels after the first layer; they double with each, up to 8 times as many.
            norm: "batch" or "act" normalisation.

        Raises:
            BadSetting: another norm, or a number below 1.
        """
        super().__init__()
        if norm not in NORMS:
            raise BadSetting(f"a critic of patches has norm {' or '.join(NORMS)}, not {norm!r}")
        if min(layers, channels, width) < 1:
            raise BadSetting(
                f"a critic of patches needs layers, channels, width above 0, not {(layers, channels, width)}"
            )
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        wide = width
        for layer in range(1, layers + 1):
            before, wide = wide, width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            # A batch norm has a shift of its own, so the convolution before it needs none.
            parts.append(nn.Conv2d(before, wide, 4, stride, 1, bias=norm == "act"))
            parts += [nn.BatchNorm2d(wide) if norm == "batch" else ActNorm(wide), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*parts, nn.Conv2d(wide, 1, 4, 1, 1))
        self.receptive_field, self.least = 9 * 2**layers - 2, 3 * 2**layers
        self.apply(_begin)

    def forward(self, picture: Tensor, mask: Tensor | None = None) -> list[Judgement]:
        """(B, C, H, W) and ``mask`` (B, H, W), True where valid, to one `Judgement`.

        Outside the mask the picture is made grey (0) before it is looked at.

        Raises:
            BadSetting: the picture is too small for one score.
        """
        if min(picture.shape[-2:]) < self.least:
            raise BadSetting(
                f"pictures of {tuple(picture.shape[-2:])} pixels are too small for this critic of patches, "
                f"which needs {self.least} a side; give larger ones, or a critic of fewer layers"
            )
        x = picture if mask is None else picture * mask[:, None]
        features = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                features.append(x)
        return [Judgement(x, tuple(features), None if mask is None else mask[:, None].float())]


def _begin(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, 0.0, 0.02)
    if isinstance(part, nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)
        nn.init.zeros_(part.bias)
