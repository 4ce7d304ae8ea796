"""Utterances that a WaveNet is to speak, and the slow obvious way of speaking them: torch, step by step.

`Utterances` is what every way needs; `speechvq.speech.wavenet_backend` knows the others and picks one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.nets.sampling import Sampling, Uniforms
from speechvq.nets.wavenet import Incremental, WaveNet
from speechvq.speech.amplitudes import Amplitudes


@dataclass(frozen=True)
class Utterances:
    """A batch of utterances.

    Attributes:
        net: the network.
        amplitudes: what it says about a sample.
        hop: samples per code.
        voice: (N, C), the voice of each; None for a network without voices.
        sampling: how samples are drawn.
        uniforms: one stream of noise per utterance.
    """

    net: WaveNet
    amplitudes: Amplitudes
    hop: int
    voice: Tensor | None
    sampling: Sampling
    uniforms: Uniforms

    @property
    def silence(self) -> Tensor:
        """The level (N,) before the first sample."""
        device = self.net.bias.device
        return self.amplitudes.steps(torch.zeros(len(self.uniforms.streams), device=device))

    def conditions(self, local: Tensor) -> Tensor:
        """`WaveNet.conditions` (n, layers, 2 gate, t) of the context (n, C, t) of the first n's codes."""
        voice = None if self.voice is None else self.voice[: len(local)]
        return self.net.conditions(local, voice)

    def noise(self, rows: int, samples: int) -> Tensor:
        """The next uniform numbers (rows, samples, draws) of the first rows, on the CPU."""
        draws = self.amplitudes.draws
        return self.uniforms.draw(samples * draws, rows).view(rows, samples, draws)


class Speech(ABC):
    """Utterances being spoken: it holds their past."""

    @abstractmethod
    def say(self, local: Tensor) -> Tensor:
        """The next samples (n, t * hop) of the first n utterances, from the context (n, C, t) of their codes.

        Utterances beyond the first n have ended and leave.
        """


class TorchSpeech(Speech):
    """By torch, step by step, on any device and in any dtype."""

    def __init__(self, utterances: Utterances) -> None:
        """At the beginning."""
        self.utterances = utterances
        self.network = Incremental(utterances.net)
        self.steps = utterances.silence[:, None]
        self.state = self.network.start(len(self.steps))

    def say(self, local: Tensor) -> Tensor:
        """As `Speech.say`."""
        rows, amplitudes, made = len(local), self.utterances.amplitudes, []
        if rows < len(self.steps):
            self.steps, self.state = self.steps[:rows], self.state.rows(rows)
        for column in self.utterances.conditions(local).unbind(-1):
            column = column.contiguous()
            uniforms = self.utterances.noise(rows, self.utterances.hop).to(local.device)
            for now in range(self.utterances.hop):
                output = self.network.step(amplitudes(self.steps)[:, :, 0], column, self.state)
                drawn = amplitudes.draw(output, self.utterances.sampling, uniforms[:, now])
                self.steps = drawn[:, None]
                made.append(self.steps)
        return amplitudes.wave(torch.cat(made, dim=1))
