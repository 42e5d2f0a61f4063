#!/usr/bin/env bash
# Builds everything and runs all tests. Needs nothing but Debian 12 and root or sudo.
#   test.sh               preset cuda where nvcc is found (it holds all of the CPU code too), else preset cpu
#   test.sh PRESET        that preset: cpu, cuda, asan or tsan
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found_nvcc() {
  command -v nvcc >/dev/null || [[ -n "${CUDACXX:-}" || -x "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" ]]
}

preset=${1:-}
case "$preset" in
  "") if found_nvcc; then preset=cuda; else preset=cpu; fi ;;
  cpu | cuda | asan | tsan) ;;
  *)
    echo "test: expected cpu, cuda, asan or tsan, found '$preset'" >&2
    exit 2
    ;;
esac

./scripts/install_packages.sh
echo "test: preset $preset"
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" -j"$(nproc)" --output-on-failure
