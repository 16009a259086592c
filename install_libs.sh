#!/usr/bin/env bash
# Install everything into the active Python 3.11; run again at any time, it does only what is missing.
#
#   bash install_libs.sh
#   PYTHON=python3.11 bash install_libs.sh      another interpreter
#   CIS_CPU_ONLY=1 bash install_libs.sh         no CUDA operators although there is an NVIDIA GPU
#   MAX_JOBS=1 bash install_libs.sh             fewer compilations at a time, for less memory
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

MMCV=$(grep '^mmcv-full==' requirements.txt)
LOG=${TMPDIR:-/tmp}/install_libs.$$.log
WORK=

fail() {
    echo "error: $*" >&2
    exit 2
}

in_python() {
    "$PYTHON" -c "$@"
}

check() {
    "$PYTHON" src/check_install.py "$@"
}

runs() {
    "$1" -c '' >/dev/null 2>&1
}

find_python() {
    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python
        if ! runs python && runs python3; then
            PYTHON=python3
            echo "Note: there is no 'python' here; using $(command -v python3)."
        fi
    fi
    runs "$PYTHON" ||
        fail "no '$PYTHON' that runs; activate a Python 3.11 environment or set PYTHON=/path/to/python3.11"
    local version
    version=$(in_python 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    case $version in
    3.11.*) ;;
    *) fail "$(command -v "$PYTHON") is Python $version, but Python 3.11 is needed:" \
        "python3.11 -m venv .venv && source .venv/bin/activate, then run this again" ;;
    esac
    if in_python 'import sys; sys.exit(sys.prefix != sys.base_prefix)'; then
        in_python 'import os, sys, sysconfig as s
sys.exit(os.path.exists(s.get_path("stdlib") + "/EXTERNALLY-MANAGED"))' ||
            fail "this Python belongs to the operating system:" \
                "$PYTHON -m venv .venv && source .venv/bin/activate, then run this again"
        [ -n "${CONDA_PREFIX:-}" ] ||
            echo "Note: '$PYTHON -m venv .venv && source .venv/bin/activate' would keep this apart from other projects."
    fi
    in_python 'import pip' 2>/dev/null ||
        fail "$PYTHON has no pip; $PYTHON -m ensurepip installs it"
}

# Run a command with its output in the log and a line on the time spent; $2 names a function that says more.
with_progress() {
    local what=$1 details=$2 start=$SECONDS pid line shown=0
    shift 2
    echo "$what"
    : >"$LOG"
    set -m # its own process group, so that an interrupt ends the compilers, too
    "$@" >>"$LOG" 2>&1 </dev/null &
    pid=$!
    set +m
    # shellcheck disable=SC2064  # this pid, not a later one
    trap "kill -- -$pid 2>/dev/null; rm -f '$LOG'; echo; echo 'error: interrupted; run it again to go on' >&2; exit 130" INT TERM HUP
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        line="  $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s$("$details" $((SECONDS - start)))"
        if [ -t 1 ]; then
            printf '\r\033[K%s' "$line"
        elif [ $((SECONDS - start - shown)) -ge 30 ]; then
            shown=$((SECONDS - start))
            echo "$line"
        fi
    done
    trap - INT TERM HUP
    [ ! -t 1 ] || printf '\r\033[K'
    wait "$pid"
}

download_status() {
    sed -n -e 's/^ *Downloading \(.*\)-[0-9][^ ]* \((.*)\).*/: downloading \1 \2/p' \
        -e 's/^ *Using cached \(.*\)-[0-9][^ ]* \((.*)\).*/: taking \1 \2 from the cache/p' \
        -e 's/^Installing collected packages.*/: unpacking/p' "$LOG" | tail -n 1
}

