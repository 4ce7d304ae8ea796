"""LPIPS: how different two pictures look to VGG16 (Zhang et al. 2018, equation 1).

    d(a, b) = sum over layers l of the mean over places of  w_l . (f_l(a) - f_l(b))^2

f_l are the outputs of relu1_2, 2_2, 3_3, 4_3 and 5_3, brought to length one at each place; w_l >= 0 were
fitted to people's judgements. Both networks' weights are the user's: torchvision's VGG16 (Simonyan and
Zisserman 2015) and the file vgg.pth of the LPIPS release.
"""

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from speechvq.errors import BadCheckpoint

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
VGG_FILE = "vgg16-397923af.pth"
"""What torchvision calls its VGG16 when it downloads it."""


class LPIPS(nn.Module):
    """The distance; weights are random until `load`.

    ``features`` has torchvision's indices: convolutions at 0, 2, 5, 7 ... 28, ReLUs and pools between.
    ``linear`` has the five w_l as 1x1 convolutions to one channel.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        self.ends = []
        inner = 3
        for block in BLOCKS:
            parts += [nn.MaxPool2d(2)] if parts else []
            for outer in block:
                parts += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
                inner = outer
            self.ends.append(len(parts) - 1)
        self.features = nn.Sequential(*parts)
        self.linear = nn.ModuleList(nn.Conv2d(block[-1], 1, 1, bias=False) for block in BLOCKS)
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [-1, 1] and at least 16 pixels a side, to (B,) distances of at least 0."""
        total = made.new_zeros(len(made))
        for linear, a, b in zip(self.linear, self._layers(made), self._layers(target), strict=True):
            total = total + linear((a - b).square()).mean((1, 2, 3))
        return total

    def _layers(self, x: Tensor) -> list[Tensor]:
        """The five maps, of length one at each place."""
        x, found = (x - self.shift) / self.scale, []
        for place, part in enumerate(self.features):
            x = part(x)
            if place in self.ends:
                found.append(unit(x))
        return found

    @classmethod
    def load(cls, vgg: str | Path | None = None, linear: str | Path | None = None) -> "LPIPS":
        """The published distance.

        Args:
            vgg: torchvision's VGG16; by default looked for in torch's cache, where torchvision puts it.
            linear: vgg.pth of LPIPS; by default looked for in torch's cache and in the package ``lpips``.

        Raises:
            BadCheckpoint: a file is not there, or holds something else.
        """
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        vgg = _found(vgg, [cache / VGG_FILE], "torchvision's VGG16", "vgg")
        linear = _found(
            linear, [cache / "vgg.pth", *_packaged()], "the file of LPIPS's linear weights", "linear"
        )
        loaded, state = cls(), {}
        for theirs, tensor in _open(vgg).items():
            if theirs.startswith("features."):  # the classifier is not needed
                state[theirs] = tensor
        for theirs, tensor in _open(linear).items():
            state[theirs.replace(".model.1.", ".").replace("lin", "linear.", 1)] = tensor
        try:
            loaded.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise BadCheckpoint(f"{vgg} and {linear} are not VGG16 and LPIPS's vgg.pth ({reason})") from error
        return loaded


def unit(x: Tensor) -> Tensor:
    """A map (B, C, h, w) with vectors of length one (or zero) at each place."""
    # The floor is inside the root as well: the length of a vector of zeros has no gradient.
    return x / (x.square().sum(1, keepdim=True).clamp(min=1e-20).sqrt() + 1e-10)


def _packaged() -> list[Path]:
    spec = importlib.util.find_spec("lpips")
    return [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "weights/v0.1/vgg.pth"]


def _found(given: str | Path | None, places: list[Path], what: str, argument: str) -> Path:
    places = [Path(given)] if given else places
    for place in places:
        if place.is_file():
            return place
    raise BadCheckpoint(
        f"{what} is not at {' or '.join(map(str, places))}; give its path as {argument}= (of a run: "
        f"model.decoder.loss.perceptual.{argument}=), or use the perceptual loss 'efficientnet', whose "
        "weights come as a package"
    )


def _open(path: Path) -> Mapping[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise BadCheckpoint(f"{path} is truncated or is not a torch file of plain tensors") from error
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadCheckpoint(f"{path} is not a mapping of names to tensors")
    return found
