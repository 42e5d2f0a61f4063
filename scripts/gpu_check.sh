#!/usr/bin/env bash
# All that needs a GPU, on a machine that has one: builds for it, runs every test that can use it, the small ones under
# compute-sanitizer, the benchmarks, and the PyTorch peer beside them. What fails is told at the end and does not stop
# the rest.
#   gpu_check.sh OUT            writes to OUT: gpu_check.json (what passed), gpu.json (figures), gpu_inference.json,
#                               gpu_check.log, ctest.log and sanitizer.log
#   STEPS="test bench"          some of: build test sanitize bench peer infer; default: all. What was built is kept.
#   LIMIT=540                   seconds for all of it: a step that takes more than its share is cut, and said to be
#   SECONDS_EACH=0.3            how long each benchmark runs
# Exit code: 0 where all passed, 1 where something failed or was cut, 2 for usage.
set -uo pipefail
(($# == 1)) || { echo "usage: gpu_check.sh OUT" >&2; exit 2; }
out=$(realpath -m "$1") && mkdir -p "$out" || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
steps=${STEPS:-build test sanitize bench peer infer} seconds=${SECONDS_EACH:-0.3} limit=${LIMIT:-} build=build/gpu
for step in $steps; do
  case "$step" in
    build | test | sanitize | bench | peer | infer) ;;
    *) echo "gpu_check: no step '$step'; expected build, test, sanitize, bench, peer or infer" >&2; exit 2 ;;
  esac
done
[[ "$limit" =~ ^([1-9][0-9]*)?$ ]] || { echo "gpu_check: expected LIMIT in whole seconds, found '$limit'" >&2; exit 2; }
command -v nvidia-smi >/dev/null || { echo "gpu_check: no nvidia-smi: is there a GPU?" >&2; exit 2; }
exec > >(tee -a "$out/gpu_check.log") 2>&1

declare -A result
order=()
note() { result[$1]=$2 && order+=("$1") && echo "gpu_check: $1: $2 (after $SECONDS s)"; }
wanted() { [[ " $steps " == *" $1 "* ]]; }
tree() { git rev-parse --short "$1" 2>/dev/null || echo unknown; }
# share 40: a step that begins now may take 40% of the seconds that are left; sets `allowed`.
share() {
  allowed=86400
  if [[ -n "$limit" ]]; then allowed=$(((limit - SECONDS) * $1 / 100)); fi
  if ((allowed < 1)); then allowed=1; fi
}
bounded() { timeout -k 5 "$allowed" "$@"; }
# How a bounded command ended, from its exit code.
outcome() { case "$1" in 0) echo passed ;; 124 | 137) echo "cut after $allowed s" ;; *) echo failed ;; esac; }

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
((capability == 90)) && capability=90a
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
echo "gpu_check: $gpu (sm_$capability), commit $commit, $(date -u +%FT%TZ)"

# Folders whose tests compute on a device; the others' are the same on any machine.
folders='core|autograd|ops|cuda|nn|models|tasks|train'
benches=(ops_matmul ops_rms_norm ops_gated_recurrence ops_dilated_attention ops_recurrent_attention ops_cross_entropy
  ops_fused_linear ops_cached_attention ops_block_attention ops_unary train_step)

if wanted build; then
  share 70
  end=$((SECONDS + allowed))
  bounded cmake --preset cuda -B "$build" -DCMAKE_CUDA_ARCHITECTURES="$capability-real"
  code=$?
  if ((code == 0)); then
    mapfile -t targets < <(cmake --build "$build" --target help |
      sed -nE "s/^(($folders)_[a-z0-9_]*_test|ops_[a-z0-9_]*_bench|train_step_bench|ratel_cli): phony$/\1/p")
    allowed=$((end > SECONDS ? end - SECONDS : 1))
    bounded cmake --build "$build" -j"$(nproc)" --target "${targets[@]}"
    code=$?
  fi
  note build "$(outcome "$code")"
fi

if wanted test; then
  share 50
  # Some at a time: most of a test is the CPU's, and their kernels are small. Left out are two that want no GPU: one reads
  # the compiler's messages, one plans for GPUs that are not there.
  bounded ctest --test-dir "$build" -R "^($folders)/" -E '^cuda/(resources|cudnn_plan)$' --output-on-failure --timeout 120 -j4 --no-tests=error |
    tee "$out/ctest.log"
  how=$(outcome "${PIPESTATUS[0]}")
  failed=$(sed -nE '/^The following tests FAILED/,$ s/^\s+[0-9]+ - (\S+).*/\1/p' "$out/ctest.log" | paste -sd ' ')
  note test "$how: $(grep -E 'tests passed' "$out/ctest.log" | tail -n 1)${failed:+; $failed}"
