"""RQ-Transformers of kakaobrain/rq-vae-transformer, made from what their layers are, and filled by waves.

Nothing here comes from speechvq: names and shapes are written down layer by layer, so that agreement with
the bridge's map of names means something.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tests.wavefill import values

type Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Published:
    """Sizes, those of the published numbers by default."""

    width: int = 32
    heads: int = 4
    body: int = 2
    head: int = 1
    block: tuple[int, int, int] = (2, 2, 3)
    codes: int = 16
    channels: int = 8
    words: int = 5
    length: int = 1
    shared: bool = True

    def arch(self, **more: Any) -> dict[str, Any]:
        """The "arch" of its yaml."""
        stacks = {
            name: {"n_layer": count, "block": {"n_head": self.heads}}
            for name, count in (("body", self.body), ("head", self.head))
        }
        flags = ("input_emb_vqvae", "head_emb_vqvae", "cumsum_depth_ctx", "shared_tok_emb")
        sizes = {"embed_dim": self.width, "input_embed_dim": self.channels, "vocab_size": self.codes}
        told = {"vocab_size_cond": self.words, "block_size_cond": self.length, "shared_cls_emb": self.shared}
        arch = {"type": "rq-transformer", "block_size": list(self.block)} | sizes | told
        return arch | dict.fromkeys(flags, True) | stacks | more

    def shapes(self) -> Shapes:
        rows, columns, depth = self.block
        wide, shapes = self.width, {}
        for name, count in (("cond", self.length), ("hw", rows * columns), ("d", depth)):
            shapes[f"pos_emb_{name}"] = (1, count, wide)
        shapes["cond_emb.weight"] = (self.words, wide)
        shapes |= both("input_mlp", wide, self.channels) | both("head_mlp", wide, self.channels)
        for stack, count in (("body", self.body), ("head", self.head)):
            for i in range(count):
                name = f"{stack}_transformer.blocks.{i}"
                shapes |= both(f"{name}.ln1", wide) | both(f"{name}.ln2", wide)
                for part in ("key", "query", "value", "proj"):
                    shapes |= both(f"{name}.attn.{part}", wide, wide)
                shapes |= both(f"{name}.mlp.0", 4 * wide, wide) | both(f"{name}.mlp.2", wide, 4 * wide)
        shapes |= both("classifier.layer_norm", wide)
        if self.shared:
            shapes |= both("classifier.linear", self.codes, wide)
        else:
            shapes |= {"classifier.linear.weight": (depth, wide, self.codes)}
            shapes |= {"classifier.linear.bias": (depth, self.codes)}
        if self.length > 1:
            shapes |= both("cond_classifier.layer_norm", wide)
            shapes |= both("cond_classifier.linear", self.words, wide)
        return shapes

    def tensors(self) -> dict[str, Tensor]:
        return {name: values(name, shape) for name, shape in self.shapes().items()}

    def vectors(self) -> Tensor:
        """Of the RQ-VAE, without its row for none."""
        return values("quantizer.codebooks.0.weight", (self.codes + 1, self.channels))[:-1]


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
