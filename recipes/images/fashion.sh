#!/usr/bin/env bash
# Fashion-MNIST from nothing to figures: VQ-VAE, PixelCNN told the class, Gaussian and categorical baselines.
# On Debian: apt install dataset-fashion-mnist. About 25 minutes on two cores.
# What is done is not done again: after an interruption, start it again. STEPS=100 is a
# trial of minutes; gpu.sh has sizes for a GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
steps=${STEPS:-2000} data=data/fashion_mnist out=${OUT:-outputs/images/fashion} runs=${RUNS:-runs/fashion}
mkdir -p "$out" "$runs"

[ -f "$data/arrays.json" ] || speechvq prepare fashion_mnist --out "$data"
often=(data.root="$data" runtime.accelerator=auto runtime.steps="$steps" runtime.valid_every=1000 runtime.ema=0.995
  runtime.save_every=500 resume=true ${MORE:-})
made() { [ "$(cat "$runs/$1.done" 2>/dev/null)" = "$steps" ]; } # after as many steps, not those of a trial
if ! made vqvae; then
  speechvq train experiment=image_vqvae folder="$runs/vqvae" quantizer.codebook_size=256 \
    model.encoder.standardise=false "${often[@]}" # as the baselines
  echo "$steps" >"$runs/vqvae.done"
fi
baseline() {
  made "$1" && return
  python "$here/fashion_baseline.py" "$1" "$data" "$runs/$1.safetensors" --steps "$steps"
  echo "$steps" >"$runs/$1.done"
}
baseline categorical & # beside the rest: it draws five samples a step and takes as long as all of that
beside=$!
trap 'kill "$beside" 2>/dev/null || true' EXIT
if ! made pixelcnn; then
  speechvq train experiment=image_pixelcnn folder="$runs/pixelcnn" model.codec="$runs/vqvae/codec" \
    model.prior.size=tiny "${often[@]}"
  echo "$steps" >"$runs/pixelcnn.done"
fi
baseline gaussian
wait "$beside"
python "$here/fashion.py" "$runs" "$data" "$out"
# Of a trial, nothing is taken.
[ "$out" != outputs/images/fashion ] || python "$here/results.py" "$out/figures.json" "$here/results.md"
