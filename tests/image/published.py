"""The names of the published VQGAN's tensors, for the hash that fills them: ours to theirs."""

from pathlib import Path

import torch

from speechvq.bridge.taming_names import codec_name
from speechvq.losses.lpips import LPIPS

from ..hashfill import fill

__all__ = ["codec_name", "lpips_name", "write_lpips"]
VGG_SLICES = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5}


def lpips_name(own: str) -> str:
    """A tensor of LPIPS as part of the published loss."""
    part, place, leaf = own.split(".")
    if part == "linear":
        return f"perceptual_loss.lin{place}.model.1.{leaf}"
    return f"perceptual_loss.net.slice{VGG_SLICES[int(place)]}.{place}.{leaf}"


def write_lpips(folder: Path) -> tuple[Path, Path]:
    """Hash-filled weights as torchvision (with a classifier) and LPIPS publish theirs."""
    net = LPIPS()
    fill(net, lpips_name)
    vgg, linear = {"classifier.6.bias": torch.zeros(1000)}, {}
    for own, tensor in net.state_dict().items():
        part, place, leaf = own.split(".")
        if part == "features":
            vgg[own] = tensor
        else:
            linear[f"lin{place}.model.1.{leaf}"] = tensor
    torch.save(vgg, folder / "vgg16.pth")
    torch.save(linear, folder / "vgg.pth")
    return folder / "vgg16.pth", folder / "vgg.pth"
