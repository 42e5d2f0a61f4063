#!/usr/bin/env bash
# gpu_check_test.sh SOURCE_DIR: what scripts/gpu_check.sh does and says where all passes, where things fail, and where
# time runs out; with a GPU, its tools and the build imitated by stubs.
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
mkdir -p "$work/bin" "$work/tree/scripts" "$work/tree/bench/peer"
cp "$source/scripts/gpu_check.sh" "$work/tree/scripts/"
cp "$source/bench/merge.py" "$work/tree/bench/"
export ASKED=$work/asked TREE=$work/tree

stub() {
  printf '#!/bin/bash\n%s\n' "$2" >"$1"
  chmod +x "$1"
}
# shellcheck disable=SC2016 # they are for the stubs' own shells
{
  stub "$work/bin/nvidia-smi" 'case "$*" in *compute_cap*) echo 9.0 ;; *) echo "NVIDIA Imitation" ;; esac'
  stub "$work/bin/ctest" 'echo "ctest $*" >>"$ASKED"
    if [[ -n "${TEST_FAILS:-}" ]]; then
      printf "50%% tests passed, 1 tests failed out of 2\n\nThe following tests FAILED:\n\t  7 - ops/broken (Failed)\n"
      exit 8
    fi
    echo "100% tests passed, 0 tests failed out of 2"'
  stub "$work/bin/compute-sanitizer" 'program=${!#}
    echo "$2 $(basename "$program") ${RATEL_TEST_DEVICES:-} ${BOOST_TEST_RUN_FILTERS:-whole}" >>"$ASKED"
    [[ -z "${SANITIZER_SLEEPS:-}" ]] || exec sleep "$SANITIZER_SLEEPS"
    if [[ "$2 ${program##*/}" == "${SANITIZER_FINDS:-}" ]]; then
      echo "${SANITIZER_SAYS:-========= Invalid __global__ read}"
      exit 9
    fi'
  # Builds two tests and a benchmark, and knows their names.
  stub "$work/bin/cmake" 'echo "cmake $*" >>"$ASKED"
    case "$*" in
      *--preset*) [[ -z "${CONFIGURE_FAILS:-}" ]] || exit 1 ;;
      *"--target help"*) printf "%s: phony\n" ops_fused_linear_test cuda_b_test ops_rms_norm_bench io_c_test ratel_cli all ;;
      --build*) mkdir -p "$TREE/build/gpu/ops" && cd "$TREE/build/gpu/ops" || exit 1
        mkdir -p ../cli
        cat >../cli/ratel <<RATEL
#!/bin/bash
echo "ratel \$*" >>"$ASKED"
if [[ "\$2" == "${INFERENCE_FAILS:-}" ]]; then echo broken; exit 1; fi
echo "{\"what\": \"\$2\", \"rows\": [1]}"
RATEL
        chmod +x ../cli/ratel
        for test in ops_fused_linear_test cuda_b_test; do printf "#!/bin/sh\n" >$test; chmod +x $test; done
        for bench in matmul rms_norm gated_recurrence dilated_attention recurrent_attention cross_entropy fused_linear \
            cached_attention block_attention unary train_step; do
          case $bench in train_step) name=train_step ;; *) name=ops_$bench ;; esac
          cat >"${name}_bench" <<BENCH
#!/bin/bash
for argument; do case "\$argument" in --benchmark_out=*) out=\${argument#*=} ;; esac; done
cat >"\$out" <<JSON
{"context": {"date": "today", "commit": "c", "machine": "m", "threads": "2", "ceiling copy GB/s": "1",
 "ceiling gemm GFLOP/s": "1"},
 "benchmarks": [{"name": "$bench/forward/2x2/manual_time", "median_us": 2.0},
  {"name": "$bench/forward/9x9/manual_time", "error_occurred": true, "error_message": "out of memory"}]}
JSON
BENCH
          chmod +x "${name}_bench"
        done ;;
    esac'
}
cat >"$work/tree/bench/peer/ratplus_torch.py" <<'PEER'
import json, sys
out = sys.argv[sys.argv.index("--out") + 1]
with open(out, "w") as file:
    json.dump({"context": {"torch": "0", "blas": "none", "threads": "1"}, "benchmarks": [
        {"name": "rms_norm/forward/2x2", "median_us": 6.0, "best": "authors", "forms": {"authors": 6.0}}]}, file)
