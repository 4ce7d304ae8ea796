"""What a prior is: a distribution over the codes of a codec that was trained before it and stays fixed.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 3.2): while the codec
learns, the prior is uniform; afterwards an autoregressive one is fitted to the codes.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.errors import BadCheckpoint
from speechvq.nets.sampling import Sampling
from speechvq.store.weights import load_config, load_into, save_folder
from speechvq.table import Table


class Prior(nn.Module, ABC):
    """Interface of every prior. Subclasses are final; a table makes them remember their ``spec``.

    A condition is a mapping of names to tensors with B rows, as in `speechvq.codec.Batch`.
    """

    num_codebooks: int
    codebook_size: int
    codec: str
    """Fingerprint of the codec whose codes it models; empty when it was not said."""
    spec: dict[str, Any]

    @abstractmethod
    def loss(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """Nats per valid code, a scalar; ln(codebook_size) is what knowing nothing costs."""

    @abstractmethod
    def generate(
        self,
        grid: tuple[int, ...],
        condition: dict[str, Tensor] | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        count: int = 1,
    ) -> Codes:
        """New codes (count, K, *grid), without gradient; equal seeds give equal codes."""

    def save_pretrained(self, folder: str | Path, *, card: str | None = None, half: bool = False) -> None:
        """Write the prior's folder; ``card`` is its README, ``half`` stores weights as float16."""
        save_folder(folder, config={"prior": self.spec}, tensors=self.state_dict(), card=card, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Prior":
        """The prior of a folder, on the CPU, in evaluation mode; `BadCheckpoint` if it is not one."""
        config = load_config(folder)
        if not isinstance(config.get("prior"), dict):
            raise BadCheckpoint(f"{folder} holds no prior; give the folder that a prior was saved in")
        return load_into(folder, lambda: PRIORS.build(config["prior"])).eval()


PRIORS: Table[Prior] = Table("prior")
