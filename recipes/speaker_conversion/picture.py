"""The picture in the README: a recording, its units, and the same units in other voices.

python picture.py checkpoints/speech docs/demo.png
"""

import sys
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from speechvq import Codec
from speechvq.speech.audio import read_audio
from speechvq.speech.features import LogMel
from speechvq.store.manifest import read_manifest


def main(folder: Path, out: Path) -> None:
    """Draw the first bundled recording that is meant to be converted."""
    codec = Codec.from_pretrained(folder)
    entry = next(e for e in read_manifest(folder / "examples" / "examples.jsonl") if e.split == "test")
    wave = read_audio(entry.path)[None]
    codes = codec.encode(wave)
    others = [name for name in ("slt", "en_allison", "it_carlo") if name in codec.decoder.speakers]
    rows = [(f"{entry.speaker}, recorded", wave)]
    rows += [(name, codec.decode(codes, speaker=name)) for name in others]
    figure, axes = plt.subplots(
        len(rows) + 1, 1, figsize=(10, 7), sharex=True, height_ratios=[3, 0.7, *[3] * len(others)]
    )
    _spectrogram(axes[0], *rows[0])
    _units(axes[1], codes.indices[0, 0].tolist(), 1 / codec.frame_rate)
    for axis, row in zip(axes[2:], rows[1:], strict=True):
        _spectrogram(axis, *row)
    axes[-1].set_xlabel("seconds")
    figure.suptitle(entry.text)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def _spectrogram(axis: Axes, title: str, wave: Tensor) -> None:
    mel = LogMel()(wave)[0].numpy()
    axis.imshow(mel, origin="lower", aspect="auto", extent=(0, mel.shape[1] / 100, 0, 80), vmin=-7, vmax=1)
    axis.set_yticks([])
    axis.set_ylabel(title)


def _units(axis: Axes, units: list[int], step: float) -> None:
    colours, place = plt.get_cmap("tab20"), 0
    for unit, run in groupby(units):
        length = len(list(run))
        axis.axvspan(place * step, (place + length) * step, color=colours(unit % 20))
        if length > 2:
            axis.text((place + length / 2) * step, 0.5, str(unit), ha="center", va="center", fontsize=6)
        place += length
    axis.set_yticks([])
    axis.set_ylabel("units")


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:3]))
