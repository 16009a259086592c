#!/usr/bin/env bash
# Install everything into the active Python (3.11 or 3.12). Nothing is compiled, and the same serves with
# and without a GPU. Run it again at any time: it does only what is missing.
#
#   bash install_libs.sh
#   PYTHON=python3.12 bash install_libs.sh      another interpreter
set -euo pipefail
[[ ${PYTHON:-} != */* || $PYTHON == /* ]] || PYTHON=$PWD/$PYTHON
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "error: $*" >&2
    exit 2
}

runs() {
    "$1" -c "${2:-}" >/dev/null 2>&1
}

find_python() {
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python
        ! runs python && runs python3 && PYTHON=python3
    fi
    runs "$PYTHON" || fail "no '$PYTHON' that runs; activate an environment or set PYTHON=/path/to/python3.12"
    runs "$PYTHON" 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' ||
        fail "$(command -v "$PYTHON") is Python $("$PYTHON" -c 'import sys; print(sys.version.split()[0])')," \
            "but 3.11 or 3.12 is needed: python3.12 -m venv .venv && source .venv/bin/activate," \
            "then run this again"
    runs "$PYTHON" 'import os, sys, sysconfig as s
sys.exit(sys.prefix == sys.base_prefix and os.path.exists(s.get_path("stdlib") + "/EXTERNALLY-MANAGED"))' ||
        fail "this Python belongs to the operating system:" \
            "$PYTHON -m venv .venv && source .venv/bin/activate, then run this again"
    runs "$PYTHON" 'import pip' || fail "$PYTHON has no pip; $PYTHON -m ensurepip installs it"
}

check_disk() {
    local folder free
    folder=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    read -r _ _ _ free _ < <(df -Pk "$folder" | tail -n 1)
    [ "$((free / 1000000))" -ge 12 ] ||
        fail "only $((free / 1000000)) GB are free in $folder, and installing torch with its CUDA libraries takes 12;" \
            "make room, or install torch's CPU build first (README.md)"
}

# What to tell the user about a failed installation, from pip's output.
reason() {
    if grep -q 'No space left on device' "$1"; then
        echo "the disk is full; 12 GB are needed, of them 3 for a while in ${TMPDIR:-/tmp}"
    elif grep -qE 'connection broken|ConnectionError|NameResolutionError|Timeout|ProxyError|SSLError' "$1"; then
        echo "the package registry cannot be reached; check the network (behind a proxy: HTTPS_PROXY)"
    else
        grep -i '^ *error' "$1" | tail -n 1 | sed 's/^ *//'
    fi
}

# On the screen a line for each large file, in the log all. Python compiles what it imports by itself.
pip_install() {
    local log=${TMPDIR:-/tmp}/install_libs.$$.log
    "$PYTHON" -m pip install --disable-pip-version-check --no-input --no-compile "$@" 2>&1 | tee "$log" |
        { grep --line-buffered -oE '(Downloading|Using cached) [^ /]+ \(.* MB\)|^Installing collected packages' || true; } ||
        fail "pip failed: $(reason "$log") (the whole output: $log)"
    rm -f "$log"
}

main() {
    case "${1:-}" in
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}" && return ;;
    "") ;;
    *) fail "unknown argument $1; see bash install_libs.sh --help" ;;
    esac
    find_python
    local missing packages
    missing=$("$PYTHON" src/check_install.py missing) ||
        fail "$PYTHON cannot run src/check_install.py; its message is above"
    packages=$(grep -v '^mmcv-full==' <<<"$missing" || true)
    if [ -n "$packages" ]; then
        [[ $packages != *torch==* ]] || check_disk
        echo "Downloading and installing packages (1 to 5 minutes) ..."
        # shellcheck disable=SC2086  # one pin a word
        pip_install --constraint requirements.txt $packages
    fi
    if [[ $missing == *mmcv-full==* ]]; then
        echo "Installing mmcv-full without its operators, for which torchvision stands in ..."
        # Built where there is no torch, it is pure Python. Its setup needs the setuptools pinned here
        # (newer versions of pip take the second variable), and fails on Python 3.13. Nothing is taken
        # from pip's cache, where a compiled one may lie.
        PIP_CONSTRAINT=requirements.txt PIP_BUILD_CONSTRAINT=requirements.txt \
            pip_install --no-deps --no-cache-dir "$(grep '^mmcv-full==' requirements.txt)"
    fi
    "$PYTHON" src/check_install.py once
}

main "$@"
