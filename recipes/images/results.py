"""Write the page of results from the figures of all recipes, as far as they are there.

python results.py outputs/images results.md
"""

import json
import shutil
import sys
from pathlib import Path

from speechvq.store.atomic import atomic


def fashion(found: dict) -> list[str]:
    """Fashion-MNIST."""
    bits = found["bits per dimension"]
    return [
        "## Fashion-MNIST: `recipes/images/fashion.sh`",
        "",
        f"Upper bounds of bits per dimension over {found['pictures']} test pictures of 28 x 28 grey levels; "
        "the same encoder, decoder, likelihood (mixture of logistics), data, batch and "
        f"{found['steps']} steps for all. The VQ-VAE's weights are averaged over its last steps.",
        "",
        "| latents | bits per dimension |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in bits.items()),
        "",
        "A classifier that was trained on real pictures recognises of",
        "",
        "| pictures | recognised |",
        "|---|---|",
        f"| real, test | {found['real pictures recognised']:.1%} |",
        f"| reconstructed | {found['reconstructions recognised']:.1%} |",
        f"| made up by the PixelCNN, told the class | {found['samples recognised']:.1%} |",
        f"| best of four, chosen by another classifier | {found['best of 4 recognised']:.1%} |",
        "",
        "Made up, by class: "
        + ", ".join(f"{name} {share:.0%}" for name, share in found["by class"].items())
        + ".",
        "",
        "Test pictures above their reconstructions, and made-up pictures, a row for each class:",
        "",
        "![](pictures/fashion-reconstructions.png)",
        "",
        "![](pictures/fashion-samples.png)",
        "",
        "The best of four:",
        "",
        "![](pictures/fashion-best_of_4.png)",
    ]


