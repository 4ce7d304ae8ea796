"""How fast our RQ-Transformer writes codes, beside the published one, on one CPU core.

    python benchmarks/priors_rq.py [--peer FOLDER] [--sizes small,base] [--batches 1,16] [--json FILE]

FOLDER is a checkout of kakaobrain/rq-vae-transformer, of which nothing is installed: its transformer needs
omegaconf and tqdm. Its settings, dataclasses whose defaults are dataclasses, cannot be imported by Python
3.11 and later; here plain omegaconf settings, which is what it reads, stand in their place, so that nothing
of it has to be changed. Without FOLDER, ours is measured alone.

Both hold the same weights (random, seeded by the published name of each tensor; ours come in by
`speechvq.bridge.rqvae_prior`) and write 8 x 8 x 4 codes with their caches, top-k 250 and top-p 0.95. Before
anything is measured, both must say the same logits (to 1e-4) of the same codes, and write the same codes
where only the likeliest is drawn. The published code's look-up of a code's vector is one embedding here,
which is the least it can take. With one thread, times are of the process's CPU, which is wall time on an
idle core; the two take turns, the best of the rounds counts.
"""

import argparse
import json
import os
import sys
import time
import types
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from priors import machine
from torch import Tensor, nn

from speechvq.bridge.rqvae_prior import export_rqvae_prior, import_rqvae_prior
from speechvq.codec import Codes
from speechvq.nets.sampling import Sampling
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import Sizes

TOP_K, TOP_P, CLASSES = 250, 0.95, 10


@dataclass(frozen=True)
class Size:
    """A transformer and its codes.

    Attributes:
        body: blocks over places.
        head: blocks over depths.
        width: channels.
        heads: of the attention.
        codes: in the codebook.
        channels: of its vectors.
        block: rows, columns and depth of the codes.
    """

    body: int
    head: int
    width: int
    heads: int
    codes: int
    channels: int = 256
    block: tuple[int, int, int] = (8, 8, 4)


SIZES = {
    "toy": Size(1, 1, 32, 4, 300, 8, (2, 2, 2)),
    "small": Size(6, 4, 256, 8, 2048),
    "base": Size(12, 4, 512, 8, 2048),
    "ffhq": Size(24, 4, 1024, 16, 2048),
}


class Pair:
    """Our prior, the published one if there is a checkout of it, and how each is called."""

    def __init__(self, size: Size, peer: Path | None) -> None:
        """Both with the same weights."""
        rows, columns, depth = size.block
        sizes = Sizes(size.body, size.head, size.width, size.heads, dropout=0.1)
        labels = tuple(map(str, range(CLASSES)))
        shape = {"num_codebooks": depth, "grid": (rows, columns), "channels": size.channels, "labels": labels}
        empty = ResidualPrior(size.codes, size=sizes, **shape)
        state, arch = export_rqvae_prior(empty)
        state = {name: values(name, tuple(tensor.shape)) for name, tensor in state.items()}
        self.vectors = values("codebook", (size.codes, size.channels))
        self.size = size
        self.ours = import_rqvae_prior(state, {"arch": arch}, vectors=self.vectors)
        self.peer: Any = None if peer is None else published(peer, arch)
        if self.peer is not None:
            self.peer.load_state_dict(state)

    def write_ours(self, count: int, *, greedy: bool = False) -> Tensor:
        """Codes (count, rows, columns, depth)."""
        how = Sampling(temperature=0) if greedy else Sampling(top_k=TOP_K, top_p=TOP_P, seed=1)
        told = {"label": torch.arange(count) % CLASSES}
        return self.ours.generate(self.size.block[:2], told, how, count=count).indices.movedim(1, 3)

    def write_peer(self, count: int, *, greedy: bool = False) -> Tensor:
        """The same of the published code."""
        empty = torch.zeros(count, *self.size.block, dtype=torch.int64)
        told = torch.arange(count) % CLASSES
        top_k, top_p = (1, 1.0) if greedy else (TOP_K, TOP_P)
        return self.peer.sample(empty, self, cond=told, temperature=1.0, top_k=top_k, top_p=top_p)

    def get_code_emb_with_depth(self, codes: Tensor) -> tuple[Tensor, None]:
        """What the published transformer asks of its RQ-VAE: vectors (..., depth, channels) of codes."""
        return nn.functional.embedding(codes, self.vectors), None

    @torch.no_grad()
    def differ(self, count: int) -> float:
        """By how much the logits of the same codes differ at most; the likeliest codes must be the same."""
        codes, told = self.write_ours(count), torch.arange(count) % CLASSES
        ours = self.ours.logits(Codes(codes.movedim(3, 1)), {"label": told}).movedim(1, 3)
        most = float((ours - self.peer(codes, self, cond=told)).abs().max())
        assert most < 1e-4, f"the two say other logits, by {most}"
        same = torch.equal(self.write_ours(count, greedy=True), self.write_peer(count, greedy=True))
        assert same, "the two write other codes where only the likeliest is drawn"
        return most


