#!/usr/bin/env bash
# Measures ratel beside its composed references and, where a Python here has torch, beside eager PyTorch on as many
# threads, op after op in turns, and writes one JSON. Minutes on two idle cores.
#   run.sh [OUT.json]          default bench/results/cpu.json
#   ROUNDS=2 SECONDS_EACH=0.3  how often everything but the references is measured, and how long each time
#   ONLY=REGEX                 the benchmark programs whose names match; default: all
#   BUILD=DIR                  an existing build tree; default: preset cpu in build/cpu
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/results/cpu.json}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${ROUNDS:-2} seconds=${SECONDS_EACH:-0.3} build=${BUILD:-build/cpu}

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
for ((round = 1; round <= rounds; ++round)); do
  filter=. && ((round == 1)) || filter=-_reference
  for bench in "${benches[@]}"; do
    executable=$(find "$build" -type f -name "$bench" -perm -u+x | head -n 1)
    "$executable" --benchmark_filter="$filter" --benchmark_min_time="$seconds" --benchmark_counters_tabular=true \
      --benchmark_out="$results/ours-$round-$bench.json" --benchmark_out_format=json >&2
    [[ -n "$python" && "$bench" =~ matmul|recurrence|attention|train_step ]] || continue
    mapfile -t names < <(python3 -c 'import json, sys
for row in json.load(open(sys.argv[1]))["benchmarks"]: print(row["name"].removesuffix("/manual_time"))' \
      "$results/ours-$round-$bench.json")
    threads=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["context"]["threads"])' \
      "$results/ours-$round-$bench.json")
    "$python" bench/peer/ratplus_torch_cpu.py --threads "$threads" --seconds "$seconds" \
      --out "$results/torch-$round-$bench.json" "${names[@]}" >&2
  done
done
shopt -s nullglob
mkdir -p "$(dirname "$out")"
python3 bench/merge.py --out "$out" --ours "$results"/ours-*.json --torch "$results"/torch-*.json
echo "run: wrote $out; scripts/bench_table.py puts it into the README"
