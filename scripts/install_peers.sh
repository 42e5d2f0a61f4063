#!/usr/bin/env bash
# Puts the Python packages that the tests compare ratel with into build/peers, from PyPI; where they are, does nothing.
# Nothing of ratel needs them: without them the tests named peers/ are skipped.
#   install_peers.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-build/peers}
packages=(numpy==2.4.6 safetensors==0.8.0 sentencepiece==0.2.3 tensorboard==2.21.0)

if [[ -f "$folder/packages" && "$(<"$folder/packages")" == "${packages[*]}" ]]; then
  echo "install_peers: nothing is missing"
  exit 0
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "install_peers: Python cannot make environments here; apt-get install python3-venv" >&2
  exit 1
fi
echo "install_peers: installing ${packages[*]} into $folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 "${packages[@]}"
echo "${packages[*]}" >"$folder/packages"
