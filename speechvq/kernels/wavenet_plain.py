"""WaveNet decoding one sample at a time, in plain torch: what every fast backend must agree with.

The network is that of van den Oord et al. (2016), sections 2.1 to 2.5, with rings of past inputs (Fast
WaveNet, Le Paine et al. 2016); conditions come at the rate of the codes, through all their 1x1
convolutions. Noise comes from outside, as uniform numbers, so that equal numbers give equal samples.

Letters: N utterances, T samples, F columns of conditions, L layers, R residual, G gate, S skip, P post,
Q outputs, U uniform numbers per sample (1; for mixtures of logistics 2).
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Network:
    """Weights of a WaveNet, inputs before outputs, all of one dtype and device, contiguous.

    Attributes:
        enter: (Q, R), what enters for each level; with mixtures (2, R), factor and offset of the value.
        dilated: (L, taps * R, 2 G), the oldest tap first; G tanh, then G sigmoid.
        residual: (L, G, R). The last layer's is not used: it leads to no output.
        residual_bias: (L, R).
        skip: (L * G, S), of all layers.
        skip_bias: (S,), the sum of theirs.
        post: (S, P).
        post_bias: (P,).
        last: (P, Q).
        last_bias: (Q,).
        dilations: of each layer.
        levels: amplitude levels.
        mixtures: logistics in the mixture that the outputs describe; 0 for a category per level.
        floor: least log scale of a logistic.
    """

    enter: Tensor
    dilated: Tensor
    residual: Tensor
    residual_bias: Tensor
    skip: Tensor
    skip_bias: Tensor
    post: Tensor
    post_bias: Tensor
    last: Tensor
    last_bias: Tensor
    dilations: tuple[int, ...]
    levels: int
    mixtures: int = 0
    floor: float = -12.0

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights by name."""
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}

    @property
    def taps(self) -> int:
        """Inputs of a dilated convolution."""
        return self.dilated.shape[1] // self.enter.shape[1]

    @property
    def places(self) -> int:
        """Past inputs to remember, of all layers."""
        return (self.taps - 1) * sum(self.dilations)

    def to(self, dtype: torch.dtype) -> Self:
        """The same in another dtype."""
        return replace(self, **{name: tensor.to(dtype) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Draw:
    """How the next sample is drawn.

    Attributes:
        temperature: divides the logits (and multiplies a logistic's scale); 0 takes the likeliest.
        top_k: of the k likeliest only; 0 for all.
        top_p: of the likeliest that together hold this probability.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@dataclass
class Past:
    """What N utterances remember; a decoder changes it in place.

    Attributes:
        rings: (N, places, at least R), a ring a layer, of (taps - 1) * dilation places.
        before: (N,) int64, the last sample.
        time: samples made so far; it says where each ring begins.
    """

    rings: Tensor
    before: Tensor
    time: int = 0

    def first(self, count: int) -> "Past":
        """That of the first ``count`` utterances, apart from this one."""
        return Past(self.rings[:count].clone(), self.before[:count].clone(), self.time)


class Spoken(NamedTuple):
    """What was made."""

    steps: Tensor
    """(N, T) int64 levels."""
    logits: Tensor
    """(N, T, Q) what the network said; empty if nobody asked."""


def start(net: Network, before: Tensor) -> Past:
    """The past of utterances that begin after the levels ``before`` (N,)."""
    # Whole registers of 16, which is how the compiled decoder reads them.
    width = -(-net.enter.shape[1] // 16) * 16
    return Past(net.enter.new_zeros(len(before), net.places, width), before.clone())


def decode(
    net: Network,
    past: Past,
    conditions_NLGF: Tensor,
    uniforms_NTU: Tensor,
    draw: Draw = Draw(),  # noqa: B008 (frozen)
    *,
    forced_NT: Tensor | None = None,
) -> Spoken:
    """Speak T samples, of which each column of conditions serves T / F.

    Args:
        net: in any float dtype, that of ``past`` and ``conditions_NLGF``.
        past: from `start` or from an earlier call; it moves on.
        conditions_NLGF: (N, L, 2 G, F), what is added before the gates, biases and all.
        uniforms_NTU: (N, T, U) in [0, 1).
        draw: temperature, top-k, top-p.
        forced_NT: (N, T) levels that count as what was said, in place of what was drawn.
    """
    hop = uniforms_NTU.shape[1] // conditions_NLGF.shape[3]
    steps, logits = [], []
    for now in range(uniforms_NTU.shape[1]):
        outputs_NQ = step(net, past, conditions_NLGF[..., now // hop])
        drawn_N = _drawn(net, outputs_NQ, draw, uniforms_NTU[:, now])
        past.before = drawn_N if forced_NT is None else forced_NT[:, now]
        steps.append(drawn_N)
        logits.append(outputs_NQ)
    return Spoken(torch.stack(steps, 1), torch.stack(logits, 1))


def step(net: Network, past: Past, conditions_NLG: Tensor) -> Tensor:
    """What the network says (N, Q) about the next sample; the rings move on."""
    R, G = net.enter.shape[1], net.residual.shape[1]
    h_NR = _entering(net, past.before)
    updates, begin = [], 0
    for layer, dilation in enumerate(net.dilations):
        length = (net.taps - 1) * dilation
        ring = past.rings[:, begin : begin + length, :R]
        taps = [ring[:, (past.time + back) % length] for back in range(0, length, dilation)]
        gates_NG = conditions_NLG[:, layer] + torch.cat([*taps, h_NR], 1) @ net.dilated[layer]
        ring[:, past.time % length] = h_NR
        updates.append(gates_NG[:, :G].tanh() * gates_NG[:, G:].sigmoid())
        h_NR = h_NR + updates[-1] @ net.residual[layer] + net.residual_bias[layer]
        begin += length
    past.time += 1
    skip_NS = torch.cat(updates, 1) @ net.skip + net.skip_bias
    return (skip_NS.relu() @ net.post + net.post_bias).relu() @ net.last + net.last_bias


def _entering(net: Network, levels_N: Tensor) -> Tensor:
    """What the last samples bring into the network, (N, R)."""
    if not net.mixtures:
        return net.enter[levels_N]
    value_N = levels_N.double() / (net.levels - 1) * 2 - 1  # even steps from -1 to 1
    return value_N.to(net.enter)[:, None] * net.enter[0] + net.enter[1]


def _drawn(net: Network, outputs_NQ: Tensor, draw: Draw, uniforms_NU: Tensor) -> Tensor:
    """The next levels (N,)."""
    if not net.mixtures:
        return _category(outputs_NQ.double(), draw, uniforms_NU[:, 0])
    logits, means, log_scales = outputs_NQ.double().chunk(3, dim=1)
    component_N1 = _category(logits, draw, uniforms_NU[:, 0])[:, None]
    mean, log_scale = (x.gather(1, component_N1)[:, 0] for x in (means, log_scales))
    noise = torch.logit(uniforms_NU[:, 1].double(), eps=1e-12)
    value = (mean + draw.temperature * log_scale.clamp(min=net.floor).exp() * noise).clamp(-1, 1)
    return ((value + 1) / 2 * (net.levels - 1)).round().long()


def _category(logits_NQ: Tensor, draw: Draw, uniforms_N: Tensor) -> Tensor:
    """The first category at which the running sum of probabilities exceeds the uniform number."""
    if draw.temperature == 0:
        return logits_NQ.argmax(1)
    logits_NQ = logits_NQ / draw.temperature
    if 0 < draw.top_k < logits_NQ.shape[1]:
        least = logits_NQ.topk(draw.top_k, dim=1).values[:, -1:]
        logits_NQ = logits_NQ.masked_fill(logits_NQ < least, -torch.inf)
    chances = logits_NQ.softmax(1)
    ordered, places = chances.sort(dim=1, descending=True, stable=True)
    kept = (ordered.cumsum(1) - ordered < draw.top_p) * ordered
    chances = torch.zeros_like(chances).scatter(1, places, kept)
    edges = chances.cumsum(1)
    reached = uniforms_N.double().clamp(0, 1 - 2**-40) * edges[:, -1]
    return torch.searchsorted(edges, reached[:, None], right=True)[:, 0]
