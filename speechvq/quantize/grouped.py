"""Product quantization: the channels in groups, each with codebooks of its own (Jegou et al. 2011).

With more than one codebook a group it is grouped residual quantization (Yang et al. 2023, HiFi-Codec).
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Learning, Revival
from speechvq.quantize.follow import follow
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.rows import check_depth, check_sizes
from speechvq.quantize.space import Space
from speechvq.quantize.stack import Chance, losses_of
from speechvq.quantize.start import Start


@QUANTIZERS.register("grouped")
class GroupedQuantizer(Quantizer):
    """``groups`` stacks side by side: ``indices`` (B, groups * depth, *grid), a group's depths together.

    The losses are means over the groups.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        groups: int,
        *,
        depth: int = 1,
        shared: bool = False,
        space: Space = Space(),  # noqa: B008  (frozen)
        learning: Learning = Learning(),  # noqa: B008
        start: Start = Start(),  # noqa: B008
        revival: Revival = Revival(),  # noqa: B008
        chance: Chance = Chance(),  # noqa: B008
    ) -> None:
        """Each group has ``dim / groups`` channels and ``depth`` codebooks, or one for all, if ``shared``.

        Raises:
            BadSetting: a size is below 1, ``groups`` does not divide ``dim``, or see `ResidualQuantizer`.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size, groups=groups, depth=depth)
        if dim % groups:
            raise BadSetting(f"{dim} channels cannot be split into {groups} groups; it must divide them")
        self.dim, self.codebook_size, self.num_codebooks = dim, codebook_size, groups * depth
        self.depth, self.learning = depth, learning
        self.groups = nn.ModuleList(
            ResidualQuantizer(
                dim // groups,
                codebook_size,
                depth,
                shared=shared,
                space=space,
                learning=learning,
                start=start,
                revival=revival,
                chance=chance,
            )
            for _ in range(groups)
        )

    @property
    def _groups(self) -> list[ResidualQuantizer]:
        return [group for group in self.groups if isinstance(group, ResidualQuantizer)]

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        vectors, indices, stacks = [], [], []
        with torch.autocast(z.device.type, enabled=False):
            for group, part in zip(self._groups, self._split(z), strict=True):
                rows, walked = group.walk(part, mask)
                vectors.append(rows.to_vectors(group.passage.out(walked.vectors)))
                indices.append(rows.to_indices(walked.indices))
                stacks.append(walked)
            losses, figures = losses_of(stacks, self.learning), follow(stacks)
        return Quantized(torch.cat(vectors, 1), torch.cat(indices, 1), losses, figures)

    def _split(self, z: Tensor) -> list[Tensor]:
        """The channels of each group.

        Raises:
            BadSetting: the channels do not fit.
        """
        if z.ndim < 2 or z.shape[1] != self.dim:
            raise BadSetting(f"the quantizer takes (batch, {self.dim}, *grid), but got {tuple(z.shape)}")
        return list(z.split(self.dim // len(self.groups), dim=1))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        parts = zip(self._groups, self._split(z), strict=True)
        return torch.cat([group.encode(part) for group, part in parts], 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`: all groups are needed, each with all its depths.

        Raises:
            BadCodes: ``indices`` has not ``num_codebooks`` codebooks.
        """
        check_depth(indices, self.num_codebooks, least=self.num_codebooks)
        parts = zip(self._groups, indices.split(self.depth, dim=1), strict=True)
        return torch.cat([group.decode(part) for group, part in parts], 1)
