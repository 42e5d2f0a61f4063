#!/usr/bin/env bash
# Measures how fast text becomes tokens: 29 MB of prose and documentation (Austen, the King James Bible, the Anarchist
# FAQ, Perl's manual) by bytes and by a SentencePiece model, beside the Python package sentencepiece on the same text
# with the same model, whose ids must be the same. Writes one JSON. Minutes on two idle cores; the text and the model
# are kept in build/medium_text and made once.
#   tokenize.sh [OUT.json]     default bench/results/tokenize.json
#   RATEL=FILE                 the binary; default: preset cpu, built here
#   PEERS_PYTHON=FILE          a Python with sentencepiece; default build/peers/bin/python (scripts/install_peers.sh)
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/results/tokenize.json}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ratel=${RATEL:-build/cpu/cli/ratel} python=${PEERS_PYTHON:-build/peers/bin/python}
if [[ -z "${RATEL:-}" ]]; then
  cmake --preset cpu >&2
  cmake --build --preset cpu --target ratel_cli >&2
fi
python3 scripts/medium_text.py build/medium_text >&2

commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
"$python" bench/peer/tokenize_sentencepiece.py "$ratel" build/medium_text "$out" "$commit"
echo "tokenize: wrote $out" >&2
