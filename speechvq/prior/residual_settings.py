"""Settings of the prior of `speechvq.prior.residual`: sizes by name, and what it is told.

Three of the sizes are ours, the others those of "Autoregressive Image Generation using Residual
Quantization" (Lee et al. 2022): FFHQ, LSUN, class-conditional ImageNet in four sizes, CC-3M with captions,
and the same network over 16 x 16 x 1 codes in place of a VQGAN's transformer.
"""

from dataclasses import dataclass, replace

from speechvq.errors import BadSetting
from speechvq.nets.transformer import Depth


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of the two transformers.

    Attributes:
        places: blocks of the transformer over places, at least 1.
        depths: blocks of the transformer over the codes of one place; may be 0.
        width: channels E of both.
        heads: of the attention in both; ``width`` is a multiple of twice as many.
        reach: places that the first sees, the present one included, where positions turn.
        dropout: probability in [0, 1) that a channel of what a block adds is dropped in training.
        classifiers: "one" for all depths, or "own" for each.
    """

    places: int = 4
    depths: int = 2
    width: int = 128
    heads: int = 4
    reach: int = 1024
    dropout: float = 0.0
    classifiers: str = "one"

    def __post_init__(self) -> None:
        """Check every field."""
        if self.depths < 0:
            raise BadSetting(f"the transformer over depths has {self.depths} blocks; give 0 or more")
        if self.classifiers not in ("one", "own"):
            raise BadSetting(f"the classifiers are {self.classifiers!r}; give one (for all depths) or own")
        self.over_places(self.reach, turning=True)

    def over_places(self, reach: int, *, turning: bool) -> Depth:
        """The transformer over places, which sees ``reach`` of them; ``turning`` positions or none."""
        positions = "rotary" if turning else "learned"
        return Depth(self.places, self.width, self.heads, reach, positions, self.dropout)

    def over_depths(self, num_codebooks: int) -> Depth:
        """The transformer over the codes of one place; of its ``layers`` there are ``depths``."""
        return replace(self.over_places(num_codebooks, turning=False), layers=max(1, self.depths))


@dataclass(frozen=True)
class Told:
    """How the prior is told what the codes are to be like.

    Attributes:
        words: tokens of a text that is read before the codes, of an alphabet of so many; 0 for no text.
        length: of the text, in tokens.
        weight: of the text's own nats in the loss, in [0, 1]; the codes have the rest.
        blind: how often, in [0, 1), training hides labels and speakers; above 0 the prior can be guided.
    """

    words: int = 0
    length: int = 32
    weight: float = 0.1
    blind: float = 0.0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.words < 0 or self.length < 1:
            raise BadSetting("a text has words of an alphabet of 0 or more, and a length of at least 1")
        if not 0 <= self.weight <= 1:
            raise BadSetting(f"the weight of the text is {self.weight}; it must be in [0, 1]")
        if not 0 <= self.blind < 1:
            raise BadSetting(f"blind is {self.blind}; it must be in [0, 1)")
        if self.words and self.blind:
            raise BadSetting("a text cannot be hidden in training; set blind to 0")


_CLASSES = Sizes(places=12, depths=4, width=1536, heads=24, dropout=0.1)
_CHURCH = Sizes(places=24, depths=4, width=1024, heads=16, dropout=0.1)

SIZES = {
    "tiny": Sizes(),
    "small": Sizes(places=6, depths=2, width=256, heads=8, dropout=0.1),
    "base": Sizes(places=12, depths=4, width=512, heads=8, dropout=0.1),
    "ffhq": _CHURCH,
    "lsun-church": _CHURCH,
    "lsun-bedroom": replace(_CHURCH, places=26, width=1280, heads=20),
    "imagenet-480m": _CLASSES,
    "imagenet-821m": replace(_CLASSES, places=24),
    "imagenet-1.4b": replace(_CLASSES, places=42, depths=6),
    "imagenet-3.8b": replace(_CLASSES, places=42, depths=6, width=2560, heads=40),
    "cc3m": replace(_CHURCH, places=26, width=1280, heads=20),
    "vqgan-1.4b": replace(_CLASSES, places=48, depths=0),
}
