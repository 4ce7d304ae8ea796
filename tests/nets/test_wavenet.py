"""WaveNet stack: receptive fields, causality, parameters, and the cached steps against the whole."""

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets.wavenet import Incremental, Stack, State, WaveNet
from speechvq.store.weights import load_weights, save_weights

SMALL = {"residual": 8, "gate": 6, "skip": 10, "post": 7}


@pytest.mark.parametrize(
    ("layers", "stacks", "kernel", "field"),
    [
        (10, 1, 2, 1024), (20, 2, 2, 2047), (30, 3, 2, 3070), (40, 4, 2, 4093), (50, 5, 2, 5116),
        (10, 1, 3, 2047), (20, 2, 3, 4093), (24, 4, 3, 505), (30, 3, 3, 6139), (16, 2, 2, 511), (6, 2, 2, 15),
    ],
)  # fmt: skip
def test_receptive_field_formula(layers: int, stacks: int, kernel: int, field: int):
    assert Stack(layers=layers, stacks=stacks, kernel=kernel).receptive_field == field


def test_an_impulse_reaches_exactly_the_receptive_field():
    torch.manual_seed(0)
    net = WaveNet(Stack(layers=6, stacks=2, **SMALL), 5).eval()
    h = torch.randn(1, 8, 40)
    changed = h.clone()
    changed[:, :, 5] += 1
    moved = (net(h) != net(changed)).any(1)[0]
    assert moved.nonzero()[:, 0].tolist() == list(range(5, 20))


def test_outputs_before_a_change_are_bit_equal():
    torch.manual_seed(0)
    net = WaveNet(Stack(layers=8, stacks=2, kernel=3, **SMALL), 5).eval()
    h = torch.randn(2, 8, 50)
    cut = h.clone()
    cut[:, :, 20:] = 0
    before, after = net(h), net(cut)
    assert torch.equal(before[:, :, :20], after[:, :, :20])
    assert not torch.equal(before[:, :, 20], after[:, :, 20])


def test_parameters_of_the_thirty_layer_network():
    stack = Stack(layers=30, stacks=3, residual=64, gate=64, skip=256, post=256)
    one_hot = 256 * 64 + 64
    net = WaveNet(stack, 256, local=128)
    assert sum(p.numel() for p in net.parameters()) + one_hot == 1_758_912


def test_every_parameter_gets_a_gradient():
    net = WaveNet(Stack(layers=4, stacks=2, **SMALL), 5, local=3, voice=2)
    net(torch.randn(2, 8, 12), net.conditions(torch.randn(2, 3, 4), torch.randn(2, 2))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(("kernel", "hop"), [(2, 1), (2, 4), (3, 4)])
def test_steps_equal_the_whole(kernel: int, hop: int):
    torch.manual_seed(1)
    net = WaveNet(Stack(layers=9, stacks=3, kernel=kernel, **SMALL), 5, local=3, voice=2).eval()
    torch.nn.init.normal_(net.bias)
    h = torch.randn(3, 8, 48)
    conditions = net.conditions(torch.randn(3, 3, 48 // hop), torch.randn(3, 2))
    steps = Incremental(net)
    state = steps.start(3)
    made = [steps.step(h[:, :, t], conditions[..., t // hop], state) for t in range(48)]
    assert (torch.stack(made, -1) - net(h, conditions)).abs().max() < 1e-5


def test_thirty_layers_of_the_paper_in_steps():
    torch.manual_seed(2)
    net = WaveNet(Stack(), 256, local=128, voice=64).eval()
    h = torch.randn(2, 64, 64)
    conditions = net.conditions(torch.randn(2, 128, 1), torch.randn(2, 64))
    steps = Incremental(net)
    state = steps.start(2)
    made = [steps.step(h[:, :, t], conditions[..., 0], state) for t in range(64)]
    assert (torch.stack(made, -1) - net(h, conditions)).abs().max() < 1e-5


def test_rows_of_different_lengths_run_together_and_leave():
    torch.manual_seed(3)
    net = WaveNet(Stack(layers=6, stacks=2, **SMALL), 5, voice=2).eval()
    h, conditions = torch.randn(3, 8, 30), net.conditions(None, torch.randn(3, 2))
    lengths = (30, 17, 4)
    steps = Incremental(net)
    state = steps.start(3)
    made: list[list[torch.Tensor]] = [[], [], []]
    for t in range(30):
        rows = sum(length > t for length in lengths)
        state = state.rows(rows)
        for row, out in enumerate(steps.step(h[:rows, :, t], conditions[:rows, ..., 0], state)):
            made[row].append(out)
    for row, length in enumerate(lengths):
        alone = net(h[row : row + 1, :, :length], conditions[row : row + 1])[0]
        assert (torch.stack(made[row], -1) - alone).abs().max() < 1e-5


def test_a_saved_state_resumes_bit_for_bit(tmp_path):
    torch.manual_seed(4)
    net = WaveNet(Stack(layers=6, stacks=2, kernel=3, **SMALL), 5).eval()
    h, conditions = torch.randn(2, 8, 40), net.conditions()[..., 0]
    steps = Incremental(net)
    state = steps.start(2)
    for t in range(21):
        steps.step(h[:, :, t], conditions, state)
    save_weights(tmp_path / "state.safetensors", {"past": state.past})
    resumed = State(load_weights(tmp_path / "state.safetensors")["past"], state.time)
    branch = state.clone()
    for t in range(21, 40):
        expected = steps.step(h[:, :, t], conditions, state)
        assert torch.equal(steps.step(h[:, :, t], conditions, resumed), expected)
    assert branch.time == 21
    assert torch.equal(branch.past, load_weights(tmp_path / "state.safetensors")["past"])


def test_conditions_at_code_rate_equal_conditions_at_sample_rate():
    torch.manual_seed(5)
    net = WaveNet(Stack(layers=4, stacks=1, **SMALL), 5, local=3).eval()
    h, local = torch.randn(2, 8, 24), torch.randn(2, 3, 4)
    slow = net(h, net.conditions(local))
    fast = net(h, net.conditions(local.repeat_interleave(6, dim=2)))
    assert (slow - fast).abs().max() < 1e-6


def test_columns_that_do_not_divide_the_places_are_refused():
    net = WaveNet(Stack(layers=4, stacks=1, **SMALL), 5, local=3)
    with pytest.raises(ValueError, match="evenly"):
        net(torch.randn(1, 8, 10), net.conditions(torch.randn(1, 3, 4)))


@pytest.mark.parametrize(
    "wrong", [{"layers": 10, "stacks": 3}, {"kernel": 1}, {"gate": 0}, {"dropout": 1.0}, {"stacks": 0}]
)
def test_wrong_settings_are_sentences(wrong: dict):
    with pytest.raises(BadSetting):
        Stack(**wrong)
