#!/usr/bin/env bash
# run.sh PYTHON SCRIPT [ARGUMENT...]: the script under that Python; 77, a skipped test, where there is none.
set -euo pipefail
if [[ ! -x "$1" ]]; then
  echo "skipped: no $1; scripts/install_peers.sh makes it"
  exit 77
fi
exec "$@"
