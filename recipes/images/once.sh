# For the recipes beside this file: a training that is finished is not begun again. They set runs; TIMES scales
# all steps, and the settings in MORE come last.
once() { # NAME STEPS SETTING=VALUE...
  local folder="$runs/$1" count
  count=$(python -c "print(max(2, round($2 * ${TIMES:-1})))")
  shift 2
  [ "$(cat "$folder.done" 2>/dev/null)" = "$count" ] && return
  speechvq train folder="$folder" runtime.steps="$count" resume=true runtime.accelerator=auto runtime.ema=0.99 \
    runtime.precision=bf16-mixed runtime.valid_every=500 runtime.valid_batches=8 runtime.save_every=200 "$@" ${MORE:-}
  echo "$count" >"$folder.done"
}
