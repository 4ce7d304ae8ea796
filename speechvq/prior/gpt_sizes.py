"""Sizes of the transformer of `speechvq.prior.gpt` by name: three of ours, and those of the papers.

"Taming Transformers for High-Resolution Image Synthesis" (Esser et al. 2021, table 8), 16 heads everywhere,
and "High-Resolution Complex Scene Synthesis with Transformers" (Jahn et al. 2021). In the first two rows of
that table width and codebook size stand in one another's place for RIN and D-RINv1: what is here gives the
number of parameters that the table says. The reach is the longest row, conditions included.
"""

from dataclasses import replace

from speechvq.nets.transformer import Depth

_PAPER = Depth(layers=24, width=1024, heads=16, reach=512, positions="learned")

SIZES = {
    "tiny": replace(_PAPER, layers=4, width=128, heads=4),
    "small": replace(_PAPER, layers=6, width=256, heads=8, dropout=0.1),
    "base": replace(_PAPER, layers=12, width=512, heads=8, dropout=0.1),
    "rin": replace(_PAPER, layers=12, width=768),
    "c-rin": replace(_PAPER, layers=18, width=768, reach=257),
    "d-rin-v1": replace(_PAPER, layers=14),
    "d-rin": _PAPER,
    "imagenet": replace(_PAPER, reach=256),
    "c-imagenet": replace(_PAPER, reach=257),
    "c-imagenet-big": replace(_PAPER, layers=48, width=1536, reach=257),
    "imagenet-edges": _PAPER,
    "imagenet-sr": replace(_PAPER, layers=12),
    "s-flckr": _PAPER,
    "faceshq": _PAPER,
    "faces": replace(_PAPER, layers=28, reach=256),
    "faces-big": replace(_PAPER, width=1664, reach=256),
    "coco-stuff": replace(_PAPER, layers=32, width=1280),
    "ade20k": replace(_PAPER, layers=28, dropout=0.1),
    "deepfashion": replace(_PAPER, layers=18, width=768, reach=340),
    "lsun-churches": replace(_PAPER, reach=256),
    "cifar10": replace(_PAPER, reach=256),
    "coco-scenes": replace(_PAPER, layers=40, width=1408, reach=348, dropout=0.1),
    "openimages-scenes": replace(_PAPER, layers=36, width=1536, reach=348, dropout=0.1),
}
