"""Who speaks, as a prior hears it: a learned vector for each name, and perhaps one for nobody.

"Classifier-Free Diffusion Guidance" (Ho and Salimans 2022): a prior that is told now and then, in
training, that nobody in particular speaks also knows what is likely without the condition, and the two
can be weighed against one another when codes are drawn.
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting, UnknownName


class Speakers(nn.Module):
    """A table of voices (B,) to (B, channels)."""

    def __init__(self, names: tuple[str, ...], channels: int, *, dropout: float = 0.0) -> None:
        """Vectors of ``names``; ``dropout`` in [0, 1) is how often nobody speaks in training."""
        super().__init__()
        if not 0 <= dropout < 1:
            raise BadSetting(f"the dropout of the speaker is {dropout}; it must be in [0, 1)")
        self.names, self.dropout = tuple(names), dropout
        self.table = nn.Embedding(len(self.names) + bool(dropout), channels)

    def row(self, name: str) -> int:
        """The number that stands for ``name`` in a condition; `UnknownName` if it was not trained on."""
        if name not in self.names:
            raise UnknownName("speaker of this prior", name, list(self.names))
        return self.names.index(name)

    def forward(self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False) -> Tensor:
        """The voices of ``count`` sequences.

        Args:
            condition: "speaker" (count,) or (1,) int64 rows.
            count: sequences.
            guided: as many rows of nobody after them.

        Returns:
            (count, channels), or (2 count, channels) when guided.

        Raises:
            BadSetting: no speaker is given, too many or too few are, or nobody was never trained.
        """
        if not condition or "speaker" not in condition:
            raise BadSetting(f'which speaker? give condition={{"speaker": rows}} of {", ".join(self.names)}')
        rows = condition["speaker"].to(self.table.weight.device)
        if len(rows) not in (1, count):
            raise BadSetting(f"{len(rows)} speakers are given for {count} sequences; give one, or one each")
        rows = rows.expand(count)
        if self.training and self.dropout:
            nobody = torch.rand(count, device=rows.device) < self.dropout
            rows = torch.where(nobody, len(self.names), rows)
        if guided:
            if not self.dropout:
                raise BadSetting(
                    "this prior was never trained without a speaker, so it cannot be guided away from that; "
                    "leave the guidance at 1, or train one with speaker_dropout=0.1"
                )
            rows = torch.cat([rows, torch.full_like(rows, len(self.names))])
        return self.table(rows)
