"""A published file in diffusers and in ours, where diffusers happens to be installed: the same pictures."""

import re
from pathlib import Path

import pytest
import torch

from speechvq.bridge.taming import import_taming
from speechvq.codec import Codec
from speechvq.image.vqgan import VQGANDecoder

from .taming_published import SMALL, filled, vqgan, write

RULES = (
    (r"\.down\.(\d)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d)\.attn\.", r".down_blocks.\1.attentions."),
    (r"\.down\.(\d)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d)\.attn\.", r".up_blocks.\1.attentions."),
    (r"\.up\.(\d)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"nin_shortcut", "conv_shortcut"),
    (r"norm_out", "conv_norm_out"),
)
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def renamed(name: str) -> str:
    name = re.sub(r"\.up\.(\d)\.", lambda found: f".up.{len(SMALL.mult) - 1 - int(found[1])}.", name)
    for theirs, peer in RULES:
        name = re.sub(theirs, peer, name)
    if ".attentions." in name:
        before, part, leaf = name.rsplit(".", 2)
        name = f"{before}.{ATTENTION[part]}.{leaf}"
    return name


@torch.no_grad()
def test_diffusers_makes_the_same_pictures(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    plain = len(SMALL.mult) - 1
    peer = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * plain + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * plain,
        block_out_channels=tuple(SMALL.ch * times for times in SMALL.mult),
        layers_per_block=SMALL.blocks,
        latent_channels=SMALL.z,
        vq_embed_dim=SMALL.embed,
        num_vq_embeddings=SMALL.codes,
    ).eval()
    tensors = filled(vqgan(SMALL))
    state = {renamed(name): tensor for name, tensor in tensors.items()}
    shapes = {name: tensor.shape for name, tensor in peer.state_dict().items()}
    peer.load_state_dict({name: tensor.reshape(shapes[name]) for name, tensor in state.items()})
    codec = import_taming(write(tmp_path / "last.ckpt", tensors))
    assert isinstance(codec, Codec)
    assert isinstance(codec.decoder, VQGANDecoder)
    picture = torch.rand(2, 3, 64, 96) * 2 - 1
    latents = peer.encode(picture).latents
    torch.testing.assert_close(codec.encoder(picture), latents, atol=1e-4, rtol=1e-4)
    made = codec.decoder(codec.quantizer.decode(codec.encode(picture).indices))
    torch.testing.assert_close(made, peer.decode(latents).sample, atol=1e-4, rtol=1e-4)
