#!/usr/bin/env bash
# Kills a small training run with -9 at random moments, resumes it every time, and compares it with the unbroken run:
# every loss, and the weights and moments at the end, bit for bit. Sessions run on one thread and on two in turn.
#   kill_resume.sh [KILLS=20]
# RATEL is the binary, by default that of the cpu preset.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kills=${1:-20}
ratel=${RATEL:-build/cpu/cli/ratel}
if ! [[ "$kills" =~ ^[1-9][0-9]*$ ]]; then
  echo "kill_resume: expected a number of kills, found '$kills'" >&2
  exit 2
fi
if [[ ! -x "$ratel" ]]; then
  echo "kill_resume: $ratel is not there; build it, or name one with RATEL=" >&2
  exit 2
fi

folder=$(mktemp -d)
child=
trap '[[ -z "$child" ]] || kill -9 "$child" 2>/dev/null || true; rm -rf "$folder"' EXIT

cat ./*/*.cpp | head -c 200000 >"$folder/text.txt" || true
"$ratel" tokenize "$folder/text.txt" --output "$folder/train.bin" >/dev/null
training=("$ratel" train --data "$folder/train.bin" --model.layers=2 --model.channels=64 --model.heads=2
  --data.seq_len=64 --data.batch_size=4 --train.steps=600 --train.checkpoint_every=5)
# The rows without what depends on the clock, and the bytes of the last checkpoint.
fingerprint() { # RUN
  python3 - "$folder/$1" <<'PYTHON'
import hashlib, json, pathlib, sys
run = pathlib.Path(sys.argv[1])
clock = {"seconds", "eta_seconds", "tokens_per_second", "validation_seconds", "memory_live", "memory_peak"}
rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
print(len(rows), "steps", json.dumps([{k: v for k, v in row.items() if k not in clock} for row in rows]))
for name in ("model.safetensors", "optimizer.safetensors"):
    print(name, hashlib.sha256((run / "checkpoints/step-600" / name).read_bytes()).hexdigest())
PYTHON
}

begin=$(date +%s%N)
"${training[@]}" --train.threads=1 --out "$folder/unbroken" >/dev/null 2>"$folder/log"
length=$((($(date +%s%N) - begin) / 1000)) # microseconds
expected=$(fingerprint unbroken)
echo "kill_resume: the unbroken run takes $((length / 1000)) ms"

done_kills=0
round=0
while ((done_kills < kills)); do
  round=$((round + 1))
  while :; do
    "${training[@]}" --train.threads=$((1 + done_kills % 2)) --out "$folder/killed-$round" --resume >/dev/null 2>>"$folder/log" &
    child=$!
    if ((done_kills < kills)); then
      wait_us=$((SRANDOM % (2 * length / kills + 50000)))
      sleep "$((wait_us / 1000000)).$(printf %06d $((wait_us % 1000000)))"
      if kill -9 "$child" 2>/dev/null; then
        code=0
        wait "$child" 2>/dev/null || code=$?
        child=
        ((code != 137)) || done_kills=$((done_kills + 1))
        ((code == 0)) || continue
        break
      fi
    fi
    wait "$child" || { tail -n 3 "$folder/log" >&2; exit 1; }
    child=
    break
  done
  if [[ "$(fingerprint "killed-$round")" != "$expected" ]]; then
    echo "kill_resume: round $round differs from the unbroken run" >&2
    diff <(echo "$expected") <(fingerprint "killed-$round") | cut -c1-300 >&2 || true
    exit 1
  fi
done
echo "kill_resume: $done_kills kills in $round run(s) of 600 steps: losses, weights and moments equal, bit for bit"
