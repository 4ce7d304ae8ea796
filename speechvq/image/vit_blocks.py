"""Vision transformer: blocks in which every patch of a picture sees all others.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), with norms before each part, as encoder and
decoder of ViT-VQGAN (Yu et al. 2022, section 3.1). In each block

    h = x + W_o attention(LN x);   x' = h + W_2 f(W_1 LN h)

Shapes: B pictures, H x W patches, N = H W of them, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.image.vit_sizes import Shape


class Block(nn.Module):
    """Attention to all patches, and two layers of its own for each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, reading = shape.size, shape.reading
        self.heads, inner = size.heads, size.heads * reading.channels(size)
        self.before = nn.LayerNorm(size.width)
        self.look = nn.Linear(size.width, 3 * inner, bias=reading.bias)
        self.bring = nn.Linear(inner, size.width)
        self.between = nn.LayerNorm(size.width)
        self.widen = nn.Linear(size.width, size.hidden)
        self.narrow = nn.Linear(size.hidden, size.width)
        self.bend = torch.tanh if reading.tanh else F.gelu

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        batch, count, _ = x_BND.shape
        looks = self.look(self.before(x_BND)).view(batch, count, 3, self.heads, -1)
        seen = F.scaled_dot_product_attention(*looks.permute(2, 0, 3, 1, 4).unbind(0))
        x_BND = x_BND + self.bring(seen.transpose(1, 2).flatten(2))
        return x_BND + self.narrow(self.bend(self.widen(self.between(x_BND))))


class Patches(nn.Module):
    """Positions, the blocks, a norm, and the paper's last network: (B, H, W, D) to (B, H, W, D).

    ``places`` (1, grid * grid, D), in the order of reading, are the positions of the largest picture; a
    smaller one has those of its upper left corner, as if it lay there.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.grid, width = shape.grid, shape.size.width
        if shape.reading.learned:
            self.places = nn.Parameter(torch.randn(1, self.grid**2, width) * 0.02)
        else:
            self.places = nn.Parameter(waves(self.grid, width).flatten(0, 1)[None], requires_grad=False)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.size.blocks))
        self.norm = nn.LayerNorm(width)
        self.last: nn.Sequential | None = None
        if shape.reading.last:
            hidden = shape.size.hidden
            self.last = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """See above.

        Raises:
            BadSetting: more patches a side than there are positions of.
        """
        height, width = x_BHWD.shape[1:3]
        if max(height, width) > self.grid:
            raise BadSetting(
                f"a picture of {height} x {width} patches is larger than the {self.grid} a side that this "
                "vision transformer has positions of; make it smaller, or give a larger side"
            )
        places = self.places.view(self.grid, self.grid, -1)[:height, :width]
        x_BND = (x_BHWD + places).flatten(1, 2)
        for block in self.blocks:
            x_BND = block(x_BND)
        x_BND = self.norm(x_BND)
        if self.last is not None:
            x_BND = self.last(x_BND)
        return x_BND.unflatten(1, (height, width))


def waves(grid: int, width: int) -> Tensor:
    """Fixed positions (grid, grid, width).

    The first half of the channels tells the column, the other the row; each holds the sines and then the
    cosines of the place over 10000^(4 i / width).
    """
    rate = 10_000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], 1).float()
    return torch.cat([line.expand(grid, -1, -1), line[:, None].expand(-1, grid, -1)], 2)


def begin(module: nn.Module) -> None:
    """Linear layers and convolutions as Glorot and Bengio (2010), uniformly; biases at zero."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(part.weight.data.flatten(1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
