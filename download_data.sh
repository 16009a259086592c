#!/usr/bin/env bash
# Download the images and annotations of the solution; run again at any time, it goes on.
#
#   bash download_data.sh
#   PYTHON=python3.11 bash download_data.sh      another interpreter
#   bash download_data.sh --help
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

runs() {
    "$1" -c '' >/dev/null 2>&1
}

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    runs python || PYTHON=python3
fi
runs "$PYTHON" || {
    echo "error: no '$PYTHON' that runs; activate the environment of install_libs.sh or set PYTHON" >&2
    exit 2
}
exec "$PYTHON" "$repository/src/download_data.py" "$@"
