#!/usr/bin/env bash
# clang-format over every tracked source, then clang-tidy over every source of the build.
#   lint.sh                 both
#   lint.sh format          the format alone
#   lint.sh tidy [PART...]  clang-tidy alone, of the sources whose path holds one of the parts, for example core/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-all}
(($# == 0)) || shift
case "$what" in
  all | format | tidy) ;;
  *)
    echo "lint: expected format, tidy or nothing, found '$what'" >&2
    exit 2
    ;;
esac
./scripts/install_packages.sh lint
failed=0

if [[ "$what" != tidy ]]; then
  # Files that were deleted but not yet committed are still listed.
  git ls-files -z -- '*.h' '*.cpp' '*.cu' '*.cuh' |
    while IFS= read -r -d '' file; do [[ ! -f "$file" ]] || printf '%s\0' "$file"; done |
    xargs -0 -r clang-format --dry-run -Werror || failed=1
  ((failed)) || echo "lint: the format is clean"
fi

if [[ "$what" != format ]]; then
  cmake --preset cpu >/dev/null
  sources=$(python3 - "$PWD" "$@" <<'PYTHON'
import json, sys
root, parts = sys.argv[1] + "/", sys.argv[2:]
files = {entry["file"] for entry in json.load(open("build/cpu/compile_commands.json"))}
own = sorted(f[len(root):] for f in files if f.startswith(root) and not f.startswith(root + "build/"))
print("\n".join(f for f in own if not parts or any(part in f for part in parts)))
PYTHON
)
  if [[ -z "$sources" ]]; then
    echo "lint: no source of the build has a path with $*" >&2
    exit 2
  fi
  if xargs -d '\n' -r -n 1 -P "$(nproc)" clang-tidy -p build/cpu --quiet <<<"$sources" 2> >(
    grep -v 'warnings\? generated\.$' >&2
  ); then
    echo "lint: clang-tidy is clean"
  else
    failed=1
  fi
fi
exit "$failed"
