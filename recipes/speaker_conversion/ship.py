"""A trained codec to the folder that ships: float16 weights and a card.

python ship.py runs/speech_waveform/codec checkpoints/speech results.md
"""

import shutil
import sys
import tempfile
from pathlib import Path

from speechvq import Codec

CARD = """# speechvq speech codec

Speech at 16 kHz to 50 codes a second out of {size} ({bits:.0f} bit/s at most), spoken again in any of
these voices: {voices};
or in the voice of a reference recording (its speaker embedding, projected; rough for voices unlike these).

- Encoder: log-mel frames, their mean over the recording removed, residual convolutions;
  {encoder:.1f} M parameters.
- Decoder: `spectral`, residual convolutions to envelopes, pitch and noise shares, pulses and noise through
  minimum-phase filters; {decoder:.1f} M parameters. Weights are stored as float16.
- Data: four hours of sentences of our own generator, spoken by the synthetic voices of flite (awb, kal16,
  rms, slt), and two hours of telephone prompts by professional speakers (Debian packages
  asterisk-core-sounds-*-g722, CC-BY-SA). No sentence of the test set was trained on. `examples/` holds
  held-out sentences, made with flite.
- Made by `recipes/speaker_conversion/run.sh`; fingerprint {fingerprint}.

The language of the synthetic voices is English; the real ones speak English, Spanish, French, Italian and
Russian. All figures and the command that made them: `recipes/speaker_conversion/results.md`. Medians:

{results}
"""


def main(codec: Path, out: Path, results: Path) -> None:
    """Write weights, configuration and card; the examples that are there stay."""
    model = Codec.from_pretrained(codec)
    size = model.quantizer.codebook_size
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "codec"
        model.save_pretrained(half, card="", half=True)
        kept = Codec.from_pretrained(half)  # the fingerprint is that of the rounded weights
        table = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        card = CARD.format(
            size=size,
            bits=model.frame_rate * (size - 1).bit_length(),
            voices=", ".join(model.decoder.speakers),
            encoder=sum(p.numel() for p in model.encoder.parameters()) / 1e6,
            decoder=sum(p.numel() for p in model.decoder.parameters()) / 1e6,
            fingerprint=kept.fingerprint,
            results="\n".join(_first_table(table)) or "(not scored yet)",
        )
        (half / "README.md").write_text(card, encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        for file in half.iterdir():
            shutil.copy2(file, out / file.name)


def _first_table(lines: list[str]) -> list[str]:
    found = [i for i, line in enumerate(lines) if line.startswith("|")]
    return [lines[i] for place, i in enumerate(found) if i == found[0] + place]


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:4]))
