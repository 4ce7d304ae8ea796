"""What a prior is told by name, a class or a speaker: a vector for each name, and perhaps one for none.

"Classifier-Free Diffusion Guidance" (Ho and Salimans 2022): a prior that is now and then told nothing in
training also knows what is likely without the condition, and the two can be weighed against one another
when codes are drawn.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting, UnknownName


class Names(nn.Module):
    """A table of names (B,) to (B, channels)."""

    def __init__(self, names: tuple[str, ...], channels: int, *, kind: str, dropout: float = 0.0) -> None:
        """Vectors of ``names``.

        Args:
            names: at least one.
            channels: of a vector.
            kind: what the names are of, "label" or "speaker"; the condition is called so.
            dropout: how often in training nothing is told, in [0, 1).
        """
        super().__init__()
        if isinstance(names, str):
            raise BadSetting(f"the {kind}s of this prior are {names!r}; give a list of names")
        if not 0 <= dropout < 1:
            raise BadSetting(f"the dropout of the {kind} is {dropout}; it must be in [0, 1)")
        self.names, self.kind, self.dropout = tuple(names), kind, dropout
        self.table = nn.Embedding(len(self.names) + bool(dropout), channels)

    def row(self, name: str) -> int:
        """The number that stands for ``name`` in a condition; `UnknownName` if it was not trained on."""
        if name not in self.names:
            raise UnknownName(f"{self.kind} of this prior", name, list(self.names))
        return self.names.index(name)

    def forward(self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False) -> Tensor:
        """The vectors of ``count`` sequences.

        Args:
            condition: under the table's kind, (count,) or (1,) int64 rows.
            count: sequences.
            guided: as many rows of "none" after them.

        Returns:
            (count, channels), or (2 count, channels) when guided.

        Raises:
            BadSetting: no rows are given, too many or too few are, or one that is not in the table; or
                guidance is asked of a prior that was never told nothing.
        """
        kind = self.kind
        if not condition or kind not in condition:
            some = ", ".join(self.names[:20]) + (" ..." if len(self.names) > 20 else "")
            raise BadSetting(f'which {kind}? give condition={{"{kind}": rows}} of {some}')
        rows = condition[kind].to(self.table.weight.device)
        if len(rows) not in (1, count):
            raise BadSetting(f"{len(rows)} {kind}s are given for {count} sequences; give one, or one each")
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.table.num_embeddings:
            raise BadSetting(
                f"the {kind}s of this prior are the rows 0 to {len(self.names) - 1}; one is beyond"
            )
        rows = rows.expand(count)
        if self.training and self.dropout:
            none = torch.rand(count, device=rows.device) < self.dropout
            rows = torch.where(none, len(self.names), rows)
        if guided:
            if not self.dropout:
                raise BadSetting(
                    f"this prior was never trained without a {kind}, so it cannot be guided away from that; "
                    f"leave the guidance at 1, or train one with {kind}_dropout=0.1"
                )
            rows = torch.cat([rows, torch.full_like(rows, len(self.names))])
        return self.table(rows)


def named(
    tables: Iterable[Names | None], condition: dict[str, Tensor] | None, count: int, *, guided: bool = False
) -> Tensor | None:
    """What all ``tables`` of a prior say together, the sum of their vectors; None if it has no table.

    The rest is as of `Names.forward`.

    Raises:
        BadSetting: see there; or a prior without tables is to be guided.
    """
    found = [table(condition, count, guided=guided) for table in tables if table is not None]
    if guided and not found:
        raise BadSetting("this prior knows no labels and no speakers, so there is nothing to guide it to")
    return torch.stack(found).sum(0) if found else None