PEER

check() { # check CODE [NAME=VALUE...]: runs it; what it said is in $said
  local expected=$1 code=0
  shift
  rm -rf "$work/out" && : >"$ASKED"
  said=$(env "$@" PATH="$work/bin:$PATH" bash "$work/tree/scripts/gpu_check.sh" "$work/out" 2>&1) || code=$?
  ((code == expected)) || fail "expected exit code $expected, found $code with '$*'"
}
fail() {
  printf 'gpu_check_test: %s; it said:\n%s\nand asked for:\n%s\n' "$1" "$said" "$(cat "$ASKED")" >&2
  exit 1
}
has() { grep -qF -- "$2" "$1" || fail "no '$2' in ${1##*/}"; }

check 0
python3 -m json.tool "$work/out/gpu_check.json" >/dev/null || fail "gpu_check.json is no JSON"
for part in '"device": "NVIDIA Imitation"' '"build": "passed"' '"test": "passed: 100% tests passed' \
  '"memcheck": "passed: 2 of 2 programs to their end, 0 cut' '"racecheck": "passed: 2 of 2' '"bench": "passed"' \
  '"peer": "passed"' '"infer": "passed"'; do
  has "$work/out/gpu_check.json" "$part"
done
has "$ASKED" "-DCMAKE_CUDA_ARCHITECTURES=90a-real"
has "$ASKED" "--target ops_fused_linear_test cuda_b_test ops_rms_norm_bench ratel_cli"
has "$ASKED" "ratel bench decode --preset 1b --dtype bf16 --device cuda --length 4096 --batch 1024 --dilations 64"
has "$ASKED" "memcheck ops_fused_linear_test gpu low*,a_number*"
has "$ASKED" "memcheck cuda_b_test gpu whole"
! grep -q io_c_test "$ASKED" || fail "a test that no GPU takes part in was built"
python3 - "$work/out/gpu.json" <<'PYTHON' || fail "gpu.json is not what was measured"
import json, sys
rows = {(row["name"], row["shape"]): row for row in json.load(open(sys.argv[1]))["rows"]}
assert len(rows) == 22, len(rows)
assert rows["rms_norm/forward", "2x2"]["ratio_torch"] == 3, rows
assert rows["rms_norm/forward", "9x9"]["error"] == "out of memory", rows
PYTHON

python3 - "$work/out/gpu_inference.json" <<'PYTHON' || fail "gpu_inference.json is not what was measured"
import json, sys
assert [run["what"] for run in json.load(open(sys.argv[1]))["runs"]] == ["decode"] * 2 + ["prefill"] * 2
PYTHON

check 1 INFERENCE_FAILS=prefill STEPS="build infer"
has "$work/out/gpu_check.json" '"infer": "failed or cut: prefill of 4096 tokens"'
check 1 CONFIGURE_FAILS=1 STEPS=build
has "$work/out/gpu_check.json" '"build": "failed"'
! grep -q -- --build "$ASKED" || fail "what was not configured was built"
check 1 TEST_FAILS=1 STEPS=test
has "$work/out/gpu_check.json" '"test": "failed: 50% tests passed, 1 tests failed out of 2; ops/broken"'
check 1 SANITIZER_FINDS="racecheck cuda_b_test" STEPS=sanitize
has "$work/out/gpu_check.json" '"memcheck": "passed'
has "$work/out/gpu_check.json" '"racecheck": "failed: cuda_b_test"'
has "$work/out/sanitizer.log" "Invalid __global__ read"
race=$'*** No errors detected\n========= Error: Race reported between Write access at '
check 0 SANITIZER_FINDS="racecheck cuda_b_test" SANITIZER_SAYS="${race}cudnn_kernel+0x10" STEPS=sanitize
check 1 SANITIZER_FINDS="racecheck cuda_b_test" SANITIZER_SAYS="${race}cudnn_kernel+0x10"$'\n'"${race}ours+0x20" \
  STEPS=sanitize
check 1 SANITIZER_SLEEPS=30 STEPS=sanitize LIMIT=4
has "$work/out/gpu_check.json" '"memcheck": "failed: no program ran to its end"'
check 2 STEPS=typo
grep -q "no step 'typo'" <<<"$said" || fail "the wrong step is not named"
check 2 LIMIT=soon
grep -q "found 'soon'" <<<"$said" || fail "the wrong limit is not named"
