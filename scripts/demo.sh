#!/usr/bin/env bash
# RAT+ in ten minutes: builds ratel, trains a small model on real prose, runs it at any dilation, adapts it to two of
# them, and says what that costs and saves. What an earlier run of this script finished is not done again.
#   demo.sh                 Jane Austen's novels: trains on five, Persuasion is held out
#   demo.sh TEXT_FILE       any text: its last tenth is held out
set -euo pipefail

usage() {
  sed -n '2,5s/^# \?//p' "${BASH_SOURCE[0]}"
  exit "$1"
}
case "${1:-}" in -h | --help) usage 0 ;; esac
(($# <= 1)) || usage 2 >&2
text=
if (($# == 1)); then
  text=$(realpath -m -- "$1")
  if [[ ! -f "$text" || ! -s "$text" ]]; then
    echo "demo: $1 is no text file" >&2
    exit 3
  fi
  size=$(stat -c %s "$text") least=2570 # its last tenth is one window of 256 tokens and the token after it
  if ((size < least)); then
    echo "demo: $1 is too short to train on; expected at least $least bytes, found $size" >&2
    exit 3
  fi
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
begin=$SECONDS
say() { printf '\n== %s\n' "$*"; }

say "Packages and build"
./scripts/install_packages.sh
cmake --preset cpu >/dev/null
cmake --build --preset cpu --target ratel_cli
ratel=build/cpu/cli/ratel
"$ratel" --version

say "Text"
if [[ -n "$text" ]]; then
  # One folder a text: another one starts anew.
  demo=runs/demo-$(sha256sum <"$text" | cut -c1-12)
  mkdir -p "$demo"
  head -c $((size - size / 10)) "$text" >"$demo/train.txt"
  tail -c $((size / 10)) "$text" >"$demo/heldout.txt"
  training=("$demo/train.txt") heldout=$demo/heldout.txt
  prompt=$(head -c 40 "$heldout" | tr -s '[:space:]' ' ')
  title="the last tenth of $(basename "$text")"
else
  demo=runs/demo
  mkdir -p "$demo"
  ./scripts/austen.py data/austen
  training=() heldout=data/austen/persuasion.txt
  for novel in sense_and_sensibility pride_and_prejudice mansfield_park emma northanger_abbey; do
    training+=("data/austen/$novel.txt")
  done
  prompt="She had been "
  title="Persuasion"
fi
"$ratel" tokenize --tokenizer bytes "${training[@]}" --output "$demo/train.bin"
"$ratel" tokenize --tokenizer bytes "$heldout" --output "$demo/heldout.bin"

# KEY of the JSON object on stdin.
field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$1"; }

# Trains RUN with the words that follow, takes it up where it was stopped, or leaves it where it is finished.
ensure_run() { # RUN COMMAND...
  local run=$1 about newest=
  shift
  if [[ -f "$run/config.toml" ]]; then
    about=$("$ratel" inspect "$run" --json)
    newest=$(field newest_checkpoint <<<"$about")
    if [[ "${newest##*/step-}" == "$(field steps <<<"$about")" ]]; then
      echo "$run is finished: using it (remove it to train again)"
      return
    fi
    echo "$run was stopped: going on from ${newest:-the beginning}"
  fi
  "$@" --data "$demo/train.bin" --out "$run" --resume
}

# Removes RUN where it was adapted from other weights than those PRETRAINED has now.
drop_outdated() { # RUN PRETRAINED
  local run=$1 newest source
  newest=$("$ratel" inspect "$2" --json | field newest_checkpoint)
  source=$(sha256sum <"$newest/MANIFEST.json")
  if [[ -e "$run" && "$(cat "$run.source" 2>/dev/null)" != "$source" ]]; then
    echo "$run was adapted from other weights: removing it"
    rm -rf "$run"
  fi
  echo "$source" >"$run.source"
}

# The loss of RUN at dilation D on the held-out text, in a file next to the run, where it is not there yet.
ensure_eval() { # RUN D
  local file=$1/eval-d$2.json
  [[ -s "$file" ]] || "$ratel" eval --model "$1" --data "$demo/heldout.bin" --dilation "$2" --json >"$file.tmp"
  [[ -s "$file" ]] || mv "$file.tmp" "$file"
}

say "Training, dense and through D=64 in turn: five to ten minutes on 2 cores"
ensure_run "$demo/pretrained" "$ratel" train --config configs/tiny.toml
"$ratel" plot "$demo/pretrained" --output "$demo/training.svg"

say "The one model at four dilations on $title"
for dilation in 1 4 16 64; do ensure_eval "$demo/pretrained" "$dilation"; done

for dilation in 16 64; do
  say "A short adaptation to D=$dilation"
  drop_outdated "$demo/adapted-d$dilation" "$demo/pretrained"
  ensure_run "$demo/adapted-d$dilation" "$ratel" adapt --from "$demo/pretrained" --dilation "$dilation"
  ensure_eval "$demo/adapted-d$dilation" "$dilation"
done

say "Loss on $title, in nats a byte; KV cache of a 4096-token context"
python3 - "$demo" <<'PYTHON'
import json, pathlib, sys
demo = pathlib.Path(sys.argv[1])
print(f"{'D':>4} {'before':>10} {'adapted':>10} {'KV bytes':>12} {'of dense':>10}")
for dilation in (1, 4, 16, 64):
    before = json.loads((demo / f"pretrained/eval-d{dilation}.json").read_text())
    adapted = demo / f"adapted-d{dilation}/eval-d{dilation}.json"
    after = f"{json.loads(adapted.read_text())['loss']:.4f}" if adapted.exists() else "-"
    cache = before["kv_cache"]
    share = 100 * cache["bytes"] / cache["dense_bytes"]
    print(f"{dilation:>4} {before['loss']:>10.4f} {after:>10} {cache['bytes']:>12,} {share:>9.1f}%")
PYTHON

say "A sample at D=16"
printf '%s' "$prompt"
"$ratel" generate --model "$demo/adapted-d16" --prompt "$prompt" --max-new-tokens 300 --temperature 0.8 --seed 1

say "Done in $((SECONDS - begin)) seconds"
cat <<END
  model                $demo/pretrained (pretrained), $demo/adapted-d16 and $demo/adapted-d64 (adapted)
  training curve       $demo/training.svg
  evaluations          $demo/*/eval-*.json
Try next:
  $ratel generate --model $demo/adapted-d16 --prompt "Captain Wentworth" --max-new-tokens 200 --temperature 0.7
  $ratel eval --model $demo/pretrained --data $demo/heldout.bin --dilation 1,16,16,64 --window 32
  $ratel adapt --from $demo/pretrained --dilation -1 --window 64 --data $demo/train.bin --out $demo/local
  $ratel inspect $demo/pretrained
END
