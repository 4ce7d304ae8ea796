"""Conditions of a decoder: who speaks, and the time-jitter of Chorowski et al. (2019, section III-C).

A voice is a row of a learned table, or the projected embedding of a reference recording (a GE2E
embedding, Wan et al. 2018, as Resemblyzer gives it); both end in the same space, so that a voice that
was never trained can be asked for by a recording of it.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.errors import BadSetting, UnknownSpeaker


class SpeakerCondition(nn.Module):
    """A voice, by name, by row or by embedding, as one vector."""

    def __init__(self, speakers: tuple[str, ...], channels: int, *, embedding_dim: int = 256) -> None:
        """A learned table of ``speakers`` and a projection of ``embedding_dim`` to ``channels``.

        With ``embedding_dim`` 0 there is no projection, and voices are known by name only. With
        ``channels`` 0 a voice is an empty vector: names are still asked for, and make no difference.

        Raises:
            BadSetting: ``channels`` below 0.
        """
        super().__init__()
        if channels < 0:
            raise BadSetting(f"a voice has {channels} channels; give 0 (no voice) or more")
        self.speakers = tuple(speakers)
        self.table = nn.Embedding(len(self.speakers), channels)
        self.projection = (
            nn.Sequential(nn.Linear(embedding_dim, channels), nn.ReLU(), nn.Linear(channels, channels))
            if embedding_dim and channels
            else None
        )

    def index(self, name: str) -> int:
        """The row of a voice.

        Raises:
            UnknownSpeaker: the voice is not in the table.
        """
        if name not in self.speakers:
            raise UnknownSpeaker(name, list(self.speakers))
        return self.speakers.index(name)

    def forward(self, speaker: str | Tensor) -> Tensor:
        """A name, (B,) int64 rows, or (B, embedding_dim) float embeddings to (B, channels).

        Raises:
            UnknownSpeaker: the voice is not in the table.
            BadSetting: an embedding for a decoder that knows voices by name only.
        """
        if isinstance(speaker, str):
            speaker = torch.tensor([self.index(speaker)], device=self.table.weight.device)
        if not speaker.is_floating_point():
            return self.table(speaker)
        if not self.table.embedding_dim:
            return speaker.new_zeros(len(speaker), 0)
        if self.projection is None:
            raise BadSetting(
                "this decoder knows no voice but those it was trained on; give one by its name, "
                f"one of {', '.join(self.speakers)}"
            )
        return self.projection(speaker)

    def learn(
        self, condition: Mapping[str, Tensor], *, share: float = 0.2, weight: float = 0.1
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The voices of a training batch, and what draws the two ways of naming a voice together.

        Args:
            condition: "speaker" (B,) rows, and perhaps "embedding" (B, embedding_dim) of the recordings.
            share: of the batch that speaks from the embedding, in training mode.
            weight: of the distance between a projected embedding and its speaker's row.

        Returns:
            (B, channels), and the loss "voice/embedding" where there are embeddings.
        """
        row, embedding = self.table(condition["speaker"]), condition.get("embedding")
        if embedding is None or self.projection is None:
            return row, {}
        made = self.projection(embedding).to(row.dtype)
        use = torch.rand(len(row), 1, device=row.device) < (share if self.training else 0.0)
        distance = F.mse_loss(made.float(), row.detach().float())
        return torch.where(use, made, row), {"voice/embedding": weight * distance}


class TimeJitter(nn.Module):
    """Replace each code, with a probability, by its left or right neighbour; in training only."""

    def __init__(self, probability: float = 0.12) -> None:
        """``probability`` in [0, 1] that an inner place is replaced (half of it at the two ends)."""
        super().__init__()
        if not 0 <= probability <= 1:
            raise BadSetting(f"the jitter probability is {probability}; it must be in [0, 1]")
        self.probability = probability

    def forward(self, vectors_BDT: Tensor) -> Tensor:
        """(B, D, T) to (B, D, T); the gradient reaches the vector that was copied."""
        if not self.training or self.probability == 0:
            return vectors_BDT
        B, D, T = vectors_BDT.shape  # noqa: N806
        draw_BT = torch.rand(B, T, device=vectors_BDT.device)  # noqa: N806
        half = self.probability / 2
        step_BT = (draw_BT < half).long() - (draw_BT > 1 - half).long()  # noqa: N806
        place_BT = torch.arange(T, device=vectors_BDT.device) + step_BT  # noqa: N806
        # A step over either end stays where it is, so an end is replaced half as often.
        place_BT = torch.where((place_BT < 0) | (place_BT >= T), place_BT - step_BT, place_BT)  # noqa: N806
        return vectors_BDT.gather(2, place_BT[:, None].expand(B, D, T))
