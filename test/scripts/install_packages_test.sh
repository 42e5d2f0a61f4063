#!/usr/bin/env bash
# install_packages_test.sh install_packages.sh: which packages it asks an apt for that knows no libclang-rt-14-dev and
# cannot install doxygen; and whether those that `ratel doctor` looks for are among all that it knows.
set -euo pipefail
script=$1
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
export ASKED=$work/asked

stub() {
  printf '#!/bin/bash\n%s\n' "$2" >"$work/$1"
  chmod +x "$work/$1"
}
# shellcheck disable=SC2016 # they are for the stubs' own shells
{
  stub dpkg-query 'printf "%s installed\n" g++ cmake file; exit 1'
  stub apt-cache '[[ $2 != libclang-rt-14-dev ]]'
  stub apt-get 'echo "$*" >>"$ASKED"; [[ "$*" != *doxygen* ]]'
  stub sudo 'exec "$@"'
}
said=$(PATH=$work:$PATH bash "$script" all)

fail() {
  printf '%s; it said:\n%s\nand asked apt-get:\n%s\n' "$1" "$said" "$(cat "$ASKED")" >&2
  exit 1
}
for package in ninja-build zlib1g-dev clang dpkg-dev; do
  grep -q " install .* $package\( \|$\)" "$ASKED" || fail "$package was not asked for"
done
for package in cmake file libclang-rt-14-dev; do
  ! grep -q " $package\( \|$\)" "$ASKED" || fail "$package was asked for"
done
grep -q "left out libclang-rt-14-dev doxygen," <<<"$said" || fail "expected to hear what was left out"

known=" $(tr '\n' ' ' <"$ASKED")g++ cmake file libclang-rt-14-dev "
doctor=$(sed -n '/Package> wanted = {/,/};/s/^ *{"\([^"]*\)", ".*/\1/p' "$(dirname "$script")/../cli/machine.cpp")
[[ -n $doctor ]] || fail "the packages that ratel doctor looks for were not found"
for package in $doctor; do
  [[ $known == *" $package "* ]] || fail "$package, which ratel doctor looks for, was not asked for"
done