def vizdoom(found: dict) -> list[str]:
    """Frames of a game."""
    names = {"warm": "warm-up alone", "plain": "went on without a critic", "critic": "went on with a critic"}
    told = [("depth", "depth correlation"), ("classes", "mean IoU")]
    steps = ", ".join(f"{name} {count}" for name, count in found["steps"].items())
    lines = [
        "## Frames of a game: `recipes/images/vizdoom.sh`",
        "",
        f"VQGAN, 64 x 64 pixels as 16 x 16 codes out of 512; {found['frames']} test frames. The Frechet "
        "distance is of EfficientNet-Lite0 features and cannot be compared with an Inception FID. Steps of "
        f"training: {steps} (plain and critic go on from warm; the critic's weight was chosen on validation "
        "frames).",
        "",
        "| codec | Frechet | PSNR dB | SSIM | perceptual |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["reconstructions"].items():
        figures = f"{row['Frechet']:.2f} | {row['PSNR']:.2f} | {row['SSIM']:.3f} | {row['perceptual']:.4f}"
        lines.append(f"| {names[name]} | {figures} |")
    lines += [
        "",
        "Rows: test frames, then the three codecs.",
        "",
        "![](pictures/vizdoom-reconstructions.png)",
        "",
    ]
    lines += [
        f"Frames that a transformer made up, told nothing: Frechet {found['told nothing']['Frechet']:.2f}.",
        "",
        "![](pictures/vizdoom-free.png)",
        "",
        "Twice as wide, by a window that slides:",
        "",
        "![](pictures/vizdoom-wide.png)",
        "",
        "Told a map (as codes of its own codec): how well a network that was trained on real frames finds "
        "the map again.",
        "",
        "| told | measure | made-up frames | beside another's map | real frames | beside another's map |",
        "|---|---|---|---|---|---|",
    ]
    for name, measure in told:
        lines.append(
            f"| {name} | {measure} | " + " | ".join(f"{x:.3f}" for x in found[measure].values()) + " |"
        )
    for name, _ in told:
        lines += ["", f"Told {name}: the maps, the frames made of them, the real frames.", ""]
        lines += [f"![](pictures/vizdoom-{name}.png)", "", f"![](pictures/vizdoom-from_{name}.png)"]
    return lines


def rate_distortion(found: dict) -> list[str]:
    """Depth against a larger codebook."""
    return [
        "## Rate and distortion: `recipes/images/rate_distortion.sh`",
        "",
        "Fashion-MNIST, 32 x 32 pixels as 4 x 4 places; the same encoder and decoder, trained alike with "
        f"each quantizer. Mean squared error of {found['pictures']} test pictures, in bytes (0 to 255).",
        "",
        "| depth | codes | bits a picture | mean squared error | codes used |",
        "|---|---|---|---|---|",
        *(
            f"| {row['depth']:.0f} | {row['codes']:.0f} | {row['bits']:.0f} | "
            f"{row['mean squared error']:.1f} | {row['used']:.1%} |"
            for row in found["rows"]
        ),
        "",
        "![](pictures/rate_distortion-plot.png)",
        "",
        "Test pictures, then reconstructions in the order of the table:",
        "",
        "![](pictures/rate_distortion-reconstructions.png)",
    ]


def rq(found: dict) -> list[str]:
    """Stacks of codes beside single ones."""
    names = {"single": "16 x 16 x 1", "stacks": "8 x 8 x 4"}
    told = {
        "single": "16 x 16 x 1, transformer",
        "hard": "8 x 8 x 4, RQ-Transformer, hard labels",
        "soft": "8 x 8 x 4, RQ-Transformer, soft labels and drawn codes",
    }
    lines = [
        "## Stacks of codes: `recipes/images/rq.sh`",
        "",
        f"The frames of the game again, the same bits and codes in two forms; {found['frames']} test frames.",
        "",
        "| codes | bits a frame | Frechet | PSNR dB |",
        "|---|---|---|---|",
    ]
    for name, row in found["codecs"].items():
        lines.append(f"| {names[name]} | {row['bits']:.0f} | {row['Frechet']:.1f} | {row['PSNR']:.2f} |")
    lines += ["", "| frames made up by | parameters | Frechet |", "|---|---|---|"]
    for name in told:
        row = found["priors"][name]
        lines.append(f"| {told[name]} | {row['parameters'] / 1e6:.2f} M | {row['Frechet']:.1f} |")
    lines += [
        "",
        "Frames a second on one thread (codes alone, and with decoding):",
        "",
        "| batch | 16 x 16 x 1 | 8 x 8 x 4 | ratio of codes | ratio of frames |",
        "|---|---|---|---|---|",
    ]
    for row in found["speed"]:
        one, four = row["single"], row["stacks"]
        lines.append(
            f"| {row['batch']} | {one['codes']:.2f}, {one['pictures']:.2f} | "
            f"{four['codes']:.2f}, {four['pictures']:.2f} | {four['codes'] / one['codes']:.1f} | "
            f"{four['pictures'] / one['pictures']:.1f} |"
        )
    lines += ["", "Test frames, then 16 x 16 x 1 and 8 x 8 x 4:", "", "![](pictures/rq-reconstructions.png)"]
    for name, text in told.items():
        lines += ["", f"Made up, {text}:", "", f"![](pictures/rq-{name}.png)"]
    return lines


def vit(found: dict) -> list[str]:
    """ViT-VQGAN's codes, and what linear probes read from transformers."""
    names = {"factorised": "32 channels of length one", "plain": "128 channels as they are"}
    names |= {f"{name}_bare": f"{words}, at random, none revived" for name, words in names.items()}
    names |= {"factorised_at_once": f"{names['factorised']}, begun at once"}
    steps = ", ".join(f"{name} {count}" for name, count in found["steps"].items())
    lines = [
        "## ViT-VQGAN: `recipes/images/vit.sh`",
        "",
        "The frames of the game as 8 x 8 codes of ViT-VQGAN: the same networks, steps and "
        "learning; a codebook that starts on data after some steps in which vectors pass as they are, or at "
        "once, and whose dead codes are revived; or one of random codes that lives and dies as it is. How "
        "many of its codes occur in an "
        f"epoch of training frames, and PSNR of test frames. Steps of training: {steps}.",
        "",
        "| codes | of | used | perplexity | PSNR dB |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["codebooks"].items():
        figures = f"{row['used']:.1%} | {row['perplexity']:.0f} | {row['PSNR']:.2f}"
        lines.append(f"| {names[name]} | {row['codes']} | {figures} |")
    lines += [f"| the mean of each patch, for comparison | | | | {found['means']:.2f} |"]
    lines += ["", "Test frames, then as the rows above tell them:", "", "![](pictures/vit-codes.png)", ""]
    told = {"vim": "VIM over codes of ViT-VQGAN", "gpt": "VQGAN's transformer over its codes"}
    pixels = found["features"]["vim"]["pixels"]
    lines += [
        f"Linear probes on Fashion-MNIST, from {pixels['train']} pictures, scored on {pixels['test']} "
        "of the test split: what each block says, averaged over all places. The chosen block was the best on "
        "pictures held out of training.",
        "",
        "| features | chosen block | accuracy | with random weights | each block |",
        "|---|---|---|---|---|",
    ]
    for name, words in told.items():
        probes = found["features"][name]
        best, random = (probes[kind][str(probes["best"])]["accuracy"] for kind in ("layers", "random"))
        each = ", ".join(f"{probe['accuracy']:.1%}" for probe in probes["layers"].values())
        lines.append(f"| {words} | {probes['best']} | {best:.1%} | {random:.1%} | {each} |")
    lines += [f"| raw pixels | | {pixels['accuracy']:.1%} | | |"]
    lines += [
        "",
        "Test pictures, then as ViT-VQGAN and VQGAN tell them:",
        "",
        "![](pictures/vit-clothes.png)",
    ]
    for name, words in told.items():
        lines += ["", f"Made up by {words}:", "", f"![](pictures/vit-{name}.png)"]
    return lines


def main(figures: Path, page: Path) -> None:
    """Take the figures and sheets of one recipe, and write the page of all that were taken."""
    name, pictures = figures.parent.name, page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for file in figures.parent.glob("*.png"):
        shutil.copyfile(file, pictures / f"{name}-{file.name}")
    shutil.copyfile(figures, pictures / f"{name}.json")
    lines = ["# Pictures: what came out", ""]
    for section in (fashion, vizdoom, rate_distortion, rq, vit):
        taken = pictures / f"{section.__name__}.json"
        if taken.is_file():
            lines += [*section(json.loads(taken.read_text())), ""]
    with atomic(page) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
