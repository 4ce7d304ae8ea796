"""RQ-VAEs of kakaobrain/rq-vae-transformer, made from what their layers are, and filled by waves.

Nothing here comes from speechvq. The networks are those of VQGAN, layer for layer; each depth has a
codebook with a row of zeros behind it and moving averages, where they share it the very same tensors.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests import wavefill

from .taming_published import VQGAN, Shapes, vqgan

TINY_NETWORKS = VQGAN(ch=32, mult=(1, 2), blocks=1, attends=(1,), z=8, embed=8, resolution=16)


@dataclass(frozen=True)
class RQVAE:
    """Sizes, those of the published numbers by default."""

    networks: VQGAN = field(default=TINY_NETWORKS)
    codes: int = 16
    depth: int = 3
    shared: bool = True
    fold: int = 1

    @property
    def dim(self) -> int:
        return self.networks.embed * self.fold**2

    def yaml(self, **hparams: Any) -> dict[str, Any]:
        """What lies beside the file."""
        side = self.networks.resolution // 2 ** (len(self.networks.mult) - 1)
        own = {
            "bottleneck_type": "rq", "embed_dim": self.networks.embed, "n_embed": self.codes,
            "latent_shape": [side, side, self.networks.embed],
            "code_shape": [side // self.fold, side // self.fold, self.depth],
            "shared_codebook": self.shared, "decay": 0.99, "restart_unused_codes": True,
            "loss_type": "mse", "latent_loss_weight": 0.25,
        }  # fmt: skip
        ddconfig = self.networks.yaml()["params"]["ddconfig"]
        arch = {"type": "rq-vae", "code_hier": 1, "hparams": own | hparams, "ddconfig": ddconfig}
        return {"dataset": {"type": "imagenet"}, "arch": arch | {"checkpointing": True}}


TINY = RQVAE()


def networks(sizes: RQVAE) -> Shapes:
    """Encoder, decoder, and the 1x1 convolutions around the quantizer."""
    shapes = vqgan(sizes.networks)
    del shapes["quantize.embedding.weight"]
    return shapes


def books(sizes: RQVAE) -> Shapes:
    """The codebooks of all depths."""
    shapes: Shapes = {}
    for depth in range(sizes.depth):
        name = f"quantizer.codebooks.{depth}"
        shapes |= {
            f"{name}.weight": (sizes.codes + 1, sizes.dim),
            f"{name}.cluster_size_ema": (sizes.codes,),
            f"{name}.embed_ema": (sizes.codes, sizes.dim),
        }
    return shapes


def tensors(sizes: RQVAE = TINY) -> dict[str, Tensor]:
    """A whole state, in which shared codebooks are the very same tensors."""
    made = {name: wavefill.values(name, shape) for name, shape in networks(sizes).items()}
    for name, shape in books(sizes).items():
        first = name.replace(name.split(".")[2], "0", 1) if sizes.shared else name
        if first not in made:
            made[first] = wavefill.values(first, shape)
            if first.endswith("weight"):
                made[first][-1] = 0
        made[name] = made[first]
    return made


def write(folder: Path, state: dict[str, Tensor], config: dict[str, Any] | None = None, **more: Any) -> Path:
    """The file, and its yaml beside it unless there is none."""
    folder.mkdir(exist_ok=True)
    torch.save({"epoch": 9, "state_dict": state, "optimizer": {"state": {}}} | more, folder / "model.pt")
    if config is None:
        (folder / "config.yaml").unlink(missing_ok=True)
    else:
        OmegaConf.save(config, folder / "config.yaml")
    return folder / "model.pt"
