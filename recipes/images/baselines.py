"""What the VQ-VAE of pictures is measured against: its encoder and decoder with other latents on its grid.

The paper's comparison ("Neural Discrete Representation Learning", van den Oord et al. 2017, section 4.1) is
with Gaussian latents (Kingma and Welling 2014) and with categorical ones trained by VIMCO (Mnih and Rezende
2016). Both are judged by the bound of Burda et al. (2016, IWAE): with S latents z_s from q(z | x),

    log p(x) >= E log 1/S sum_s w_s,   w_s = p(x | z_s) p(z_s) / q(z_s | x),

which is the ELBO for S = 1 and rises with S. Likelihoods are of the stored levels, so that the bound is one
of bits per dimension. S samples, B pictures, K codes, D channels of a latent, N places.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.codec import Encoder
from speechvq.image.conv import ConvDecoder


def bound(log_weights_SB: Tensor) -> Tensor:
    """log 1/S sum_s w_s of every picture, (B,) nats."""
    return log_weights_SB.logsumexp(0) - math.log(len(log_weights_SB))


def vimco(log_weights_SB: Tensor, log_q_SB: Tensor) -> Tensor:
    """A value (B,) whose gradient is, in expectation, that of the expected bound (Mnih and Rezende, eq. 8).

    What a sample is credited with is the bound less what it would be if that sample's weight were the
    geometric mean of the others': so the others are its baseline, and nothing is learned for it.

    Args:
        log_weights_SB: log w_s, S at least 2, differentiable in model and q.
        log_q_SB: log q(z_s | x), differentiable in q.
    """
    S = len(log_weights_SB)
    now = log_weights_SB.detach()
    mean_of_others_SB = (now.sum(0) - now) / (S - 1)
    own_SS1 = torch.eye(S, dtype=torch.bool, device=now.device)[..., None]
    without_SB = torch.where(own_SS1, mean_of_others_SB[:, None], now).logsumexp(1) - math.log(S)
    credit_SB = bound(now) - without_SB
    return bound(log_weights_SB) + (credit_SB * log_q_SB).sum(0)


class Baseline(nn.Module, ABC):
    """An encoder and a decoder with latents between them that have a posterior q and a prior p."""

    def __init__(self, encoder: Encoder, decoder: ConvDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    @abstractmethod
    def log_weights(self, picture: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """log w_s and log q(z_s | x) of ``samples`` latents of (B, C, H, W) pictures, both (S, B)."""

    @abstractmethod
    def loss(self, picture: Tensor) -> Tensor:
        """What training minimises, a scalar, in nats per value."""

    @torch.no_grad()
    def bits_per_dim(self, picture: Tensor, samples: int = 1) -> Tensor:
        """Upper bound of -log2 p(x) per value, (B,), by ``samples`` latents."""
        # One by one: the decoder's output of fifty is large.
        rows = [self.log_weights(picture, 1)[0] for _ in range(samples)]
        return -bound(torch.cat(rows)) / (picture[0].numel() * math.log(2))

    def log_likelihood(self, latents: Tensor, picture: Tensor) -> Tensor:
        """log p(x | z) of latents (S, B, D, H', W'), (S, B)."""
        samples = len(latents)
        output = self.decoder(latents.flatten(0, 1), tuple(picture.shape[2:]))
        pictures = picture.expand(samples, *picture.shape).flatten(0, 1)
        nats = self.decoder.likelihood.nats(output, pictures).flatten(1).sum(1)
        return -nats.unflatten(0, (samples, -1))


class GaussianVAE(Baseline):
    """Gaussian latents of D channels with a standard normal prior; the encoder gives 2 D."""

    def posterior(self, picture: Tensor) -> torch.distributions.Normal:
        """q(z | x) of every latent, (B, D, H', W')."""
        mean, log_variance = self.encoder(picture).chunk(2, dim=1)
        # Beyond these a deviation under- or overflows before it is of any use.
        return torch.distributions.Normal(mean, (0.5 * log_variance.clamp(-14, 14)).exp())

    def log_weights(self, picture: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """See `Baseline.log_weights`."""
        posterior = self.posterior(picture)
        z = posterior.rsample((samples,))
        log_q = posterior.log_prob(z).flatten(2).sum(2)
        log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(2).sum(2)
        return self.log_likelihood(z, picture) + log_p - log_q, log_q

    def loss(self, picture: Tensor) -> Tensor:
        """Minus the ELBO, with the divergence of q from p in closed form."""
        posterior = self.posterior(picture)
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        likelihood = self.log_likelihood(posterior.rsample((1,)), picture)
        return (divergence.sum() - likelihood.sum()) / picture.numel()


class CategoricalVAE(Baseline):
    """One of K codes at every place, uniform a priori, its posterior by a linear layer; trained by VIMCO."""

    def __init__(
        self, encoder: Encoder, decoder: ConvDecoder, codebook_size: int, *, samples: int = 5
    ) -> None:
        """``codebook_size`` codes of the decoder's width; ``samples`` (50 in the paper) train it."""
        super().__init__(encoder, decoder)
        self.samples, self.codebook_size = samples, codebook_size
        self.logits = nn.Conv2d(encoder.dim, codebook_size, 1)
        self.codes = nn.Embedding(codebook_size, decoder.dim)

    def posterior(self, picture: Tensor) -> Tensor:
        """log q(code | x), (B, H', W', K)."""
        return self.logits(self.encoder(picture)).movedim(1, 3).log_softmax(3)

    def log_weights(self, picture: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """See `Baseline.log_weights`."""
        log_q = self.posterior(picture)
        codes = torch.distributions.Categorical(logits=log_q).sample((samples,))  # (S, B, H', W')
        log_q = log_q.expand(samples, *log_q.shape).gather(4, codes[..., None]).flatten(2).sum(2)
        log_p = -codes[0, 0].numel() * math.log(self.codebook_size)
        vectors = F.embedding(codes, self.codes.weight).movedim(4, 2)
        return self.log_likelihood(vectors, picture) + log_p - log_q, log_q

    def loss(self, picture: Tensor) -> Tensor:
        """Minus `vimco`'s value; its gradient is what counts."""
        return -vimco(*self.log_weights(picture, self.samples)).sum() / picture.numel()
