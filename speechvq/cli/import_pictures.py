"""``speechvq import`` and ``speechvq export`` of published models of pictures: codecs and their priors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from speechvq.cli.options import Force
from speechvq.errors import BadSetting, WouldOverwrite

if TYPE_CHECKING:
    from torch import nn

Last = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The file last.ckpt.")]
Pt = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The file model.pt.")]
Into = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="The folder that is made: a codec, or prior, codec and condition of a transformer.",
    ),
]
One = Annotated[Path, typer.Argument(metavar="OUT", help="The folder that is made: a codec, or a prior.")]
OutOf = Annotated[Path, typer.Argument(metavar="CODEC", help="A folder that import taming made, or a codec.")]
OneOf = Annotated[Path, typer.Argument(metavar="FOLDER", help="A codec, or a prior.")]
LastOut = Annotated[Path, typer.Argument(metavar="OUT", help="The file that is made, such as last.ckpt.")]
PtOut = Annotated[Path, typer.Argument(metavar="OUT", help="The file that is made, such as model.pt.")]
Yaml = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The yaml that came with the checkpoint.")
]
Beside = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Its yaml; the config.yaml beside it if not given."),
]
YamlOut = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Also write its yaml.")]
Heads = Annotated[
    int | None, typer.Option("--heads", min=1, help="Of a transformer's attention, where there is no yaml.")
]
Of = Annotated[
    Path | None,
    typer.Option("--codec", metavar="FOLDER", help="Of an RQ-Transformer: its RQ-VAE, as imported."),
]
Averaged = Annotated[
    bool, typer.Option("--averaged", help="Take the moving averages of the weights, if the file has them.")
]
Head = Annotated[int, typer.Option("--head", min=1, help="Channels of a head of its attention.")]
Step = Annotated[int, typer.Option("--step", min=0, help="The training step that the file tells.")]
Epoch = Annotated[int, typer.Option("--epoch", min=0, help="The epoch that the file tells.")]


def register(coming: typer.Typer, going: typer.Typer) -> None:
    """Add what both verbs know."""
    coming.command(epilog="Example: speechvq import taming last.ckpt vqgan --config model.yaml")(taming)
    coming.command(epilog="Example: speechvq import rqvae imagenet/model.pt rqvae")(rqvae)
    coming.command(epilog="Example: speechvq import vit last.ckpt vit")(vit)
    going.command("taming", epilog="Example: speechvq export taming vqgan last.ckpt")(export_to_taming)
    epilog = "Example: speechvq export rqvae rqvae model.pt --config config.yaml"
    going.command("rqvae", epilog=epilog)(export_to_rqvae)
    going.command("vit", epilog="Example: speechvq export vit vit last.ckpt")(export_to_vit)


def taming(
    checkpoint: Last, out: Into, *, config: Yaml = None, heads: Heads = None, force: Force = False
) -> None:
    """A VQGAN of CompVis/taming-transformers, or a transformer with its VQGANs.

    A file that holds more than tensors is refused. Where nothing of yours can be reached (a container
    without a network), with pytorch-lightning installed, write its tensors to a file of their own:
    python -c "import torch; c = torch.load('last.ckpt', map_location='cpu', weights_only=False);
    torch.save({'state_dict': c['state_dict']}, 'weights.ckpt')"
    """
    from speechvq.bridge.taming import KIND, PARTS, import_taming
    from speechvq.codec import Codec

    there = _folders(out, PARTS)
    if there and not force:
        raise WouldOverwrite(there[0])
    made = import_taming(checkpoint, config=config, heads=heads)
    parts = {out: made} if isinstance(made, Codec) else {out / name: p for name, p in made.parts.items()}
    if stale := [folder for folder in there if folder not in parts]:
        raise BadSetting(f"{stale[0]} holds a model that this one has no part for; give another folder")
    _save(made, parts, out, f"{KIND}, {checkpoint.name}", force=force)


def rqvae(
    checkpoint: Pt,
    out: One,
    *,
    config: Beside = None,
    codec: Of = None,
    averaged: Averaged = False,
    force: Force = False,
) -> None:
    """An RQ-VAE of kakaobrain/rq-vae-transformer, or an RQ-Transformer of the codes of one.

    A file that holds more than tensors is refused; docs/pictures_import.md says what to do with it.
    """
    from speechvq.bridge.rqvae import KIND, import_rqvae

    if _folders(out, ()) and not force:
        raise WouldOverwrite(out)
    made = import_rqvae(checkpoint, config=config, codec=codec, averaged=averaged)
    _save(made, {out: made}, out, f"{KIND}, {checkpoint.name}", force=force)


def vit(checkpoint: Last, out: One, *, head: Head = 64, force: Force = False) -> None:
    """The first stage of a ViT-VQGAN of thuanz123/enhancing-transformers.

    A file that holds more than tensors is refused; docs/pictures_import.md says what to do with it.
    """
    from speechvq.bridge.vit import KIND, import_vit

    if _folders(out, ()) and not force:
        raise WouldOverwrite(out)
    made = import_vit(checkpoint, head=head)
    _save(made, {out: made}, out, f"{KIND}, {checkpoint.name}", force=force)


def export_to_taming(
    codec: OutOf, out: LastOut, *, config: YamlOut = None, step: Step = 0, force: Force = False
) -> None:
    """A checkpoint that the code of CompVis/taming-transformers loads."""
    from speechvq.bridge.taming import PARTS, Net2Net
    from speechvq.bridge.taming_export import export_taming
    from speechvq.codec import Codec
    from speechvq.store.weights import load_config

    several = codec / PARTS[0] in _folders(codec, PARTS)
    if not several and "prior" in load_config(codec):
        raise BadSetting(
            f"{codec} is a prior alone; give a folder that holds it as prior, its codec as codec, and the "
            "codec of a map that it is told as condition"
        )
    model = Net2Net.from_pretrained(codec) if several else Codec.from_pretrained(codec)
    export_taming(model, out, config=config, step=step, force=force)
    Console(stderr=True).print(f"written: {out}", soft_wrap=True)


def export_to_rqvae(
    folder: OneOf, out: PtOut, *, config: YamlOut = None, epoch: Epoch = 0, force: Force = False
) -> None:
    """A checkpoint that the code of kakaobrain/rq-vae-transformer loads, with its yaml beside it."""
    from speechvq.bridge.rqvae_export import export_rqvae
    from speechvq.codec import Codec
    from speechvq.prior import Prior
    from speechvq.store.weights import load_config

    prior = "prior" in load_config(folder)
    model = Prior.from_pretrained(folder) if prior else Codec.from_pretrained(folder)
    export_rqvae(model, out, config=config, epoch=epoch, force=force)
    Console(stderr=True).print(f"written: {out}", soft_wrap=True)


def export_to_vit(folder: OneOf, out: LastOut, *, step: Step = 0, force: Force = False) -> None:
    """A checkpoint of a first stage that the code of thuanz123/enhancing-transformers loads."""
    from speechvq.bridge.vit import export_vit
    from speechvq.codec import Codec

    export_vit(Codec.from_pretrained(folder), out, step=step, force=force)
    Console(stderr=True).print(f"written: {out}", soft_wrap=True)


def _folders(folder: Path, parts: Sequence[str]) -> list[Path]:
    """Those of a folder and its ``parts`` that hold a model."""
    from speechvq.store.weights import CONFIG

    if folder.exists() and not folder.is_dir():
        raise BadSetting(f"{folder} is a file; give the name of a folder")
    places = [folder, *(folder / part for part in parts)]
    return [place for place in places if (place / CONFIG).exists()]


def _save(made: Any, parts: Mapping[Path, "nn.Module"], out: Path, origin: str, *, force: bool) -> None:
    """Save what was ``made``, whose ``parts`` become these folders, and say how large they are."""
    from speechvq.store.weights import refuse_folder

    for folder in parts:
        refuse_folder(folder, force=force)
    weights = {folder: sum(p.numel() for p in part.parameters()) for folder, part in parts.items()}
    listed = "".join(f"- {folder.name}: {count:,} parameters\n" for folder, count in weights.items())
    card = f"Imported by speechvq from {origin}.\n\n{listed}\nThe weights are their authors'.\n"
    made.save_pretrained(out, card=card)
    for folder, count in weights.items():
        Console(stderr=True).print(f"imported: {folder} ({count:,} parameters)", soft_wrap=True)