# Ninja numbers what it has compiled: [12/74].
compile_status() {
    local done_of
    done_of=$(sed -n 's/^ *\[\([0-9]*\)\/\([0-9]*\)\] .*/\1 \2/p' "$LOG" | tail -n 1)
    [ -n "$done_of" ] || return 0
    printf ': %d of %d files compiled' "${done_of% *}" "${done_of#* }"
    [ "${done_of% *}" -lt 5 ] ||
        printf ', about %d min left' $((($1 * (${done_of#* } - ${done_of% *}) / ${done_of% *} + 59) / 60))
}

# What to tell the user about a failed step, from its log.
reason() {
    if grep -q 'No space left on device' "$LOG"; then
        echo "the disk is full; 12 GB are needed, in the environment and in ${TMPDIR:-/tmp}"
    elif grep -qE 'Killed signal|Killed' "$LOG"; then
        echo "out of memory; MAX_JOBS=1 bash install_libs.sh needs less"
    elif grep -q ': error: \|fatal error: ' "$LOG"; then
        grep -m 1 ': error: \|fatal error: ' "$LOG" | sed 's/^ *//'
    elif grep -qE 'connection broken|ConnectionError|NameResolutionError|Timeout|ProxyError|SSLError' "$LOG"; then
        echo "the package registry cannot be reached; check the network (behind a proxy: HTTPS_PROXY)"
    else
        grep -i '^ *error' "$LOG" | tail -n 1 | sed 's/^ *//'
    fi
}

pip_install() {
    local what=$1 details=$2
    shift 2
    with_progress "$what" "$details" "$PYTHON" -m pip install --disable-pip-version-check --no-input "$@" ||
        fail "this failed: $(reason) (the whole output: $LOG)"
}

install_packages() {
    local unmet
    unmet=$(check packages) && return
    [ -n "$unmet" ] || fail "$PYTHON cannot run src/check_install.py; its message is above"
    # shellcheck disable=SC2086  # one pin a word
    pip_install "Downloading and installing packages (2 to 5 minutes, 6 GB)" download_status \
        --constraint requirements.txt $unmet
}

check_pair() {
    in_python 'import sys; from importlib.metadata import version as v
sys.exit(v("torch").partition("+")[2] != v("torchvision").partition("+")[2])' ||
        fail "torch and torchvision are different builds (such as +cpu with a CUDA one);" \
            "$PYTHON -m pip uninstall -y torch torchvision, then run this again"
}

check_compiler() {
    command -v "${CXX:-c++}" >/dev/null ||
        fail "no C++ compiler (${CXX:-c++}) to compile mmcv-full; install one, e.g. apt-get install g++"
    local include
    include=$(in_python 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$include/Python.h" ] ||
        fail "no Python headers ($include/Python.h) to compile mmcv-full;" \
            "install them, e.g. apt-get install python3.11-dev"
}

# mmcv imports these; compiling it again would not mend them.
check_imports() {
    local message
    message=$(in_python 'import torch, torchvision' 2>&1 >/dev/null) ||
        fail "torch cannot be imported ($(tail -n 1 <<<"$message"));" \
            "$PYTHON -m pip uninstall -y torch torchvision, then run this again"
    message=$(in_python 'import cv2' 2>&1 >/dev/null) ||
        fail "OpenCV cannot be imported ($(tail -n 1 <<<"$message"));" \
            "where a system library is missing: apt-get install libgl1 libglib2.0-0 libxcb1"
}

mmcv_installed() {
    in_python 'import importlib.metadata as m; m.version("mmcv-full")' 2>/dev/null
}

# Without a GPU, or when told so, torch is to see none from here on.
choose_device() {
    USE_CUDA=0
    if [ "${CIS_CPU_ONLY:-0}" != 0 ] || ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
        export CUDA_VISIBLE_DEVICES=
        return
    fi
    CUDA=$(in_python 'import torch; print(torch.version.cuda or "")')
    [ -n "$CUDA" ] ||
        fail "there is an NVIDIA GPU, but this torch is a CPU build; CIS_CPU_ONLY=1 bash install_libs.sh" \
            "goes without the GPU, or $PYTHON -m pip uninstall -y torch torchvision and run this again"
    in_python 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
        fail "there is an NVIDIA GPU, but torch cannot use it; update its driver to one for CUDA $CUDA," \
            "or go without: CIS_CPU_ONLY=1 bash install_libs.sh"
    USE_CUDA=1
}

# Folder of a CUDA toolkit of torch's major version.
find_toolkit() {
    local home
    for home in "${CUDA_HOME:-}" /usr/local/cuda "/usr/local/cuda-$CUDA" \
        "$(dirname "$(dirname "$(command -v nvcc || echo //)")")" "$NVIDIA/cu${CUDA%%.*}"; do
        if [ -x "$home/bin/nvcc" ] && "$home/bin/nvcc" --version | grep -q "release ${CUDA%%.*}\."; then
            echo "$home"
            return
        fi
    done
    return 1
}

choose_operators() {
    export MMCV_WITH_OPS=1 FORCE_CUDA=$USE_CUDA
    [ "$USE_CUDA" = 1 ] || return 0
    NVIDIA=$(in_python 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
    CUDA_HOME=$(find_toolkit) ||
        fail "there is an NVIDIA GPU, but no nvcc of CUDA ${CUDA%%.*} to compile for it;" \
            "install the CUDA $CUDA toolkit (13 or newer also comes by" \
            "$PYTHON -m pip install 'cuda-toolkit[nvcc,crt,cccl,nvvm]==$CUDA.*')," \
            "or go without: CIS_CPU_ONLY=1 bash install_libs.sh"
    TORCH_CUDA_ARCH_LIST=$(in_python 'import torch
gpus = range(torch.cuda.device_count())
print(";".join(sorted({"%d.%d" % torch.cuda.get_device_capability(i) for i in gpus})))')
    # What a toolkit lacks (cusparse.h, libcudart.so ...) comes from the packages that torch came with.
    CPATH=${CPATH:+$CPATH:}$(in_python 'import glob, sys
print(":".join(sorted(glob.glob(sys.argv[1] + "/*/include"))))' "$NVIDIA")
    local library
    for library in "$NVIDIA"/*/lib/libcudart.so.*; do
        [ ! -e "$library" ] || ln -sf "$library" "$WORK/libcudart.so"
    done
    LIBRARY_PATH=${LIBRARY_PATH:+$LIBRARY_PATH:}$WORK
    export CUDA_HOME TORCH_CUDA_ARCH_LIST CPATH LIBRARY_PATH
}

# Cores, with at least 2 GB of memory each.
count_jobs() {
    in_python 'import os, psutil
memory = psutil.virtual_memory().available
try:
    memory = min(memory, int(open("/sys/fs/cgroup/memory.max").read()))
except (OSError, ValueError):
    pass
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
print(max(1, min(cores, memory // 2**31)))'
}

# Extra arguments go to pip.
compile_mmcv() {
    local what minutes=14
    MAX_JOBS=${MAX_JOBS:-$(count_jobs)}
    export MAX_JOBS
    what="Compiling mmcv-full for the CPU"
    if [ "$USE_CUDA" = 1 ]; then
        what="Compiling mmcv-full for CPU and GPU"
        minutes=60
    fi
    what="$what, $MAX_JOBS file(s) at a time: about $(((minutes + MAX_JOBS - 1) / MAX_JOBS)) min"
    TMPDIR=$WORK pip_install "$what (seconds if pip kept a fitting one)" compile_status \
        --verbose --no-build-isolation --no-deps "$@" "$MMCV"
    # The mark of an earlier compilation says nothing about this one; it stays where this one fails.
    rm -f "$(in_python 'import sysconfig; print(sysconfig.get_path("platlib"))')/mmcv/compiled_against.txt"
}

# pip keeps compiled wheels without asking which torch they were compiled against.
recompile_mmcv() {
    echo "$1: it is compiled anew."
    "$PYTHON" -m pip cache remove "mmcv_full-${MMCV##*==}*" >/dev/null 2>&1 || true
    compile_mmcv --force-reinstall --no-binary mmcv-full
}

install_mmcv() {
    check mmcv && return
    check_imports
    check_compiler
    choose_operators
    if mmcv_installed; then
        recompile_mmcv "mmcv-full was compiled for another torch or device"
    else
        compile_mmcv
        check mmcv || recompile_mmcv "The mmcv-full that pip had kept does not fit this torch or device"
    fi
    check mmcv || fail "mmcv-full is installed, but its operators do not work (the compiler's output: $LOG)"
    check stamp
}

main() {
    case "${1:-}" in
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}"
        return
        ;;
    "") ;;
    *) fail "unknown argument $1; see bash install_libs.sh --help" ;;
    esac
    find_python
    # The compiler is asked for before the long download, not after it.
    mmcv_installed || check_compiler
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    install_packages
    check_pair
    choose_device
    install_mmcv
    check
    rm -f "$LOG"
}

main "$@"
