#!/usr/bin/env bash
# All that needs a GPU, on a machine that has one: builds for it, runs every test, the small ones under
# compute-sanitizer, the benchmarks, and the PyTorch peer beside them. What fails is told at the end and does not stop
# the rest.
#   gpu_check.sh OUT            writes OUT/gpu_check.log, OUT/gpu_check.json (what passed) and OUT/gpu.json (figures)
#   STEPS="test bench"          some of: build test sanitize bench peer; default: all. What was built is kept.
#   SECONDS_EACH=0.3            how long each benchmark runs
# Exit code: 0 where all passed, 1 where something failed, 2 for usage.
set -uo pipefail
(($# == 1)) || { echo "usage: gpu_check.sh OUT" >&2; exit 2; }
out=$(realpath -m "$1") && mkdir -p "$out" || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
steps=${STEPS:-build test sanitize bench peer} seconds=${SECONDS_EACH:-0.3} build=build/gpu
for step in $steps; do
  case "$step" in
    build | test | sanitize | bench | peer) ;;
    *) echo "gpu_check: no step '$step'; expected build, test, sanitize, bench or peer" >&2; exit 2 ;;
  esac
done
command -v nvidia-smi >/dev/null || { echo "gpu_check: no nvidia-smi: is there a GPU?" >&2; exit 2; }
exec > >(tee -a "$out/gpu_check.log") 2>&1

declare -A result
note() { result[$1]=$2 && echo "gpu_check: $1: $2"; }
wanted() { [[ " $steps " == *" $1 "* ]]; }
tree() { git rev-parse --short "$1" 2>/dev/null || echo unknown; }

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
((capability == 90)) && capability=90a
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
echo "gpu_check: $gpu (sm_$capability), commit $commit, $(date -u +%FT%TZ)"

if wanted build; then
  if cmake --preset cuda -B "$build" -DCMAKE_CUDA_ARCHITECTURES="$capability-real" &&
    cmake --build "$build" -j"$(nproc)"; then
    note build passed
  else
    note build failed
  fi
fi

if wanted test; then
  # One test at a time: they share the GPU.
  if ctest --test-dir "$build" --output-on-failure --timeout 120 -j1 --no-tests=error | tee "$out/ctest.log"; then
    note test "passed: $(grep -E 'tests passed' "$out/ctest.log" | tail -n 1)"
  else
    note test "failed: $(grep -E 'tests passed' "$out/ctest.log" | tail -n 1)"
  fi
fi

if wanted sanitize; then
  mapfile -t tests < <(find "$build" -type f -perm -u+x \( -path '*/ops_*_test' -o -path '*/cuda_*_test' -o -path '*/models_decoder_test' \) | sort)
  for tool in memcheck racecheck; do
    bad=() unfinished=0
    for test in "${tests[@]}"; do
      echo "gpu_check: $tool $(basename "$test")"
      timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 --launch-timeout 0 "$test" \
        >"$out/sanitizer.tmp" 2>&1
      case $? in
        0) ;;
        124)
          ((++unfinished))
          grep -E '^========= +(Invalid|Error|Uninit|.*hazard)' "$out/sanitizer.tmp" && bad+=("$(basename "$test")")
          ;;
        *) tail -n 40 "$out/sanitizer.tmp"; bad+=("$(basename "$test")") ;;
      esac
    done
    rm -f "$out/sanitizer.tmp"
    if ((${#tests[@]} > 0 && ${#bad[@]} == 0)); then
      note "$tool" "passed, ${#tests[@]} programs, $unfinished of them not to the end in 60 s"
    else
      note "$tool" "failed: ${bad[*]:-no programs}"
    fi
  done
fi

results=$build/bench_results && mkdir -p "$results"
benches=(ops_matmul ops_rms_norm ops_gated_recurrence ops_dilated_attention ops_recurrent_attention ops_cross_entropy
  ops_fused_linear ops_cached_attention ops_block_attention train_step)
if wanted bench; then
  bad=()
  for bench in "${benches[@]}"; do
    program=$(find "$build" -type f -name "${bench}_bench" -perm -u+x | head -n 1)
    "$program" --device=cuda --benchmark_min_time="$seconds" --benchmark_out="$results/ours-$bench.json" \
      --benchmark_out_format=json || bad+=("$bench")
  done
  if ((${#bad[@]} == 0)); then note bench passed; else note bench "failed: ${bad[*]}"; fi
fi

if wanted peer; then
  mapfile -t names < <(python3 - "$results"/ours-*.json <<'PYTHON'
import json, sys
for path in sys.argv[1:]:
    for row in json.load(open(path))["benchmarks"]:
        print(row["name"].removesuffix("/manual_time"))
PYTHON
  )
  if python3 bench/peer/ratplus_torch.py --seconds "$seconds" --out "$results/torch.json" "${names[@]}"; then
    note peer passed
  else
    note peer failed
  fi
fi

shopt -s nullglob
ours=("$results"/ours-*.json) torch=("$results"/torch.json)
if ((${#ours[@]} > 0)); then
  python3 bench/merge.py --command "scripts/gpu_check.sh OUT" --out "$out/gpu.json" --ours "${ours[@]}" \
    --torch "${torch[@]}" || note merge failed
fi

failed=0
{
  printf '{\n  "date": "%s",\n  "device": "%s",\n  "commit": "%s",\n  "cuda": "%s",\n  "ops": "%s"' \
    "$(date -u +%FT%TZ)" "$gpu" "$commit" "$(tree HEAD:cuda)" "$(tree HEAD:ops)"
  for step in "${!result[@]}"; do printf ',\n  "%s": "%s"' "$step" "${result[$step]}"; done
  printf '\n}\n'
} >"$out/gpu_check.json"
echo "gpu_check: summary"
for step in "${!result[@]}"; do
  echo "  $step: ${result[$step]}"
  [[ "${result[$step]}" == failed* ]] && failed=1
done
exit "$failed"
