"""Files that are no published VQGAN, are damaged, or would run code; and the discriminator in one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from speechvq.bridge.taming import import_critic, import_taming
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint
from speechvq.nets.patch_critic import PatchCritic
from tests.hashfill import values

from .taming_published import TINY, discriminator, filled, vqgan, without, write

NOT_A_VQGAN: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda t: without(t, "quant_conv.bias"), r"has no 'quant_conv.bias': this is no VQGAN"),
    (lambda t: without(t, *(n for n in t if ".mid." in n)), r"has no .*mid.block_1.* \(and 51 more\)"),
    (lambda t: t | {"model_ema.decay": torch.ones(1)}, "has 'model_ema.decay', which should not be there"),
    (lambda t: t | {"encoder.down.1.attn.7.q.weight": torch.ones(1)}, "should not be there"),
    (lambda t: t | {"quant_conv.weight": torch.ones(8, 15, 1, 1)}, r"'quant_conv.weight' has the shape"),
    (lambda t: t | {"quant_conv.bias": torch.full((8,), torch.nan)}, "'quant_conv.bias' .* holds NaN"),
    (lambda t: without(t, "quantize.embedding.weight"), "has no codebook quantize.embedding.weight"),
    (lambda t: without(t, "encoder.conv_in.weight"), "has no 'encoder.conv_in.weight': it is no VQGAN"),
    (lambda t: t | {"encoder.conv_in.weight": torch.ones(48, 3, 3, 3)}, "are no multiples of 48"),
    (lambda t: t | {"encoder.conv_in.weight": torch.ones(2, 3, 3, 3)}, "2 channels cannot be normalised"),
    (lambda t: t | {"encoder.conv_in.weight": torch.ones(3)}, "it should have 4 axes"),
    (lambda t: {"x": 1}, "'x' of its state_dict is no tensor"),
]


@pytest.mark.parametrize(("change", "sentence"), NOT_A_VQGAN)
def test_what_is_no_vqgan_is_refused(tmp_path: Path, change: Any, sentence: str) -> None:
    path = write(tmp_path / "last.ckpt", change(filled(vqgan(TINY))))
    with pytest.raises(BadCheckpoint, match=sentence) as caught:
        import_taming(path)
    assert str(path) in str(caught.value)


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def test_a_file_that_would_run_code_is_not_opened(workdir: Path) -> None:
    path = write(workdir / "last.ckpt", filled(vqgan(TINY)), callbacks={"x": _Trap()})
    with pytest.raises(BadCheckpoint, match=r"could run code(.|\n)*torch.save.*weights.ckpt") as caught:
        import_taming(path)
    assert not (workdir / "sprung").exists()
    # What the sentence says to run, where it may, makes a file that is taken.
    (snippet,) = [line for line in str(caught.value).splitlines() if "python -c" in line]
    exec(snippet.split('"')[1])
    assert (workdir / "sprung").exists()
    codec = import_taming(workdir / "weights.ckpt")
    assert isinstance(codec, Codec)
    assert codec.quantizer.codebook_size == 64


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    whole = write(tmp_path / "last.ckpt", filled(vqgan(TINY))).read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadCheckpoint, match="truncated or is not a torch checkpoint"):
        import_taming(tmp_path / "last.ckpt")


def test_the_discriminator(tmp_path: Path) -> None:
    for layers, act, figures in ((2, False, (0.226384, 0.137765)), (3, False, (-0.106208, 0.093015)),
                                 (1, True, None)):  # fmt: skip
        tensors = discriminator(layers, act=act)
        named = {f"loss.discriminator.{name}": tensor for name, tensor in tensors.items()}
        path = write(
            tmp_path / "last.ckpt", named | {"loss.perceptual_loss.lin0.model.1.weight": values("x", (1,))}
        )
        critic = import_critic(path)
        assert isinstance(critic, PatchCritic)
        assert not critic.training
        with torch.no_grad():
            (judged,) = critic(values("input", (1, 3, 64, 64)))
        if figures is not None:
            found = judged.scores.mean().item(), judged.scores.std(correction=0).item()
            assert found == pytest.approx(figures, abs=1e-4)
        else:
            assert critic.state_dict()["layers.3.started"]
    write(path, named | {"loss.discriminator.main.9.weight": torch.ones(3)})
    with pytest.raises(BadCheckpoint, match="none of patches"):
        import_critic(path)
    with pytest.raises(BadCheckpoint, match="came without the discriminator"):
        import_critic(write(path, filled(vqgan(TINY))))
