#!/usr/bin/env bash
# Installs from apt what ratel needs and this machine lacks; says so, and touches nothing where nothing is missing.
#   install_packages.sh         compiler, build tools and libraries
#   install_packages.sh lint    those of scripts/lint.sh as well
#   install_packages.sh all     what every test and preset can use as well: fuzzers, API reference, Debian packages
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config
  libeigen3-dev libtbb-dev zlib1g-dev
  libboost-test-dev libboost-context-dev libbenchmark-dev
  zlib1g-dev libzstd-dev libsentencepiece-dev
  libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  python3 python3-venv git ca-certificates
)

die() {
  echo "install_packages: $*" >&2
  exit 1
}

case "${1:-}" in
  "") ;;
  lint) packages+=(clang-format clang-tidy) ;;
  all) packages+=(clang libclang-rt-14-dev doxygen dpkg-dev file) ;;
  *) die "expected no argument, 'lint' or 'all', found '$1'" ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  die "this is not a Debian-like system (no apt-get); install by hand what stands for: ${packages[*]}"
fi

# dpkg-query fails where it knows nothing of a package; what it does know it prints all the same.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
  sed -n 's/ installed$//p') || true
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
  echo "install_packages: nothing is missing"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || die "neither root nor sudo; as root: apt-get install ${missing[*]}"
  as_root=(sudo)
fi

echo "install_packages: installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
"${apt[@]}" update || die "apt-get update failed"
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" || die "apt-get could not install ${missing[*]}"
