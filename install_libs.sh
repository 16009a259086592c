#!/usr/bin/env bash
# Install everything into the active Python 3.11; run again at any time, it does only what is missing.
#
#   bash install_libs.sh
#   PYTHON=python3.11 bash install_libs.sh      another interpreter
#   CIS_CPU_ONLY=1 bash install_libs.sh         no CUDA operators although there is an NVIDIA GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

MMCV=$(grep '^mmcv-full==' requirements.txt)
LOG=${TMPDIR:-/tmp}/install_libs.$$.log

fail() {
    echo "error: $*" >&2
    exit 2
}

find_python() {
    PYTHON=${PYTHON:-python}
    command -v "$PYTHON" >/dev/null ||
        fail "no '$PYTHON' found; activate a Python 3.11 environment or set PYTHON=/path/to/python3.11"
    local version
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        fail "'$PYTHON' does not run; set PYTHON=/path/to/python3.11"
    [ "$version" = 3.11 ] ||
        fail "$(command -v "$PYTHON") is Python $version; Python 3.11 is needed:" \
            "activate such an environment or set PYTHON=/path/to/python3.11"
    "$PYTHON" -m pip --version >/dev/null 2>&1 ||
        fail "$PYTHON has no pip; install it (python -m ensurepip, or your system's python3-pip)"
    if ! in_python 'import sys; sys.exit(sys.prefix == sys.base_prefix)'; then
        echo "Note: this is no virtual environment; 'python -m venv .venv && source .venv/bin/activate' keeps things apart."
        in_python 'import os, sys, sysconfig as s; sys.exit(os.path.exists(s.get_path("stdlib") + "/EXTERNALLY-MANAGED"))' ||
            fail "this Python belongs to the operating system; activate a virtual environment first"
    fi
}

in_python() {
    "$PYTHON" -c "$1"
}

check() {
    "$PYTHON" src/check_install.py "$@"
}

# Run a command with its output in the log, showing the time and, with a folder as $2, how many files
# were compiled in it.
with_progress() {
    local what=$1 folder=$2 start=$SECONDS pid last=-1 line
    shift 2
    "$@" >>"$LOG" 2>&1 &
    pid=$!
    trap 'kill $pid 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        line="$what: $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s"
        [ -z "$folder" ] || line="$line, $(find "$folder" -name '*.o' | wc -l | tr -d ' ') files compiled"
        if [ -t 1 ]; then
            printf '\r%s ' "$line"
        elif [ $((SECONDS / 30)) -ne "$last" ]; then
            last=$((SECONDS / 30))
            echo "$line"
        fi
    done
    trap - INT TERM
    [ ! -t 1 ] || echo
    wait "$pid"
}

pip_install() {
    local what=$1 folder=$2
    shift 2
    with_progress "$what" "$folder" "$PYTHON" -m pip install --disable-pip-version-check "$@" || {
        grep -i '^ERROR' "$LOG" | tail -n 1 >&2 || true
        fail "$what failed; is the package registry reachable? The whole output is in $LOG"
    }
}

install_packages() {
    local unmet
    unmet=$(check packages) && return
    # shellcheck disable=SC2086  # one pin a word
    pip_install "Downloading and installing packages (2 to 5 minutes, 6 GB)" "" $unmet
}

check_compiler() {
    command -v "${CXX:-g++}" >/dev/null ||
        fail "no C++ compiler (${CXX:-g++}) for mmcv-full; install one, e.g. apt-get install g++"
    local header
    header=$(in_python 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
    [ -f "$header" ] || fail "no Python headers ($header) for mmcv-full; install them, e.g. apt-get install python3.11-dev"
}

# CUDA operators are compiled where an NVIDIA GPU is present.
choose_operators() {
    export MMCV_WITH_OPS=1 FORCE_CUDA=0
    if [ -n "${CIS_CPU_ONLY:-}" ] || ! nvidia-smi >/dev/null 2>&1; then
        export CUDA_VISIBLE_DEVICES=
        return
    fi
    in_python 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        fail "there is an NVIDIA GPU, but torch cannot use it (too old a driver?); CIS_CPU_ONLY=1 goes without"
    command -v nvcc >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] ||
        fail "there is an NVIDIA GPU, but no nvcc to compile for it; install the CUDA toolkit, or CIS_CPU_ONLY=1 goes without"
    FORCE_CUDA=1
    TORCH_CUDA_ARCH_LIST=$(in_python 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
    # Toolkits without all headers (cusparse.h ...) find them in the packages that torch came with.
    CPATH=${CPATH:+$CPATH:}$(in_python '
import glob, sysconfig
print(":".join(sorted(glob.glob(sysconfig.get_path("purelib") + "/nvidia/*/include"))))')
    export FORCE_CUDA TORCH_CUDA_ARCH_LIST CPATH
}

compile_mmcv() {
    local cores memory jobs what folder
    cores=$(in_python 'import os; print(os.cpu_count())')
    memory=$(in_python 'import psutil; print(max(1, psutil.virtual_memory().available // 2**31))')
    jobs=$((cores < memory ? cores : memory))
    folder=$(mktemp -d)
    what="Compiling mmcv-full with $jobs job(s) (about $(((14 + jobs) / jobs)) min; seconds if it was compiled here before)"
    [ "$FORCE_CUDA" = 0 ] || what="Compiling mmcv-full for CPU and GPU with $jobs job(s) (about $(((60 + jobs) / jobs)) min)"
    MAX_JOBS=$jobs TMPDIR=$folder pip_install "$what" "$folder" --no-build-isolation "$@" "$MMCV"
    rm -rf "$folder"
}

install_mmcv() {
    check mmcv && return
    check_compiler
    if in_python 'import importlib.metadata as m; m.version("mmcv-full")' 2>/dev/null; then
        echo "mmcv-full was compiled for another torch or device: it is compiled anew."
    else
        compile_mmcv
    fi
    # pip keeps compiled wheels without asking which torch they were compiled against.
    check mmcv || compile_mmcv --force-reinstall --no-deps --no-cache-dir --no-binary mmcv-full
    check stamp
}

case "${1:-}" in
-h | --help)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
"") ;;
*) fail "unknown argument $1; see bash install_libs.sh --help" ;;
esac
find_python
install_packages
choose_operators
install_mmcv
check
rm -f "$LOG"
