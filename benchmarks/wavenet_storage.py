"""What narrower weights cost: a trained WaveNet decoder with each storage of the compiled kernel.

    python benchmarks/wavenet_storage.py runs/speech_wavenet/codec data/flite/manifest.jsonl [--recordings 40]
        [--out outputs/wavenet_storage] [--json FILE]

Held-out recordings go through the codec and come back in their own voice, sample by sample. For each storage:

- nats a sample that the network gives the recording itself (fed with it, not with what it drew), the
  mean over all samples, and how many draws out of a million differ from float32's on the same noise:
  before anything has drifted, this is all that the storage changes;
- what it says when it speaks freely, heard by the judges of `speechvq score`: word error rate, likeness to
  the recording's voice, DNSMOS. Noise is the same, but after the first differing draw the takes differ,
  so these figures scatter: ``--takes`` more takes with other seeds of float32 show by how much.
"""

import argparse
import json
import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from wavenet import machine

from speechvq import Codec
from speechvq.errors import BadSetting
from speechvq.kernels.wavenet_cpu import STORAGES, NativeWaveNet
from speechvq.kernels.wavenet_plain import start
from speechvq.nets.sampling import Sampling, Uniforms
from speechvq.score.speech import naturalness, speaker_embedding, speaker_similarity, transcriber
from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.samplewise import fit
from speechvq.speech.utterances import Utterances
from speechvq.speech.wavenet import WaveNetDecoder
from speechvq.speech.wavenet_backend import network
from speechvq.store.manifest import Entry, read_manifest


@dataclass(frozen=True)
class Figures:
    """One row of the table; medians and means are over the recordings."""

    storage: str
    seed: int
    nats: float
    other_draws_per_million: float
    word_error_rate: float
    likeness: float
    dnsmos: float


@dataclass(frozen=True)
class Held:
    """A held-out recording: its samples (1, n), n a multiple of the hop, and where it came from."""

    entry: Entry
    wave: Tensor
    voice: Tensor


def held_out(codec: Codec, manifest: str, count: int) -> list[Held]:
    """Recordings of the test split, spread over the voices that the codec speaks."""
    entries = [e for e in read_manifest(manifest) if e.split == "test" and e.text]
    entries = [e for e in entries if e.speaker in codec.decoder.speakers and e.duration >= 1.5]
    chosen = sorted(entries, key=lambda e: e.utterance)[:: max(1, len(entries) // count)][:count]
    found = []
    for entry in chosen:
        wave = read_audio(entry.path, start=entry.start, duration=entry.duration)
        whole = wave[:, : wave.shape[1] // codec.encoder.hop * codec.encoder.hop]
        found.append(Held(entry, whole, speaker_embedding(whole)))
    return found


@torch.no_grad()
def fed(codec: Codec, held: Held, storages: tuple[str, ...]) -> dict[str, tuple[float, int, Tensor]]:
    """By storage: nats of all samples together, how many there are, and what it would have drawn."""
    decoder = codec.decoder
    assert isinstance(decoder, WaveNetDecoder)
    codes = codec.encode(held.wave[None])
    local = decoder.context(codec.quantizer.decode(codes.indices))
    steps = decoder.amplitudes.steps(fit(held.wave, local.shape[2] * decoder.hop))
    voice = None if decoder.voice is None else decoder.voice(held.entry.speaker)
    net, found = network(decoder.net, decoder.amplitudes), {}
    for storage in storages:
        speaking = Utterances(decoder.net, decoder.amplitudes, decoder.hop, voice, Sampling(), Uniforms(0, 1))
        said = NativeWaveNet(net, storage=storage).decode(
            start(net, speaking.silence),
            speaking.conditions(local),
            speaking.noise(1, steps.shape[1]),
            forced_NT=steps,
            logits=True,
        )
        nats = decoder.amplitudes.nll(said.logits.transpose(1, 2), steps)
        found[storage] = (float(nats.double().sum()), steps.numel(), said.steps)
    return found


def spoken(codec: Codec, held: list[Held], storage: str, seed: int, out: Path | None) -> list[Tensor]:
    """Each recording (1, n) in its own voice."""
    waves = []
    for item in held:
        codes = codec.encode(item.wave[None])
        wave = codec.decode(codes, speaker=item.entry.speaker, storage=storage, backend="native", seed=seed)[
            0
        ]
        waves.append(wave)
        if out:
            name = f"{item.entry.utterance}_{storage}_{seed}.flac"
            write_audio(out / name, wave, int(codec.rate))
    return waves


def measure(codec: Codec, held: list[Held], takes: int, out: Path | None) -> list[Figures]:
    """All storages, then more takes of float32."""
    fedback = [fed(codec, item, STORAGES) for item in held]
    rows = []
    for storage, seed in [*((s, 0) for s in STORAGES), *(("float32", s) for s in range(1, takes + 1))]:
        nats, samples = (sum(f[storage][i] for f in fedback) for i in (0, 1))
        other = sum(int((f[storage][2] != f["float32"][2]).sum()) for f in fedback)
        judged = [
            (
                transcriber().wer(wave, str(item.entry.text)),
                speaker_similarity(speaker_embedding(wave), item.voice),
                naturalness(wave).overall,
            )
            for item, wave in zip(held, spoken(codec, held, storage, seed, out), strict=True)
        ]
        errors, likeness, opinions = zip(*judged, strict=True)
        rows.append(
            Figures(
                storage, seed, nats / samples, 1e6 * other / samples,
                statistics.mean(errors), statistics.median(likeness), statistics.median(opinions),
            )
        )  # fmt: skip
        print(_line(rows[-1]), flush=True)
    return rows


def _line(row: Figures) -> str:
    return (
        f"{row.storage:9} seed {row.seed}: {row.nats:.5f} nats a sample, "
        f"{row.other_draws_per_million:8.1f} other draws a million, WER {row.word_error_rate:.3f}, "
        f"likeness {row.likeness:.3f}, DNSMOS {row.dnsmos:.2f}"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codec")
    parser.add_argument("manifest")
    parser.add_argument("--recordings", type=int, default=40)
    parser.add_argument("--takes", type=int, default=2, help="more takes of float32")
    parser.add_argument("--out", type=Path, help="keep the sounds in this folder")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    codec = Codec.from_pretrained(asked.codec)
    if not isinstance(codec.decoder, WaveNetDecoder):
        raise BadSetting(f"{asked.codec} speaks by {codec.decoder.spec['name']}, not by a WaveNet")
    held = held_out(codec, asked.manifest, asked.recordings)
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
    stack = codec.decoder.net.stack
    print(f"{len(held)} recordings, {len({h.entry.speaker for h in held})} voices, {stack}")
    rows = measure(codec, held, asked.takes, asked.out)
    if asked.json:
        found = {"machine": machine(), "codec": codec.fingerprint, "stack": asdict(stack)}
        found |= {"recordings": len(held), "samples": sum(h.wave.numel() for h in held)}
        asked.json.write_text(json.dumps(found | {"rows": [asdict(r) for r in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
