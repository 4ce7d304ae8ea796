#!/usr/bin/env bash
# How checkpoints/speech-units was learned: units by a contrast of neighbours, then a voice for them as they are.
# Speech as for recipes/speaker_conversion. About an hour and a half of one core. What is done is not done again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
other="$here/../speaker_conversion"
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # on a CPU with little else to do, the number of cores

[ -f data/flite/manifest.jsonl ] || speechvq prepare flite --sentences 1100 --normalise peak --out data/flite
[ -f data/asterisk/manifest.jsonl ] || speechvq prepare asterisk --normalise peak --out data/asterisk
python "$other/join.py" data/speech.jsonl data/flite/manifest.jsonl data/asterisk/manifest.jsonl
python "$other/embed.py" data/speech.jsonl data/embeddings.npz

speech=(experiment=speech_units data.manifest=data/speech.jsonl data.embeddings=data/embeddings.npz
  runtime.accelerator=auto runtime.precision=bf16-mixed runtime.valid_every=1000 runtime.valid_batches=8 resume=true)
if [ ! -d runs/speech_units/done ]; then
  speechvq train "${speech[@]}" runtime.steps=6600
  mkdir runs/speech_units/done
fi
speechvq train "${speech[@]}" folder=runs/speech_units_voice init_from=runs/speech_units/codec runtime.steps=3000 \
  "objective.freeze=[encoder,quantizer]" objective.contrast.weight=0 model.encoder.warp=0 optimiser.lr=5e-4

python "$here/ship.py" runs/speech_units_voice/codec outputs/unit_discovery/codec
