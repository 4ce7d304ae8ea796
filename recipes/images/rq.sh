#!/usr/bin/env bash
# Frames of a game as 8 x 8 stacks of 4 codes, of the same codebook size and bits as the 16 x 16 codes of
# vizdoom.sh, which must have run: RQ-VAE, and RQ-Transformers with and without soft labels and drawn codes.
# About 30 minutes on two cores. TIMES=0.05 is a trial; gpu.sh has sizes for a GPU.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores
data=data/vizdoom out=${OUT:-outputs/images/rq} runs=${RUNS:-runs/rq} beside=${BESIDE:-runs/vizdoom}
# The temperature fits the codes: certainties from about .95 at the first depth to .4 at the fourth.
size=${SIZE:-tiny-f8} prior=${PRIOR:-tiny} soft=${SOFT:-0.02}
mkdir -p "$out" "$runs"
if [ ! -d "$beside/free/prior" ]; then
  echo "there is nothing in $beside to compare with; run vizdoom.sh first" >&2
  exit 1
fi

. "$here/once.sh"

# All but the networks' last level and the quantizer is as in vizdoom.sh.
codec=(data.root="$data" experiment=image_vqgan quantizer=residual_shared quantizer.codebook_size=512 runtime.batch_size=8
  model.encoder.size="$size" model.decoder.size="$size")
once warm 1000 "${codec[@]}" "~objective" "+objective={name: codec}"
once critic 600 "${codec[@]}" init_from="$runs/warm/codec" optimiser.warmup=50 \
  objective.start_step=0 objective.width=32 objective.weight=0.25
told=(data.root="$data" experiment=image_rq model.codec="$runs/critic/codec" model.prior.size="$prior" runtime.batch_size=16
  optimiser.lr=1e-3)
once soft 900 "${told[@]}" model.soft.temperature="$soft" & # one on each core
second=$!
trap 'kill "$second" 2>/dev/null || true' EXIT
once hard 900 "${told[@]}"
wait "$second"
python "$here/rq.py" "$runs" "$beside" "$data" "$out"
# Of a trial, nothing is taken.
[ "$out" != outputs/images/rq ] || python "$here/results.py" "$out/figures.json" "$here/results.md"
