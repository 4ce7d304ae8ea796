#!/usr/bin/env bash
# ViT-VQGAN in small. Frames of a game: how many of 8192 codes are used when they are factorised and of length
# one, and when they are not, started on data after a while, at once, or at random. Fashion-MNIST: ViT-VQGAN and VQGAN, a
# transformer over the codes of each that is told nothing (VIM, and VQGAN's), and what a linear classifier reads
# from their blocks.
# About an hour on one core. TIMES=0.02 is a trial; gpu.sh has sizes for a GPU.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
game=data/vizdoom clothes=data/fashion_mnist
out=${OUT:-outputs/images/vit} runs=${RUNS:-runs/vit} size=${SIZE:-tiny}
mkdir -p "$out" "$runs"

. "$here/once.sh"

[ -f "$game/arrays.json" ] || speechvq prepare vizdoom --frames 10000 --size 64 --out "$game"
[ -f "$clothes/arrays.json" ] || speechvq prepare fashion_mnist --out "$clothes"

# No critic, and no perceptual distance: the network behind it was trained on labels.
alone=("~objective" "+objective={name: codec}" model.decoder.loss.features=0 runtime.batch_size=16)
vit=(experiment=image_vit "${alone[@]}" model.encoder.size="$size" model.decoder.size="$size" optimiser.lr=1e-3)
plain=(quantizer.space.dim=null quantizer.space.metric=euclidean)
bare=(quantizer.start.by=normal quantizer.start.after=0 quantizer.revival.threshold=0) # as published
once factorised 600 "${vit[@]}" data.root="$game"
once factorised_at_once 600 "${vit[@]}" data.root="$game" quantizer.start.after=0
once plain 600 "${vit[@]}" data.root="$game" "${plain[@]}"
once factorised_bare 600 "${vit[@]}" data.root="$game" "${bare[@]}" quantizer.space.gradient=vector
once plain_bare 600 "${vit[@]}" data.root="$game" "${plain[@]}" "${bare[@]}"

small=(data.root="$clothes" quantizer.codebook_size=1024)
once clothes 1500 "${vit[@]}" "${small[@]}" model.encoder.patch=4 model.encoder.side=28
once clothes_vqgan 1000 experiment=image_vqgan "${alone[@]}" "${small[@]}" model.encoder.size=tiny \
  model.decoder.size=tiny model.decoder.loss.perceptual.network=none

told=(data.root="$clothes" runtime.batch_size=32 optimiser.lr=1e-3)
once vim 5000 experiment=image_vim "${told[@]}" model.codec="$runs/clothes/codec" model.prior.size="vim-$size"
once gpt 5000 experiment=image_gpt "${told[@]}" model.codec="$runs/clothes_vqgan/codec" model.prior.size="$size"

pictures=$(python -c "print(max(200, round(10_000 * min(1, ${TIMES:-1}))))") # of each split
python "$here/vit.py" "$runs" "$game" "$clothes" "$out" "$pictures"
# Of a trial, nothing is taken.
[ "$out" != outputs/images/vit ] || python "$here/results.py" "$out/figures.json" "$here/results.md"
