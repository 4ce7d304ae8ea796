"""The paper's model on speech learns one utterance by heart, through its codes; it is stopped and resumed.

"Neural Discrete Representation Learning" (2017), section 4.3. A decoder that ignores its codes would do as
well with the codes in any order, so its cross entropy is taken with the codes shuffled in time, too.
`docs/paper_model.md` keeps the figures of the whole model; the small one is the same test in seconds.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch import Tensor

from speechvq.cli import main
from speechvq.codec import Batch, Codec, Codes
from speechvq.speech.audio import read_audio
from speechvq.store.manifest import Entry, write_manifest

SPOKEN = Path(__file__).parents[1] / "assets/slt_short.flac"
START = 0.5
LEARN = [
    "runtime.accelerator=cpu", "runtime.threads=1", "runtime.batch_size=1", "runtime.ema=0.9",
    "runtime.log_every=1", "runtime.valid_every=1000", "runtime.save_every=1000",
]  # fmt: skip
WHOLE = ["optimiser.lr=1e-3", "optimiser.warmup=20", "runtime.precision=bf16-mixed", "runtime.steps=120"]
SMALL = [
    "optimiser.lr=5e-3", "optimiser.warmup=10", "runtime.steps=80", "data.seconds=0.24",
    "model.decoder.stack=tiny", "model.encoder.channels=64",
]  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One utterance, and what is to be learned from it by which settings."""

    folder: Path
    seconds: float
    settings: list[str]

    @property
    def arguments(self) -> list[str]:
        """Of ``speechvq``, with the manifest of the utterance, which is made here."""
        manifest = self.folder / "one.jsonl"
        entries = [Entry(str(SPOKEN), START, self.seconds, "slt", "one", s) for s in ("train", "valid")]
        write_manifest(manifest, entries, force=True)
        place = [f"data.manifest={manifest}", f"folder={self.run}", "resume=true"]
        return ["train", "experiment=speech_paper", *place, *LEARN, *self.settings]

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "run"

    def lines(self, split: str = "train") -> list[dict[str, float]]:
        """The figures logged so far."""
        log = self.run / "log.jsonl"
        text = log.read_text() if log.is_file() else ""
        read = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in read if line["split"] == split]

    def train(self, *, until: int | None = None) -> None:
        """Train, or go on; with ``until``, be sent SIGTERM once that many steps are logged."""

        def late(number: int, frame: FrameType | None) -> None:
            """Instead of pytest's end, if training was faster than the sender."""

        def send() -> None:
            while until and over.wait(0.01) is False:
                if len(self.lines()) >= until:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        over, before = threading.Event(), signal.signal(signal.SIGTERM, late)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            assert main(self.arguments) == 0
        finally:
            over.set()
            sender.join()
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class Judgement:
    """What the exported codec makes of the utterance.

    Attributes:
        true: cross entropy in nats per sample, with its codes.
        shuffled: with its codes in another order, the mean over three orders.
        distinct: how many codes it uses.
        codes: how many it has in all.
    """

    true: float
    shuffled: float
    distinct: int
    codes: int


def judge(codec: Codec, wave: Tensor) -> Judgement:
    """Teacher-forced cross entropy of ``wave`` (1, 1, L)."""
    batch = Batch(wave, None, {"speaker": torch.zeros(1, dtype=torch.int64)})
    indices = codec.encode(wave).indices

    @torch.no_grad()
    def entropy(indices: Tensor) -> float:
        vectors = codec.quantizer.decode(indices)
        return float(codec.decoder.reconstruct(vectors, batch).losses["sound/nll"])

    orders = [torch.randperm(indices.shape[-1]) for _ in range(3)]
    shuffled = sum(entropy(indices[..., order]) for order in orders) / len(orders)
    return Judgement(entropy(indices), shuffled, len(indices.unique()), indices.shape[-1])


def learn_by_heart(trial: Trial, heard: pytest.CaptureFixture[str], *, stop_after: int) -> Judgement:
    """Train in two parts, and see that the codec speaks and how well it knows the utterance."""
    trial.train(until=stop_after)
    cut = len(trial.lines())
    assert f"stopped after step {cut} because SIGTERM was received; resume=true goes on" in said(heard)
    trial.train()
    assert f"from step {cut}," in said(heard)
    steps = [line["step"] for line in trial.lines()]
    assert stop_after <= cut < steps[-1]
    assert steps == list(range(1, len(steps) + 1))
    # It goes on where it stopped: weights that began anew would be at ln 256 = 5.5 nats again.
    assert trial.lines()[cut]["sound/nll"] < trial.lines()[cut // 2]["sound/nll"] < 5.5
    codec = Codec.from_pretrained(trial.run / "codec")
    wave = read_audio(SPOKEN, start=START, duration=trial.seconds)[None]
    found = judge(codec, wave)
    assert found.codes == wave.shape[-1] // codec.encoder.hop
    piece = Codes(codec.encode(wave).indices[..., :6])
    spoken = codec.decode(piece, speaker="slt", seed=1)
    assert spoken.shape == (1, 1, 6 * 64)
    assert spoken.isfinite().all()
    assert 0.01 < spoken.std() < 1
    torch.testing.assert_close(spoken, codec.decode(piece, speaker="slt", seed=1))
    return found


def said(heard: pytest.CaptureFixture[str]) -> str:
    return " ".join(heard.readouterr().err.split())


def check_it_uses_its_codes(found: Judgement) -> None:
    assert found.true < 2.0, found
    assert found.shuffled > found.true + 0.3, found
    assert found.distinct > 8, found


def test_a_small_model_learns_an_utterance_through_its_codes(tmp_path: Path, capfd):
    check_it_uses_its_codes(learn_by_heart(Trial(tmp_path, 0.24, SMALL), capfd, stop_after=30))


@pytest.mark.slow
def test_the_papers_model_learns_an_utterance_through_its_codes(tmp_path: Path, capfd):
    trial = Trial(tmp_path, 1.0, WHOLE)
    begin, begun = time.process_time(), time.monotonic()
    found = learn_by_heart(trial, capfd, stop_after=60)
    processor, wall = ((time.process_time() - begin) / 60, (time.monotonic() - begun) / 60)
    codec = Codec.from_pretrained(trial.run / "codec")
    stack = codec.decoder.net.stack
    assert (codec.encoder.hop, codec.quantizer.codebook_size, stack.layers, stack.stacks) == (64, 512, 30, 3)
    with capfd.disabled():
        sys.stdout.write(f"\n{found}\n{processor:.1f} min of processor time, {wall:.1f} min in all\n")
        for line in trial.lines()[19::20]:
            sys.stdout.write(f"step {line['step']}: {line['sound/nll']:.2f} nats\n")
    check_it_uses_its_codes(found)
