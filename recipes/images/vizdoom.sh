#!/usr/bin/env bash
# Frames of a game: VQGAN with and without its critic, then transformers told nothing, depth, or classes.
# About 45 minutes on two cores. TIMES=0.1 is a trial; gpu.sh has sizes for a GPU.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
data=data/vizdoom out=${OUT:-outputs/images/vizdoom} runs=${RUNS:-runs/vizdoom}
size=${SIZE:-tiny} prior=${PRIOR:-tiny}
mkdir -p "$out" "$runs"
. "$here/once.sh"

[ -f "$data/arrays.json" ] || speechvq prepare vizdoom --frames 10000 --size 64 --out "$data"

vqgan=(data.root="$data" experiment=image_vqgan model.encoder.size="$size" model.decoder.size="$size" quantizer.codebook_size=512
  runtime.batch_size=8)
alone=("~objective" "+objective={name: codec}")
maps=(data.root="$data" data.size=64 model.encoder.size=tiny model.decoder.size=tiny quantizer.codebook_size=128 runtime.batch_size=8)
gpt=(data.root="$data" experiment=image_gpt model.codec="$runs/critic/codec" model.prior.size="$prior"
  runtime.batch_size=16 optimiser.lr=1e-3)

codecs_of_maps() {
  once depth 500 experiment=image_vqgan "${alone[@]}" "${maps[@]}" data.view=depth \
    model.decoder.loss.perceptual.network=none
  once classes 500 experiment=image_segmentation "${maps[@]}"
}
plain() { once plain 600 "${vqgan[@]}" init_from="$runs/warm/codec" optimiser.warmup=50 "${alone[@]}"; }
told_depth() { once from_depth 600 "${gpt[@]}" model.told.depth="$runs/depth/codec"; }

# Two at a time, one on each core.
beside() { "$1" & beside=$!; }
trap 'kill "${beside:-}" 2>/dev/null || true' EXIT
beside codecs_of_maps
once warm 1000 "${vqgan[@]}" "${alone[@]}"
wait "$beside"
beside plain
# A critic that weighs more than this sharpens, but takes more steps to lower the Frechet distance.
once critic 600 "${vqgan[@]}" init_from="$runs/warm/codec" optimiser.warmup=50 \
  objective.start_step=0 objective.width=32 objective.weight=0.25
wait "$beside"
beside told_depth
once free 900 "${gpt[@]}"
once from_classes 600 "${gpt[@]}" model.told.segmentation="$runs/classes/codec"
wait "$beside"

python "$here/game.py" "$runs" "$data" "$out"
# Of a trial, nothing is taken.
[ "$out" != outputs/images/vizdoom ] || python "$here/results.py" "$out/figures.json" "$here/results.md"
