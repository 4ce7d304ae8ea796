"""Who speaks for a WaveNet decoder: the fastest that is present, the same samples from each, sentences."""

import logging

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting, UnknownName
from speechvq.kernels import native
from speechvq.nets.sampling import Sampling
from speechvq.nets.wavenet import Stack
from speechvq.quantize import VectorQuantizer
from speechvq.speech.amplitudes import Output
from speechvq.speech.encoder import MelEncoder
from speechvq.speech.stream import decode_stream
from speechvq.speech.wavenet import WaveNetDecoder

needs_library = pytest.mark.skipif(not native.available(), reason="the kernels are not compiled here")
OUTPUTS = [Output(), Output("logistics", mixtures=3)]


def decoder(output: Output = OUTPUTS[0], **more) -> WaveNetDecoder:
    stack = Stack(layers=6, stacks=2, kernel=more.pop("kernel", 2), residual=12, gate=10, skip=14, post=16)
    settings = {"dim": 5, "hop": 8, "stack": stack, "cond_channels": 6, "voice_channels": 4, "output": output}
    return WaveNetDecoder(("ann", "bob"), **(settings | more)).eval()


def steps(net: WaveNetDecoder, wave: Tensor) -> Tensor:
    return net.amplitudes.steps(wave[:, 0])


@needs_library
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("sampling", [Sampling(seed=3), Sampling(0.7, top_k=9), Sampling(temperature=0)])
def test_the_kernel_says_what_torch_says(output: Output, sampling: Sampling):
    torch.manual_seed(1)  # no near tie
    net, mask = decoder(output, kernel=3), torch.arange(9) < torch.tensor([[4], [9], [7]])
    vectors, said = torch.randn(3, 5, 9), {}
    for backend in ("native", "torch"):
        options = {"backend": backend, "speaker": torch.tensor([1, 0, 1]), "sampling": sampling}
        if backend == "native":
            options["storage"] = "float32"
        said[backend] = steps(net, net.generate(vectors, mask, **options))
        assert net.backend == backend
    apart = (said["native"] - said["torch"]).abs().max()
    assert apart <= (1 if output.kind == "logistics" else 0)


@needs_library
@pytest.mark.parametrize("storage", ["float32", "float24", "bfloat16", "int8"])
def test_every_storage_speaks_and_a_stream_is_the_whole(storage: str):
    net, vectors = decoder(), torch.randn(2, 5, 7)
    options = {"speaker": "bob", "storage": storage, "backend": "native"}
    whole = net.generate(vectors, **options)
    pieces = list(net.stream(iter(vectors.split([1, 4, 2], dim=2)), **options))
    assert torch.equal(torch.cat(pieces, 2), whole)
    alone = net.generate(vectors[:1], **options)
    # The context of the codes is torch's own, which rounds differently for one row.
    assert torch.allclose(alone[0], whole[0], atol=1e-4)


@needs_library
def test_the_fastest_that_is_present_speaks_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    net, vectors = decoder(), torch.randn(1, 5, 2)
    assert net.backend is None
    with caplog.at_level(logging.INFO, "speechvq"):
        net.generate(vectors, speaker="ann")
        assert net.backend == "native"
        assert "the native backend (" in caplog.text
        assert "float24 weights" in caplog.text
        net.double().generate(vectors.double(), speaker="ann")
        assert net.backend == "torch"
        monkeypatch.setenv(native.VARIABLE, "plain")
        net.float().generate(vectors, speaker="ann")
        assert net.backend == "torch"
    assert caplog.text.count("by torch, step by step") == 2
    with pytest.raises(BadSetting, match="the native backend cannot speak so: the compiled library"):
        net.generate(vectors, speaker="ann", backend="native")


@needs_library
def test_a_decoder_that_training_ruined_is_left_to_torch():
    net, vectors = decoder(), torch.randn(1, 5, 2)
    net.net.bias.data[3] = torch.nan  # of the conditions: the kernel speaks, at some level
    assert net.generate(vectors, speaker="ann", backend="native").isfinite().all()
    next(net.net.post.parameters()).data[0] = torch.nan
    with pytest.raises(BadSetting, match="weights are not all finite"):
        net.generate(vectors, speaker="ann", backend="native")


@needs_library
def test_wrong_wishes_are_sentences():
    net, vectors = decoder(), torch.randn(1, 5, 2)
    with pytest.raises(UnknownName, match="no backend called 'abacus'; known: .*native, torch"):
        net.generate(vectors, speaker="ann", backend="abacus")
    for gpu in ("triton", "graph"):
        with pytest.raises(BadSetting, match=f"{gpu} backend cannot speak so: the decoder is on cpu"):
            net.generate(vectors, speaker="ann", backend=gpu)
    with pytest.raises(BadSetting, match="weights as float24, float32, bfloat16, int8, not as 'int3'"):
        net.generate(vectors, speaker="ann", backend="native", storage="int3")
    with pytest.raises(BadSetting, match="leave storage out"):
        net.generate(vectors, speaker="ann", backend="torch", storage="float32")


@needs_library
def test_a_codec_passes_the_wish_on():
    encoder, quantizer = MelEncoder(5, channels=8, dilations=(1,)), VectorQuantizer(5, 16)
    codec = Codec(encoder, quantizer, decoder(hop=encoder.hop), room="speech", rate=16000).eval()
    codes = torch.randint(16, (1, 1, 3))
    wave = {name: codec.decode(Codes(codes), speaker="ann", backend=name) for name in ("native", "torch")}
    assert wave["native"].shape == wave["torch"].shape == (1, 1, 3 * encoder.hop)
    pieces = decode_stream(codec, iter(codes.split(2, 2)), speaker="ann", backend="native")
    assert torch.equal(torch.cat(list(pieces), 2), wave["native"])
    assert codec.decoder.backend == "native"
