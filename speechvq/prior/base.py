"""What a prior is: a distribution over the codes of a codec that was trained before it and stays fixed.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 3.2): while the codec
learns, the prior is uniform; afterwards an autoregressive one is fitted to the codes.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.errors import BadCheckpoint, BadCodes
from speechvq.nets.sampling import Sampling
from speechvq.prior.sampling import Steering
from speechvq.prior.tokens import there
from speechvq.store.weights import load_config, load_into, save_folder
from speechvq.table import Table


class Prior(nn.Module, ABC):
    """Interface of every prior. Subclasses are final; a table makes them remember their ``spec``.

    A condition is a mapping of names to tensors with B rows, as in `speechvq.codec.Batch`.
    """

    num_codebooks: int
    codebook_size: int
    speakers: tuple[str, ...]
    """Names of the speakers it is conditioned on, by their rows; empty when it is not."""
    codec: str
    """Fingerprint of the codec whose codes it models; empty when it was not said."""
    spec: dict[str, Any]

    @abstractmethod
    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """Nats of every code given those before it, (B, K, *grid); zero where there is no code."""

    def loss(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """Nats per valid code, a scalar; ln(codebook_size) is what knowing nothing costs."""
        return self.nats(codes, condition).sum() / there(codes).sum().clamp(min=1)

    @abstractmethod
    def generate(
        self,
        grid: tuple[int, ...],
        condition: dict[str, Tensor] | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        steering: Steering = Steering(),  # noqa: B008
        prefix: Codes | None = None,
        count: int = 1,
    ) -> Codes:
        """New codes (count, K, *grid), without gradient; equal seeds give equal codes.

        Whatever the autocast it is in full precision, so that it writes the same in the midst of training in
        mixed precision; `nats` is not.

        Args:
            grid: places of the whole.
            condition: with ``count`` rows, or one for all.
            sampling: how to draw from logits.
            steering: what is done to the logits before: guidance, and rules about repetition.
            prefix: codes (1 or count, K, *part) that the whole begins with, unmasked.
            count: how many.
        """

    @property
    def goes_on(self) -> bool:
        """Whether `generate` takes a prefix, as it does unless a prior writes in an order of its own."""
        return True

    def check(self, fingerprint: str, *, source: str | Path = "the prior") -> None:
        """Raise `BadCodes` if it was trained on the codes of another codec than the one with this."""
        if self.codec and self.codec != fingerprint:
            raise BadCodes(
                f"{source} was trained on the codes of another codec (fingerprint {self.codec}, this one is "
                f"{fingerprint}); give that codec's folder with --codec"
            )

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
