"""R1 against slopes by hand: its value, and its gradient in the critic's weights."""

import torch
from torch import nn

from speechvq.losses.gradient_penalty import steepness
from speechvq.nets.style_critic import StyleCritic


def test_of_a_quadratic_critic_it_is_known():
    # score = a |x|^2, slope 2 a x, so R1 = mean 4 a^2 |x|^2 and its derivative in a is twice that over a.
    a, x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True), torch.randn(5, 3, 4, 4).double()
    x.requires_grad_()
    found = steepness([a * x.square().sum((1, 2, 3))], x)
    wanted = (4 * a.detach() ** 2 * x.detach().square().sum((1, 2, 3))).mean()
    assert torch.allclose(found, wanted)
    (slope,) = torch.autograd.grad(found, a)
    assert torch.allclose(slope, 2 * wanted / a.detach())


def test_through_the_style_critic_it_is_that_of_small_differences():
    torch.manual_seed(0)
    critic, x = StyleCritic(8, channels=1, width=2).double(), torch.randn(4, 1, 8, 8, dtype=torch.float64)

    def penalty() -> torch.Tensor:
        real = x.clone().requires_grad_()
        return steepness([critic(real)[0].scores], real)

    h, flat = 1e-6, x.reshape(-1)
    slopes = torch.zeros_like(flat)
    with torch.no_grad():
        for i in range(len(flat)):
            ends = []
            for sign in (h, -h):
                moved = flat.clone()
                moved[i] += sign
                ends.append(critic(moved.view_as(x))[0].scores.sum())
            slopes[i] = (ends[0] - ends[1]) / (2 * h)
    wanted = slopes.view(4, -1).square().sum(1).mean()
    assert torch.allclose(penalty(), wanted, rtol=1e-4)
    # The second derivative: how the penalty changes with one weight of the first and of the last layer.
    for weight in (critic.enter.weight, critic.gather.weight):
        assert isinstance(weight, nn.Parameter)
        (found,) = torch.autograd.grad(penalty(), weight)
        place, ends = (0,) * weight.dim(), []
        step = 1e-7  # so small that no leaky ReLU turns
        for sign in (step, -step):
            with torch.no_grad():
                weight[place] += sign
            ends.append(penalty().item())
            with torch.no_grad():
                weight[place] -= sign
        assert abs(found[place].item() - (ends[0] - ends[1]) / (2 * step)) <= 1e-4 * found.abs().max().item()
