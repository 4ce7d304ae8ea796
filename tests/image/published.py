"""The names of the published VQGAN's tensors, for the hash that fills them: ours to theirs."""

import re
from pathlib import Path

import torch

from speechvq.losses.lpips import LPIPS

from ..hashfill import fill

ENCODER = ((r"^enter\.", "conv_in."), (r"^levels\.(\d+)\.", r"down.\1."), (r"\.resample\.", ".downsample."))
DECODER = ((r"^enter\.", "conv_in."), (r"^levels\.(\d+)\.", r"up.\1."), (r"\.resample\.", ".upsample."))
BOTH = (
    (r"\.blocks\.(\d+)\.", r".block.\1."),
    (r"\.attention\.(\d+)\.", r".attn.\1."),
    (r"^middle\.0\.", "mid.block_1."),
    (r"^middle\.1\.", "mid.attn_1."),
    (r"^middle\.2\.", "mid.block_2."),
    (r"\.shortcut\.", ".nin_shortcut."),
    (r"\.out\.", ".proj_out."),
    (r"^norm\.", "norm_out."),
    (r"^leave\.", "conv_out."),
)
QUANTIZER = {
    "codebook.vectors": "quantize.embedding.weight",
    "vectors": "quantize.embed.weight",
    "logits.weight": "quantize.proj.weight",
    "logits.bias": "quantize.proj.bias",
}
VGG_SLICES = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5}


def codec_name(own: str) -> str | None:
    """A codec's tensor; None for what the published model has not."""
    part, _, name = own.partition(".")
    if part == "quantizer":
        return QUANTIZER.get(name)
    if name.startswith("project."):
        return name.replace("project", "quant_conv" if part == "encoder" else "post_quant_conv")
    for ours, theirs in (*(ENCODER if part == "encoder" else DECODER), *BOTH):
        name = re.sub(ours, theirs, name)
    return f"{part}.{name}"


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