fi

# Of programs that the tools slow down for minutes, the cases that run our kernels at small sizes (Boost.Test filters).
declare -A cases=([ops_cached_attention_test]='low*,many*' [ops_dilated_attention_test]='both*,heads_of*'
  [ops_fused_linear_test]='low*,a_number*' [ops_gated_recurrence_test]='blocks*'
  [ops_recurrent_attention_test]='both*,blocks*,heads*')

theirs='cudnn_|nvjet_'  # kernels of cuDNN, and of cuBLASLt for Hopper

# sanitize TOOL PROGRAM DEADLINE LOG: a verdict and what the tool said, or nothing where the deadline has passed.
sanitize() {
  local tool=$1 program=$2 log=$4 patience=60 verdict
  if ((SECONDS + patience > $3)); then patience=$(($3 - SECONDS)); fi
  ((patience > 0)) || return 0
  # Some programs never start CUDA, and are no failures.
  local options=(--tool "$tool" --error-exitcode 9 --launch-timeout 0 --require-cuda-init no)
  # The tests ask for what CUDA refuses, to see what ratel makes of it.
  if [[ "$tool" == memcheck ]]; then options+=(--report-api-errors no); fi
  local environment=(RATEL_TEST_DEVICES=gpu) some=${cases[$(basename "$program")]:-}
  if [[ -n "$some" ]]; then environment+=("BOOST_TEST_RUN_FILTERS=$some"); fi
  env "${environment[@]}" timeout -k 5 "$patience" compute-sanitizer "${options[@]}" "$program" >"$log.said" 2>&1
  case $? in
    0) verdict=passed ;;
    124 | 137)
      verdict="cut"
      if grep -E '^========= +(Invalid|Error|Uninit|.*hazard)' "$log.said" | grep -qvE "$theirs"; then verdict=failed; fi
      ;;
    *) verdict=failed ;;
  esac
  # Hazards that racecheck sees in cuDNN's and cuBLASLt's own kernels are not ours to mend.
  if [[ "$tool $verdict" == "racecheck failed" ]] && grep -q 'No errors detected' "$log.said" &&
    ! grep -E '(Error|Warning): Race reported' "$log.said" | grep -qvE "$theirs"; then
    verdict=passed
  fi
  { echo "=== $tool $(basename "$program"): $verdict" && tail -n 60 "$log.said"; } >"$log"
  rm -f "$log.said"
}

if wanted sanitize; then
  mapfile -t programs < <(find "$build" -type f -perm -u+x \
    \( -path '*/ops_*_test' -o -path '*/cuda_*_test' -o -path '*/models_decoder_test' \) \
    ! -name cuda_cudnn_plan_test | sort)
  logs=$(mktemp -d) && : >"$out/sanitizer.log"
  for tool in memcheck racecheck; do
    share 30
    deadline=$((SECONDS + allowed)) number=0
    for program in "${programs[@]}"; do
      ((++number))  # here, not in the background, where it would be forgotten
      while (($(jobs -rp | wc -l) >= 8)); do wait -n; done
      sanitize "$tool" "$program" "$deadline" "$logs/$tool.$number" &
    done
    # Not a bare `wait`, which would wait for the log's tee too.
    while (($(jobs -rp | wc -l) > 0)); do wait -n; done
    count() { cat "$logs/$tool".* 2>/dev/null | grep -cE "^=== $tool .*: $1$"; }
    bad=$(cat "$logs/$tool".* 2>/dev/null | sed -nE "s/^=== $tool (.*): failed$/\1/p" | paste -sd ' ')
    whole=$(count passed) some=$(count cut)
    cat "$logs/$tool".* >>"$out/sanitizer.log" 2>/dev/null
    if [[ -n "$bad" ]]; then
      note "$tool" "failed: $bad"
    elif ((whole == 0)); then
      note "$tool" "failed: no program ran to its end"
    else
      note "$tool" "passed: $whole of ${#programs[@]} programs to their end, $some cut without a finding"
    fi
  done
  rm -rf "$logs"
fi

