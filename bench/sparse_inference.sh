#!/usr/bin/env bash
# Measures inference at D = 1, 16 and 64: prefill of 8192 tokens and decoding to 8192 with random weights of the presets
# tiny and small, and the memory of a text of 32768 tokens. Writes one JSON. Minutes on two idle cores.
#   sparse_inference.sh [OUT.json]     default bench/results/sparse_inference.json
#   SECONDS_EACH=2                     how long each line is measured
#   RATEL=FILE                         the binary; default: preset cpu, built here
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/results/sparse_inference.json}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${SECONDS_EACH:-2} ratel=${RATEL:-build/cpu/cli/ratel}
if [[ -z "${RATEL:-}" ]]; then
  cmake --preset cpu >&2
  cmake --build --preset cpu --target ratel_cli >&2
fi

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
measure() { # NAME WHAT OPTION...
  echo "sparse_inference: $*" >&2
  "$ratel" bench "${@:2}" --seconds "$seconds" --json >"$results/$1.json"
}
for preset in tiny small; do
  measure "1-$preset-decode" decode --preset "$preset" --length 8192 --dilations 1,16,64
  measure "2-$preset-prefill" prefill --preset "$preset" --length 8192 --dilations 1,16,64
done
measure 3-tiny-long decode --preset tiny --length 32768 --dilations 1,64

commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
python3 - "$out" "$commit" "$results"/*.json <<'PYTHON'
import json, re, sys, time
out, commit, *files = sys.argv[1:]
machine = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
runs = [json.load(open(file)) for file in files]
result = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit,
          "machine": machine[1] if machine else "unknown", "command": "bench/sparse_inference.sh", "runs": runs}
open(out, "w").write(json.dumps(result, indent=1) + "\n")
PYTHON
echo "sparse_inference: wrote $out; scripts/bench_table.py puts it into the README" >&2
