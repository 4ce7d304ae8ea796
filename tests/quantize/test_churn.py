"""A shared residual codebook must mean in evaluation what it meant in training.

Where depths learn one after the other and codes below an absolute count are begun anew, small batches
replace most of the codebook at every call by vectors of that very batch: the error in training is then
far below the error in evaluation. Codebooks that stand still during the walk, and a threshold relative
to the fair share, close the gap at every ratio of vectors to codes.
"""

import pytest
import torch

from speechvq.quantize import ResidualQuantizer, Start

DIM, SIZE, DEPTH, STEPS = 8, 256, 4, 60


@pytest.mark.parametrize("vectors_per_code", [0.25, 1, 4])
def test_training_and_evaluation_see_one_codebook(vectors_per_code):
    torch.manual_seed(0)
    mixture = torch.randn(40, DIM)
    quantizer = ResidualQuantizer(DIM, SIZE, DEPTH, shared=True, start=Start(by="kmeans", per_code=4))

    def batch(count):
        return (mixture[torch.randint(40, (count,))] + 0.3 * torch.randn(count, DIM)).T[None]

    errors, revived = [], []
    for _ in range(STEPS):
        stats = quantizer(batch(int(vectors_per_code * SIZE))).stats
        errors.append(float(stats["error"]))
        revived.append(float(stats["revived"]))
    in_training = sum(errors[-20:]) / 20
    in_evaluation = float(quantizer.eval()(batch(4096)).stats["error"])
    assert in_evaluation == pytest.approx(in_training, rel=0.1)
    assert sum(revived[-20:]) / 20 < 0.02 * SIZE