def values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers seeded by the name: as large as keeps what goes through a layer as large as it was."""
    r = torch.rand(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()))) * 2 - 1
    if name.endswith("bias"):
        return 0.1 * r
    if len(shape) == 1:
        return 1 + 0.1 * r
    return r if "emb" in name or name == "codebook" else r * (3 / shape[-1]) ** 0.5


def published(folder: Path, arch: dict[str, Any]) -> nn.Module:
    """The transformer of a checkout, in evaluation mode, its weights yet to come."""
    from omegaconf import OmegaConf

    if not (folder / "rqvae/models/rqtransformer/transformers.py").is_file():
        sys.exit(f"{folder} is no checkout of kakaobrain/rq-vae-transformer")
    settings = types.ModuleType("rqvae.models.rqtransformer.configs")
    for name in ("AttentionBlockConfig", "AttentionStackConfig", "RQTransformerConfig"):
        setattr(settings, name, type(name, (), {}))
    sys.modules[settings.__name__] = settings
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    from rqvae.models.rqtransformer.transformers import RQTransformer  # type: ignore

    usual = {
        "embed_dim": arch["embed_dim"],
        "mlp_bias": True,
        "attn_bias": True,
        "attn_pdrop": 0.0,
        "gelu": "v1",
    }
    stacks = {name: arch[name] | {"block": usual | arch[name]["block"]} for name in ("body", "head")}
    # Told once a process, not at every step.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*autocast.*")
    return RQTransformer(OmegaConf.create(arch | stacks | {"embd_pdrop": 0.0})).eval()


def measure(pair: Pair, count: int, rounds: int) -> dict[str, Any]:
    """Seconds of both for ``count`` pictures' codes, in turn."""
    ways: dict[str, Callable[[int], Tensor]] = {"ours": pair.write_ours}
    row: dict[str, Any] = {"batch": count}
    if pair.peer is not None:
        ways["peer"] = pair.write_peer
        row["logits_differ"] = pair.differ(count)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for write in ways.values():
        write(count)  # what is made at the first call only
    for _ in range(rounds):
        for way, write in ways.items():
            begin = time.process_time()
            write(count)
            times[way].append(time.process_time() - begin)
    best = {way: min(spent) for way, spent in times.items()}
    row |= {f"{way}_seconds": seconds for way, seconds in best.items()}
    if "peer" in best:
        row["ratio"] = best["peer"] / best["ours"]
    return row | {"all_seconds": times}


def rows_of(sizes: list[str], batches: list[int], *, peer: Path | None, rounds: int) -> list[dict[str, Any]]:
    """All that is asked for, printed as it comes."""
    rows = []
    for name in sizes:
        pair = Pair(SIZES[name], peer)
        parameters = sum(p.numel() for p in pair.ours.parameters())
        for count in batches:
            row = {"prior": "residual", "size": name, "parameters": parameters} | asdict(SIZES[name])
            row |= measure(pair, count, rounds)
            rows.append(row)
            line = f"{name:6} {parameters / 1e6:5.1f} M parameters, batch {count:3}: "
            line += f"{row['ours_seconds']:6.2f} s ({count / row['ours_seconds']:.2f} pictures/s)"
            if "ratio" in row:
                line += f", the published code {row['peer_seconds']:6.2f} s: {row['ratio']:.2f} x"
            print(line, flush=True)
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--sizes", default="small,base")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sizes, batches = asked.sizes.split(","), [int(count) for count in asked.batches.split(",")]
    rows = rows_of(sizes, batches, peer=asked.peer, rounds=asked.rounds)
    print(f"one thread, {machine()}")
    if asked.json:
        found = {"rounds": asked.rounds, "top_k": TOP_K, "top_p": TOP_P, "machine": machine(), "rows": rows}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
