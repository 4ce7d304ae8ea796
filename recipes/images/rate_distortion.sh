#!/usr/bin/env bash
# Rate and distortion: more depths of one codebook against a larger codebook, on Fashion-MNIST at 32 x 32.
# About 20 minutes on one core. TIMES=0.05 is a trial; gpu.sh has sizes for a GPU.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
data=data/fashion_mnist out=${OUT:-outputs/images/rate_distortion} runs=${RUNS:-runs/rate_distortion}
mkdir -p "$out" "$runs"
count=$(python -c "print(max(2, round(1500 * ${TIMES:-1})))")

once() { # DEPTH SIZE: a codec of so many codebook visits and codes
  local name="$runs/depth$1-codes$2"
  [ "$(cat "$name.done" 2>/dev/null)" = "$count" ] && return
  speechvq train experiment=image_vqvae folder="$name" data.root="$data" data.size=32 resume=true runtime.steps="$count" \
    quantizer=residual quantizer.num_codebooks="$1" quantizer.codebook_size="$2" +quantizer.shared=true \
    model.encoder.size="${SIZE:-small}" model.decoder.size="${SIZE:-small}" +model.encoder.hop=8 \
    model.decoder.likelihood=gaussian model.encoder.standardise=false \
    runtime.accelerator=auto runtime.ema=0.99 runtime.valid_every=1000 runtime.save_every=500 ${MORE:-}
  echo "$count" >"$name.done"
}

[ -f "$data/arrays.json" ] || speechvq prepare fashion_mnist --out "$data"
for depth in 1 2 3 4 6 8; do once "$depth" 256; done
for codes in 1024 4096 16384; do once 1 "$codes"; done
python "$here/rate_distortion.py" "$runs" "$data" "$out"
# Of a trial, nothing is taken.
[ "$out" != outputs/images/rate_distortion ] || python "$here/results.py" "$out/figures.json" "$here/results.md"
