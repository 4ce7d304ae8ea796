#!/usr/bin/env bash
# From nothing to results.md: speech with phone times, units of the shipped codec and of k-means, every score.
# On Debian: apt install flite asterisk-core-sounds-{en,es,fr,it,ru}-g722 (the recorded voices may be missing).
# What is done is not done again: after an interruption, start it again. run.sh --help tells what can be chosen.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
[ ! -d .venv ] || export PATH="$PWD/.venv/bin:$PATH"
exec python "$here/discover.py" "$@"
