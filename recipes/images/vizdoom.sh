#!/usr/bin/env bash
# Frames of a game: VQGAN with and without its critic, then transformers told nothing, depth, or classes.
# About an hour on two cores. TIMES=0.1 is a trial; on a GPU TIMES=20 SIZE=base PRIOR=base and larger batches.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
data=data/vizdoom out=${OUT:-outputs/images/vizdoom} runs=${RUNS:-runs/vizdoom} times=${TIMES:-1}
size=${SIZE:-tiny} prior=${PRIOR:-tiny}
mkdir -p "$out" "$runs"
steps() { python -c "print(max(2, round($1 * $times)))"; }

once() { # FOLDER SETTINGS...: a run that is finished is not begun again
  local folder="$runs/$1"
  shift
  [ -d "$folder/done" ] && return
  speechvq train folder="$folder" data.root="$data" resume=true runtime.accelerator=auto runtime.ema=0.99 \
    runtime.precision=bf16-mixed runtime.valid_every=500 runtime.valid_batches=8 runtime.save_every=200 "$@"
  mkdir "$folder/done"
}

[ -f "$data/arrays.json" ] || speechvq prepare vizdoom --frames 10000 --size 64 --out "$data"

vqgan=(experiment=image_vqgan model.encoder.size="$size" model.decoder.size="$size" quantizer.codebook_size=512
  runtime.batch_size=8)
alone=("~objective" "+objective={name: codec}")
once warm "${vqgan[@]}" "${alone[@]}" runtime.steps="$(steps 900)"
more=("${vqgan[@]}" init_from="$runs/warm/codec" runtime.steps="$(steps 600)" optimiser.warmup=50)
once plain "${more[@]}" "${alone[@]}"
once critic "${more[@]}" objective.start_step=0 objective.width=32 objective.lr=2e-4
maps=(data.size=64 model.encoder.size=tiny model.decoder.size=tiny quantizer.codebook_size=128 runtime.batch_size=8)
once depth experiment=image_vqgan "${alone[@]}" "${maps[@]}" data.view=depth \
  model.decoder.loss.perceptual.network=none runtime.steps="$(steps 500)"
once classes experiment=image_vqgan "${alone[@]}" model=vqgan_segmentation "${maps[@]}" data.view=segmentation \
  runtime.steps="$(steps 500)"

gpt=(experiment=image_gpt model.codec="$runs/critic/codec" model.prior.size="$prior" runtime.steps="$(steps 900)"
  runtime.batch_size=16 optimiser.lr=1e-3)
once free "${gpt[@]}"
once from_depth "${gpt[@]}" model.told.depth="$runs/depth/codec"
once from_classes "${gpt[@]}" model.told.segmentation="$runs/classes/codec"

python "$here/vizdoom.py" "$runs" "$data" "$out"
python "$here/results.py" outputs/images "$here/results.md"
