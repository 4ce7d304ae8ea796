"""One worker of `test_batch_norm`: the normalisations of encoders on its part of a batch.

    python two_workers_norm.py RANK WORLD STORE OUT

With one worker the norms are torch's own, of the whole batch.
"""

import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speechvq.image.conv import ConvEncoder, Shape
from speechvq.quantize.batch_norm import BatchNorm
from speechvq.speech.encoder import MelEncoder, StridedEncoder

CUT = 3  # of the 8 examples; the other worker has 5
STEPS = 3
SHAPE = Shape(hidden=6, outer=4, residual=3, blocks=1, batch_norm=True)
ENCODERS = {
    "pictures": (lambda: ConvEncoder(5, colours=2, size=SHAPE, standardise=True), (2, 16, 16), (5, 4, 4)),
    "strided": (lambda: StridedEncoder(5, channels=6, strides=(2, 2)), (1, 32), (5, 8)),
    "bshall": (lambda: MelEncoder(5, layout="bshall", channels=6), (1, 3200), (5, 9)),
}
"""How each is made, and the shapes of one example and of what is wanted of it."""


def model(name: str, world: int) -> nn.Module:
    """The encoder of that name; norms of pictures are of both kinds, with weights and without."""
    torch.manual_seed(0)
    net = ENCODERS[name][0]()
    assert any(isinstance(part, BatchNorm) for part in net.modules())
    if world == 1:
        make = nn.BatchNorm2d if name == "pictures" else nn.BatchNorm1d
        for parent in list(net.modules()):
            for name, part in list(parent.named_children()):
                if isinstance(part, BatchNorm):
                    own = make(part.num_features, affine=part.affine)
                    own.load_state_dict(part.state_dict())
                    setattr(parent, name, own)
    return net


def train(name: str, rank: int, world: int) -> dict[str, Tensor]:
    """The state after some steps, and what comes out in training and afterwards."""
    net, (_, *shapes) = model(name, world), ENCODERS[name]
    stepped = net if world == 1 else DistributedDataParallel(net, broadcast_buffers=False)
    generator = torch.Generator().manual_seed(1)
    part = slice(None) if world == 1 else (slice(0, CUT), slice(CUT, None))[rank]
    made = torch.empty(0)
    for _ in range(STEPS):
        examples, wanted = (torch.randn(8, *shape, generator=generator) for shape in shapes)
        made = stepped(examples[part])
        loss = (made - wanted[part]).square().sum() * world / wanted.numel()
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in net.parameters():
                weight.sub_(weight.grad, alpha=0.3)
    still = net.eval()(torch.randn(2, *shapes[0], generator=generator))
    return net.state_dict() | {"made": made.detach(), "still": still.detach()}


def main() -> None:
    """Train and save what came out."""
    rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.save({name: train(name, rank, world) for name in ENCODERS}, out)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
