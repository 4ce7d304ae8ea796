"""The networks of a VQ-VAE over the codes of another: a whole grid of codes to one vector, and back.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.2, DM-Lab) has for a decoder a
PixelCNN that is told the vector. Sizes are ours, the paper has none.
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadCodes, BadSetting
from speechvq.losses.likelihood import categorical_nll
from speechvq.nets.pixelcnn import PixelCNN, Stacks
from speechvq.nets.pixelcnn_step import Steps
from speechvq.nets.sampling import Sampling, Uniforms, sample

LEAST = 5
"""Places a side down to which the encoder halves the grid."""


class CodesEncoder(nn.Module):
    """The codes (B, 1, H, W) of one picture to one vector (B, dim, 1, 1) that sees all of them."""

    def __init__(self, dim: int, codebook_size: int, sides: tuple[int, int], *, channels: int = 128) -> None:
        """``codebook_size`` codes on a grid of ``sides`` (H, W); ``channels`` throughout."""
        super().__init__()
        self.codebook_size, self.sides = codebook_size, _checked(sides)
        height, width = sides
        layers: list[nn.Module] = [nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()]
        while min(height, width) > LEAST:
            layers += [nn.Conv2d(channels, channels, 4, 2, 1), nn.ReLU()]
            height, width = height // 2, width // 2
        self.enter = nn.Embedding(codebook_size, channels)
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(channels * height * width, dim)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (B, 1, H, W) to (B, dim, 1, 1).

        Raises:
            BadCodes: they are on another grid, or beyond the codebook.
        """
        x = self.layers(self.enter(_fitting(codes, self.sides, self.codebook_size)).movedim(3, 1))
        return self.leave(x.flatten(1))[..., None, None]


class CodesDecoder(nn.Module):
    """A vector (B, dim, 1, 1) to the distribution of the codes of one picture, by a gated PixelCNN."""

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        sides: tuple[int, int],
        *,
        stacks: Stacks = Stacks(),  # noqa: B008 (frozen)
    ) -> None:
        """As `CodesEncoder`; ``stacks`` are the widths and depths of the PixelCNN."""
        super().__init__()
        self.codebook_size, self.sides = codebook_size, _checked(sides)
        self.enter = nn.Embedding(codebook_size, stacks.width)
        self.tell = nn.Sequential(
            nn.Linear(dim, stacks.post), nn.ReLU(), nn.Linear(stacks.post, stacks.condition)
        )
        self.net = PixelCNN(stacks, conditioned=True)
        self.leave = nn.Sequential(
            nn.ReLU(), nn.Linear(stacks.skip, stacks.post), nn.ReLU(), nn.Linear(stacks.post, codebook_size)
        )

    def nats(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code (B, 1, H, W), given the vectors (B, dim, 1, 1) and the codes before it.

        Raises:
            BadCodes: they are on another grid, or beyond the codebook.
        """
        codes = _fitting(codes, self.sides, self.codebook_size)
        features = self.net(self.enter(codes).movedim(3, 1), self._conditions(vectors))
        return categorical_nll(self.leave(features.movedim(1, 3)).movedim(3, 1), codes)[:, None]

    @torch.no_grad()
    def draw(self, vectors: Tensor, sampling: Sampling) -> Tensor:
        """Vectors (B, dim, 1, 1) to codes (B, 1, H, W), drawn one after the other; in full precision.

        Whatever the autocast, for weights that are laid out for single steps do not follow it.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            steps = Steps(self.net, self._conditions(vectors))
            state, uniforms = steps.start(len(vectors), self.sides[1]), Uniforms(sampling.seed, len(vectors))
            drawn: list[Tensor] = []
            for _ in range(self.sides[0] * self.sides[1]):
                logits = self.leave(steps.step(self.enter(drawn[-1]) if drawn else None, state))
                drawn.append(sample(logits, sampling, uniforms.draw(1)[:, 0].to(logits.device)))
        return torch.stack(drawn, 1).view(-1, 1, *self.sides)

    def _conditions(self, vectors: Tensor) -> Tensor:
        return self.net.conditions(self.tell(vectors.flatten(1)))


def _checked(sides: tuple[int, int]) -> tuple[int, int]:
    if len(sides) != 2 or min(sides) < 1:
        raise BadSetting(f"the sides of a grid of codes are {sides}; give rows and columns, at least 1 each")
    return sides[0], sides[1]


def _fitting(codes: Tensor, sides: tuple[int, int], codebook_size: int) -> Tensor:
    """The codes (B, H, W) of (B, 1, H, W), if they are on this grid and of this codebook."""
    if codes.is_floating_point() or codes.dim() != 4 or tuple(codes.shape[1:]) != (1, *sides):
        raise BadCodes(
            f"codes (B, 1, {sides[0]}, {sides[1]}) are needed, not {tuple(codes.shape)} {codes.dtype}"
        )
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < codebook_size:
        raise BadCodes(f"there are codes beyond 0 ... {codebook_size - 1}, which this codec does not know")
    return codes[:, 0]
