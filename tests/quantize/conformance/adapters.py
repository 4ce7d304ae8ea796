"""Any quantizer behind one face: what the checks ask for, ours, and vector-quantize-pytorch's.

Vectors are channels-last here, (B, N, D), indices (B, N, K), masks (B, N) True where valid.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechvq.quantize import (
    GroupedQuantizer,
    Learning,
    ResidualQuantizer,
    Revival,
    Space,
    Start,
    VectorQuantizer,
)


@dataclass(frozen=True)
class Plan:
    """The quantizer that a check needs."""

    dim: int = 8
    size: int = 16
    depth: int = 0
    """Codebooks of a residual stack; 0 is plain vector quantization."""
    heads: int = 1
    """Parts the channels are split into, each with codes of its own."""
    width: int | None = None
    """Channels of a code, with linear layers in and out."""
    cosine: bool = False
    kmeans: bool = False
    revive: bool = False
    learnable: bool = False
    decay: float = 0.99
    commitment: float = 0.25
    image: bool = False
    """Vectors come as (B, D, H, W) and indices as (B, H, W, K)."""


class Ours(nn.Module):
    """This library."""

    def __init__(self, plan: Plan):
        super().__init__()
        settings = {
            "space": Space(dim=plan.width, metric="cosine" if plan.cosine else "euclidean"),
            "learning": Learning(
                by="gradient" if plan.learnable else "ema", decay=plan.decay, commitment=plan.commitment
            ),
            "start": Start(by="kmeans" if plan.kmeans else "normal"),
            "revival": Revival(threshold=0.2, decay=0.5) if plan.revive else Revival(threshold=0),
        }
        if plan.depth:
            self.quantizer = ResidualQuantizer(plan.dim, plan.size, plan.depth, **settings)
        elif plan.heads > 1:
            self.quantizer = GroupedQuantizer(plan.dim, plan.size, plan.heads, **settings)
        else:
            self.quantizer = VectorQuantizer(plan.dim, plan.size, **settings)
        self.plan = plan

    def forward(self, x, mask=None):
        out = self.quantizer(x if self.plan.image else x.movedim(-1, 1), mask)
        vectors = out.vectors if self.plan.image else out.vectors.movedim(1, -1)
        return vectors, out.indices.movedim(1, -1), sum(out.losses.values())

    def decode(self, indices):
        return self.quantizer.decode(indices.movedim(-1, 1)).movedim(1, -1)

    def book(self, level=0):
        return self.quantizer.codebooks[level] if self.plan.depth else self.quantizer.codebook

    def codebook(self, level=0):
        return self.book(level).vectors

    def set_codebook(self, codes, level=0):
        self.book(level).restart(codes)

    def statistics(self, level=0):
        return self.book(level).counts, self.book(level).sums


class Peer(nn.Module):
    """vector-quantize-pytorch with the plain straight-through gradient."""

    def __init__(self, plan: Plan):
        super().__init__()
        import vector_quantize_pytorch as vqp

        settings = {
            "dim": plan.dim,
            "codebook_size": plan.size,
            "codebook_dim": plan.dim // plan.heads if plan.heads > 1 else plan.width,
            "use_cosine_sim": plan.cosine,
            "kmeans_init": plan.kmeans,
            "threshold_ema_dead_code": 2 if plan.revive else 0,
            "learnable_codebook": plan.learnable,
            "ema_update": not plan.learnable,
            "decay": plan.decay,
            "commitment_weight": plan.commitment,
            "accept_image_fmap": plan.image,
            "rotation_trick": False,
        }
        if plan.depth:
            self.quantizer = vqp.ResidualVQ(num_quantizers=plan.depth, **settings)
        else:
            heads = {"heads": plan.heads, "separate_codebook_per_head": plan.heads > 1}
            self.quantizer = vqp.VectorQuantize(**settings, **heads)
        self.plan = plan
        self.one = not plan.depth and plan.heads == 1

    def forward(self, x, mask=None):
        vectors, indices, loss = self.quantizer(x, mask=mask)
        return vectors, indices[..., None] if self.one else indices, loss.mean() if self.plan.depth else loss

    def decode(self, indices):
        return self.quantizer.get_output_from_indices(indices[..., 0] if self.one else indices)

    def book(self, level=0):
        return self.quantizer.layers[level]._codebook if self.plan.depth else self.quantizer._codebook

    def codebook(self, level=0):
        return self.book(level).embed[0]

    @torch.no_grad()
    def set_codebook(self, codes, level=0):
        book = self.book(level)
        book.embed[0], book.embed_avg[0] = codes, codes
        book.cluster_size.fill_(1)
        book.initted.fill_(True)

    def statistics(self, level=0):
        return self.book(level).cluster_size[0], self.book(level).embed_avg[0]


SIDES = {"ours": Ours, "vector-quantize-pytorch": Peer}
