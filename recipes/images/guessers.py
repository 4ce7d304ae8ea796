"""Small networks that guess depth, or classes, from a frame: trained on real frames, they judge made ones."""

import torch
import torch.nn.functional as F
from splits import shuffled
from torch import Tensor, nn
from tqdm import tqdm

from speechvq.image.data import PictureData


class Guesser(nn.Module):
    """Frames (B, 3, H, W) to maps (B, outputs, H, W): down three times and up again, with shortcuts."""

    def __init__(self, outputs: int, width: int = 24) -> None:
        """``width`` channels at full resolution, twice as many after each step down."""
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.leave = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        seen = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            seen.append(x)
        for block, shortcut in zip(self.up, seen[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, size=shortcut.shape[2:]), shortcut], 1))
        return self.leave(x)


def _block(before: int, after: int) -> nn.Sequential:
    first, second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.GroupNorm(8, after), nn.ReLU(), second, nn.GroupNorm(8, after), nn.ReLU())


def learn(data: PictureData, kind: str, outputs: int, *, steps: int, size: int = 16) -> Guesser:
    """A guesser of "depth" (least absolute error) or "segmentation" (cross-entropy)."""
    torch.manual_seed(0)
    model = Guesser(outputs)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for batch in tqdm(shuffled(data, steps, size), f"guesser of {kind}", total=steps):
        said, wanted = model(batch.signal), batch.condition[kind]
        loss = F.cross_entropy(said, wanted) if kind == "segmentation" else F.l1_loss(said, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    return model.eval()
