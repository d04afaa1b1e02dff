#!/usr/bin/env bash
# Makes .venv and installs the package with its development tools into it, in the pinned versions.
# PYTHON names the interpreter to use; otherwise the first one of version 3.11 or newer is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

is_new_enough() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "fastproxy needs Python 3.11 or newer; found: $(${PYTHON:-python3} --version 2>&1 || true)" >&2
    echo "Install one (on Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

if ! [ -x .venv/bin/python ] || ! is_new_enough .venv/bin/python; then
    echo "Making .venv with $("$python" --version) …"
    if ! "$python" -m venv --clear .venv; then
        echo "The module venv does not work here; on Debian: apt-get install python3-venv" >&2
        exit 1
    fi
fi
echo "Installing fastproxy and its tools into .venv (a minute or less; once) …"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
touch .venv/.ready
