#!/usr/bin/env bash
# The recipes of pictures in sizes for one GPU, hours instead of minutes; all but the baselines of fashion.sh,
# which stay on the CPU, and nothing goes to results.md, whose figures are of a CPU.
# recipes/images/gpu.sh [RECIPE...]: fashion vizdoom rate_distortion rq vit, or some of them, in this order.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
unset OMP_NUM_THREADS
run() { # RECIPE SETTING=VALUE...: with its own folders, so that a CPU's runs stay
  local name=$1
  shift
  env OUT="outputs/images_gpu/$name" RUNS="runs/gpu/$name" OMP_NUM_THREADS="$(nproc)" "$@" bash "$here/$name.sh"
}
often="runtime.accelerator=cuda runtime.workers=4 runtime.valid_every=2000 runtime.save_every=2000"
for name in "${@:-fashion vizdoom rate_distortion rq vit}"; do
  for one in $name; do
    case $one in
    fashion) run fashion STEPS=50000 MORE="$often runtime.batch_size=128" ;;
    vizdoom) run vizdoom TIMES=40 SIZE=base-f4 PRIOR=base MORE="$often runtime.batch_size=32" ;;
    rate_distortion) run rate_distortion TIMES=20 SIZE=sonnet MORE="$often runtime.batch_size=128" ;;
    rq) run rq BESIDE=runs/gpu/vizdoom TIMES=40 SIZE=base PRIOR=base MORE="$often runtime.batch_size=32" ;;
    vit) run vit TIMES=40 SIZE=small MORE="$often runtime.batch_size=64" ;;
    *) echo "there is no recipe $one; give fashion, vizdoom, rate_distortion, rq or vit" >&2 && exit 2 ;;
    esac
  done
done
