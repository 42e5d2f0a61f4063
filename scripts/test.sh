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
./scripts/install_peers.sh || echo "test: without the Python packages to compare with; their tests will be skipped"
build() {
  echo "test: preset $1"
  cmake --preset "$1"
  cmake --build --preset "$1"
}

build "$preset"
if (($# > 0)); then
  exec ctest --preset "$preset" -j"$(nproc)" --output-on-failure
fi
build twin
# One run of both builds' tests, and one summary.
mkdir -p build/tests
echo "subdirs(\"$PWD/build/$preset\" \"$PWD/build/twin\")" >build/tests/CTestTestfile.cmake
exec ctest --test-dir build/tests -j"$(nproc)" --output-on-failure --no-tests=error
