"""The codec of `learn.sh` to the folder that ships: float16 weights and a card.

python ship.py runs/speech_units_voice/codec checkpoints/speech-units
"""

import shutil
import sys
import tempfile
from pathlib import Path

from speechvq import Codec

CARD = """# speechvq speech units

Speech at 16 kHz to {rate:.0f} units a second out of {size}, for the study of phoneme-like units. They last
longer and say less of the voice than the codes of `checkpoints/speech`, and are understood less well when
they are spoken again: for conversion take that one.

- Encoder: log-mel frames, their mean over the recording removed, residual convolutions that see a tenth of
  a second; {encoder:.1f} M parameters. Codes of length one, compared by angle.
- Learned by reconstruction and by a contrast of neighbouring moments in two views of a recording, whose
  formants are moved at random. Then the decoder alone went on, for units as they are.
- Decoder: `spectral`; {decoder:.1f} M parameters; voices:
  {voices}. Weights are stored as float16.
- Data: as for `checkpoints/speech`; no transcript and no phone time was used.
- Made by `recipes/unit_discovery/learn.sh` (stopped and resumed on the way, its schedule shortened from
  9,000 to 6,600 steps); fingerprint {fingerprint}.
  Scores: `recipes/unit_discovery/results.md`.
"""


def main(codec: Path, out: Path) -> None:
    """Write weights, configuration and card."""
    model = Codec.from_pretrained(codec)
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "codec"
        model.save_pretrained(half, card="", half=True)
        kept = Codec.from_pretrained(half)  # the fingerprint is that of the rounded weights
        card = CARD.format(
            rate=kept.frame_rate,
            size=kept.quantizer.codebook_size,
            voices=", ".join(kept.decoder.speakers),
            encoder=sum(p.numel() for p in kept.encoder.parameters()) / 1e6,
            decoder=sum(p.numel() for p in kept.decoder.parameters()) / 1e6,
            fingerprint=kept.fingerprint,
        )
        (half / "README.md").write_text(card, encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        for file in half.iterdir():
            shutil.copy2(file, out / file.name)


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:3]))
