#!/usr/bin/env bash
# Installs from apt what ratel needs and this machine lacks; says so, and touches nothing where nothing is missing.
#   install_packages.sh         compiler, build tools and libraries
#   install_packages.sh lint    those of scripts/lint.sh as well
#   install_packages.sh all     what every test and preset can use as well: fuzzers, API reference, Debian packages
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache pkg-config
  libeigen3-dev libtbb-dev
  libboost-test-dev libboost-context-dev libbenchmark-dev
  zlib1g-dev libzstd-dev libsentencepiece-dev
  libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  python3 python3-venv git ca-certificates
)

extras=() # installed one by one: a distribution may lack one of them

die() {
  echo "install_packages: $*" >&2
  exit 1
}

case "${1:-}" in
  "") ;;
  lint) packages+=(clang-format clang-tidy) ;;
  all) extras=(clang libclang-rt-14-dev doxygen dpkg-dev file) ;;
  *) die "expected no argument, 'lint' or 'all', found '$1'" ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  die "this is not a Debian-like system (no apt-get); install by hand what stands for: ${packages[*]} ${extras[*]}"
fi

# dpkg-query fails where it knows nothing of a package; what it does know it prints all the same.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" "${extras[@]}" 2>/dev/null |
  sed -n 's/ installed$//p') || true
missing=() missing_extras=() left_out=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
for package in "${extras[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing_extras+=("$package")
done

if ((${#missing[@]} + ${#missing_extras[@]} == 0)); then
  echo "install_packages: nothing is missing"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || die "neither root nor sudo; as root: apt-get install ${missing[*]} ${missing_extras[*]}"
  as_root=(sudo)
fi

echo "install_packages: installing ${missing[*]} ${missing_extras[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
install=("${apt[@]}" install -y --no-install-recommends)
"${apt[@]}" update || die "apt-get update failed"
if ((${#missing[@]})); then
  "${install[@]}" "${missing[@]}" || die "apt-get could not install ${missing[*]}"
fi
for package in "${missing_extras[@]}"; do
  { apt-cache show "$package" >/dev/null 2>&1 && "${install[@]}" "$package"; } || left_out+=("$package")
done
if ((${#left_out[@]})); then
  echo "install_packages: left out ${left_out[*]}, which apt does not have; the tests that need them are left out too"
fi
