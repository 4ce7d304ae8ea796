"""Settings that cannot work are sentences, and YAML can choose every quantizer."""

import pytest

from speechvq.errors import BadSetting, UnknownName
from speechvq.quantize import QUANTIZERS, Learning, ResidualQuantizer, Revival, Start, VectorQuantizer


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Learning(by="magic"),
            "cannot learn by 'magic'; choose one of ema, debiased, gradient, frozen",
        ),
        (lambda: Learning(decay=1.0), r"decay is 1.0; it must be in \[0, 1\)"),
        (lambda: Learning(epsilon=0), "epsilon is 0; it must be above 0"),
        (lambda: Learning(commitment=-1), "commitment weight is -1; it must be at least 0"),
        (lambda: Learning(codebook=float("nan")), "codebook weight is nan; it must be at least 0"),
        (lambda: Learning(scaling="max"), "scaled by 'max'; choose one of mean, sum"),
        (lambda: Start(by="zeros"), "start by 'zeros'; choose one of normal, uniform, data, kmeans"),
        (lambda: Start(scale=0), "scale is 0; it must be above 0"),
        (lambda: Start(per_code=0), "per_code is 0 and its iterations 10; both must be at least 1"),
        (lambda: Revival(threshold=1.0), r"threshold is 1.0; it must be in \[0, 1\)"),
        (lambda: Revival(decay=float("nan")), r"decay is nan; it must be in \[0, 1\)"),
        (lambda: VectorQuantizer(0, 4), "dim is 0; it must be a whole number from 1"),
        (lambda: VectorQuantizer(4, 2.5), "codebook_size is 2.5"),  # type: ignore[arg-type]
        (lambda: ResidualQuantizer(4, 4, 0), "num_codebooks is 0"),
    ],
)
def test_bad_settings_are_sentences(make, sentence):
    with pytest.raises(BadSetting, match=sentence):
        make()


def test_yaml_chooses():
    quantizer = QUANTIZERS.build(
        {
            "name": "residual",
            "dim": 4,
            "codebook_size": 8,
            "num_codebooks": 2,
            "shared": True,
            "learning": {"by": "gradient", "commitment": 0.5},
            "start": {"by": "uniform"},
            "revival": {"threshold": 0},
        }
    )
    assert isinstance(quantizer, ResidualQuantizer)
    assert quantizer.learning == Learning(by="gradient", commitment=0.5)
    assert quantizer.spec["revival"] == {"threshold": 0, "decay": 0.99}
    assert len(quantizer.codebooks) == 1


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(UnknownName, match="threshold, decay"):
        QUANTIZERS.build({"name": "vector", "dim": 4, "codebook_size": 8, "revival": {"treshold": 0}})
    with pytest.raises(UnknownName, match="residual, vector"):
        QUANTIZERS.build({"name": "vectr", "dim": 4, "codebook_size": 8})
