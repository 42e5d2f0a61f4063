#!/usr/bin/env bash
# Measures ratel beside its composed references and, where a Python here has torch, beside eager PyTorch on as many
# threads, the two taking turns at every shape, and writes one JSON. Ten to twenty minutes on two idle cores.
#   run.sh [OUT.json]          default bench/results/cpu.json
#   ROUNDS=7 SECONDS_EACH=0.1  turns of each, and how long each time
#   ONLY=REGEX                 the benchmark programs whose names match; default: all
#   BUILD=DIR                  an existing build tree; default: preset cpu in build/cpu
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/results/cpu.json}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${ROUNDS:-7} seconds=${SECONDS_EACH:-0.1} build=${BUILD:-build/cpu}

benches=()
for source in bench/ops/*_bench.cpp bench/*_bench.cpp; do
  name=${source#bench/}
  name=${name%.cpp}
  name=${name//\//_}
  if [[ "$name" =~ ${ONLY:-.} ]]; then benches+=("$name"); fi
done
[[ -n "${BUILD:-}" ]] || cmake --preset cpu >&2
cmake --build "$build" --target "${benches[@]}" >&2

python=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate && break; fi
done
[[ -n "$python" ]] || echo "run: no Python here has torch; its column stays empty" >&2

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for bench in "${benches[@]}"; do
  executable=$(find "$build" -type f -name "$bench" -perm -u+x | head -n 1)
  "$executable" --benchmark_min_time="$seconds" --benchmark_counters_tabular=true \
    --benchmark_out="$results/ours-$bench.json" --benchmark_out_format=json >&2
  [[ -n "$python" && "$bench" =~ matmul|recurrence|attention|train_step ]] || continue
  mapfile -t names < <(python3 -c 'import json, sys
for row in json.load(open(sys.argv[1]))["benchmarks"]: print(row["name"].removesuffix("/manual_time"))' \
    "$results/ours-$bench.json")
  threads=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["context"]["threads"])' \
    "$results/ours-$bench.json")
  "$python" bench/peer/ratplus_torch_cpu.py --threads "$threads" --seconds "$seconds" --rounds "$rounds" \
    --beside "$executable" --out "$results/torch-$bench.json" "${names[@]}" >&2
done
shopt -s nullglob
mkdir -p "$(dirname "$out")"
python3 bench/merge.py --out "$out" --ours "$results"/ours-*.json --torch "$results"/torch-*.json
echo "run: wrote $out; scripts/bench_table.py puts it into the README"
