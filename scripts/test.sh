#!/usr/bin/env bash
# Builds everything and runs all tests. Needs nothing but Debian 12 and root or sudo.
#   test.sh               preset cuda where nvcc is found (it holds all of the CPU code too), else preset cpu; then the
#                         CUDA kernels on the host twin of a GPU
#   test.sh PRESET        that preset: cpu, cuda, twin, asan or tsan
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found_nvcc() {
  command -v nvcc >/dev/null || [[ -n "${CUDACXX:-}" || -x "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" ]]
}

preset=${1:-}
case "$preset" in
  "") if found_nvcc; then preset=cuda; else preset=cpu; fi ;;
  cpu | cuda | twin | asan | tsan) ;;
  *)
    echo "test: expected cpu, cuda, twin, asan or tsan, found '$preset'" >&2
    exit 2
    ;;
esac

./scripts/install_packages.sh
echo "test: preset $preset"
cmake --preset "$preset"
cmake --build --preset "$preset"
failed=0
ctest --preset "$preset" -j"$(nproc)" --output-on-failure || failed=1
if (($# == 0)); then
  echo "test: the CUDA kernels on the host twin"
  cmake --preset twin
  cmake --build --preset twin --target cuda_tests
  ctest --preset twin -L cuda -j"$(nproc)" --output-on-failure || failed=1
fi
exit "$failed"
