#!/usr/bin/env bash
# From nothing to the table of results: corpora, training, a codec folder, scores.
# On Debian: apt install flite asterisk-core-sounds-{en,es,fr,it,ru}-g722. About two hours on two cores.
# What is done is not done again: after an interruption, start it again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores

[ -f data/flite/manifest.jsonl ] || speechvq prepare flite --sentences 1100 --normalise peak --out data/flite
[ -f data/asterisk/manifest.jsonl ] || speechvq prepare asterisk --normalise peak --out data/asterisk
python "$here/join.py" data/speech.jsonl data/flite/manifest.jsonl data/asterisk/manifest.jsonl
python "$here/embed.py" data/speech.jsonl data/embeddings.npz

if [ ! -d runs/speech/done ]; then
  speechvq train experiment=speech data.manifest=data/speech.jsonl data.embeddings=data/embeddings.npz \
    runtime.accelerator=auto runtime.precision=bf16-mixed runtime.steps=10000 runtime.valid_every=1000 \
    runtime.valid_batches=8 resume=true
  mkdir runs/speech/done
fi

out=outputs/speaker_conversion
mkdir -p "$out"
python "$here/ship.py" runs/speech/codec "$out/codec" "$here/results.md"
python "$here/evaluate.py" "$out/codec" data/speech.jsonl "$out/scores" "$out/results.md"
python "$here/ship.py" runs/speech/codec "$out/codec" "$out/results.md"
cat "$out/results.md"