results=$build/bench_results && mkdir -p "$results"
if wanted bench; then
  share 60
  deadline=$((SECONDS + allowed)) bad=()
  for bench in "${benches[@]}"; do
    program=$(find "$build" -type f -name "${bench}_bench" -perm -u+x | head -n 1)
    allowed=$((deadline > SECONDS ? deadline - SECONDS : 1))
    bounded "$program" --device=cuda --benchmark_min_time="$seconds" --benchmark_out="$results/ours-$bench.json" \
      --benchmark_out_format=json || { bad+=("$bench") && rm -f "$results/ours-$bench.json"; }
  done
  if ((${#bad[@]} == 0)); then note bench passed; else note bench "failed or cut: ${bad[*]}"; fi
fi

shopt -s nullglob
ours=("$results"/ours-*.json)
if wanted peer; then
  if wanted infer; then share 75; else share 95; fi
  mapfile -t names < <(python3 - "${ours[@]}" <<'PYTHON'
import json, sys
names = [row["name"].removesuffix("/manual_time") for path in sys.argv[1:] for row in json.load(open(path))["benchmarks"]]
# In case time runs out, the largest first, and of dilated attention the dense one; of a training step, the first size.
def rows(op, dense=None):
    found = [name for name in names if name.split("/")[0] == op and dense in (None, name.endswith("D=1"))]
    return found[:1] if op.startswith("train_step") else sorted(found, key=lambda name: "forward/" in name)
for found in (rows("train_step"), rows("train_step_dense"), rows("dilated_attention", dense=True),
              rows("gated_recurrence"), rows("recurrent_attention"), rows("dilated_attention", dense=False)):
    print(*found, sep="\n", end="\n" if found else "")
PYTHON
  )
  # What the peer has measured when its time is over stays: it is told of the limit and writes after every row.
  limited=()
  if [[ -n "$limit" ]]; then limited=(--limit "$((allowed * 9 / 10))"); fi
  ((${#names[@]} > 0)) || echo "gpu_check: nothing was measured that a peer could stand beside"
  bounded python3 bench/peer/ratplus_torch.py --seconds "$seconds" "${limited[@]}" --out "$results/torch.json" \
    "${names[@]}"
  note peer "$(outcome $?)"
fi

if wanted infer; then
  share 95
  deadline=$((SECONDS + allowed)) how=passed
  rm -f "$results"/infer-*.json
  # WHAT LENGTH BATCHES DILATIONS: decoding, the cache coming to hold LENGTH tokens, and prefill of them.
  while read -r what length batches dilations; do
    allowed=$((deadline > SECONDS ? deadline - SECONDS : 1))
    echo "gpu_check: $what of $length tokens, $batches sequences, D = $dilations"
    bounded "$build/cli/ratel" bench "$what" --preset 1b --dtype bf16 --device cuda --length "$length" \
      --batch "$batches" --dilations "$dilations" --chunk 4096 --seconds "$seconds" --json \
      >"$results/infer-$what-$length-$dilations.json" || { how="failed or cut: $what of $length tokens" && break; }
  done <<'RUNS'
decode 4096 1,64 1,16,64
decode 4096 1024 64
prefill 4096 4 1,16,64
prefill 262144 1 16
RUNS
  note infer "$how"
  python3 - "$out/gpu_inference.json" "$gpu" "$commit" "$results"/infer-*.json <<'PYTHON'
import json, sys, time
out, machine, commit, *files = sys.argv[1:]
runs = []
for path in files:
    try:
        run = json.load(open(path))
    except ValueError:
        continue  # cut
    runs += [run] if run["rows"] else []
with open(out, "w") as file:
    json.dump({"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit, "machine": machine,
               "command": "scripts/gpu_check.sh OUT", "runs": runs}, file, indent=1)
PYTHON
fi

torch=("$results"/torch.json)
if ((${#ours[@]} > 0)); then
  python3 bench/merge.py --command "scripts/gpu_check.sh OUT" --out "$out/gpu.json" --ours "${ours[@]}" \
    --torch "${torch[@]}" || note merge failed
fi

{
  printf '{\n  "date": "%s",\n  "device": "%s",\n  "commit": "%s",\n  "cuda": "%s",\n  "ops": "%s"' \
    "$(date -u +%FT%TZ)" "$gpu" "$commit" "$(tree HEAD:cuda)" "$(tree HEAD:ops)"
  for step in "${order[@]}"; do printf ',\n  "%s": "%s"' "$step" "${result[$step]}"; done
  printf '\n}\n'
} >"$out/gpu_check.json"
code=0
echo "gpu_check: summary after $SECONDS s"
for step in "${order[@]}"; do
  echo "  $step: ${result[$step]}"
  [[ "${result[$step]}" == passed* ]] || code=1
done
exit "$code"
