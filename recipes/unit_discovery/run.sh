#!/usr/bin/env bash
# From nothing to the table of results: speech with exact phone times, units of the shipped codec and of k-means.
# On Debian: apt install flite. What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores

# The same sentences and splits as those of recipes/speaker_conversion, which trained the codec.
[ -f data/flite/manifest.jsonl ] || speechvq prepare flite --sentences 1100 --normalise peak --out data/flite

out=outputs/unit_discovery
mkdir -p "$out"
python "$here/compare.py" "${1:-checkpoints/speech}" data/flite/manifest.jsonl "$out" "$out/results.md"
cat "$out/results.md"
