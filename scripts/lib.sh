# What the scripts share: finding a Python, the virtual environments of the clone, Debian packages. To be sourced.
#
# PYTHON names another interpreter, CARGO_TARGET_DIR another place for what cargo builds.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
VENV=$ROOT/.venv
VENVS=$ROOT/.venvs

# An activated environment, and settings of pip that send packages elsewhere, must not decide what happens here.
unset VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH PYTHONSTARTUP __PYVENV_LAUNCHER__ \
    PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV PIP_CONSTRAINT ASTERI_COMMAND
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '\n=== %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

# Prints the path of an interpreter if NAME is one that serves, and nothing otherwise. Version managers put commands on
# the path that only say that a version is not installed, so a name proves nothing until it has run.
usable_python() {
    "$1" -c '
import sys, venv, ensurepip
sys.exit(sys.version_info < (3, 10) or sys.implementation.name != "cpython" or print(sys.executable))' 2>/dev/null || true
}

# Prints the interpreter to build for: $PYTHON, else the one of .venv, else the first that serves.
find_python() {
    local name found
    for name in ${PYTHON:-"$VENV/bin/python" python3 python3.13 python3.12 python3.11 python3.10 python3.14 python}; do
        found=$(usable_python "$name")
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return
        fi
    done
    if [ -z "${PYTHON:-}" ] && [ -x /usr/bin/python3 ] && [ "${1:-}" != again ]; then
        # Debian ships the module that makes virtual environments in a package of its own.
        debian_packages python3-venv >&2 && find_python again && return
    fi
    fail "no CPython 3.10 or newer with venv and pip was found${PYTHON:+ under PYTHON=$PYTHON}" \
        "try: PYTHON=/path/to/python3.12 make ..."
}

# Installs Debian packages, or says which are needed.
debian_packages() {
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        fail "these programs are missing and this is no Debian: they are in packages named like $*"
    elif [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo)
        else
            fail "missing Debian packages, and only root may install them" "try: sudo apt-get install $*"
        fi
    fi
    say "installing the Debian packages $*"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null ||
        echo "warning: apt-get update failed, going on with the lists that are there" >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null ||
        fail "the Debian packages could not be installed" "try: apt-get install $*"
}

# need PROGRAM:PACKAGE...: installs the packages of the programs that are missing.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] || debian_packages "${missing[@]}"
}

need_rust() {
    command -v cargo >/dev/null || fail "cargo is missing" "try: https://rustup.rs, or the Debian packages rustup or cargo"
    need cc:gcc
}

# venv PATH PYTHON: a virtual environment for exactly this interpreter; one for another interpreter is made anew.
venv() {
    local wanted have
    wanted=$("$2" -c 'import sys; print(sys.version, sys.base_prefix)')
    have=$("$1/bin/python" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || true)
    if [ "$wanted" != "$have" ]; then
        say "virtual environment ${1#"$ROOT"/} for $("$2" --version)"
        rm -rf "$1"
        "$2" -m venv "$1"
    fi
}

# install VENV FILE...: pinned requirements, once for each content of the files.
install() {
    local venv=$1 stamp
    shift
    stamp=$venv/.installed-$(cat "$@" | sha256sum | cut -c1-16)
    [ ! -e "$stamp" ] || return 0
    "$venv/bin/python" -m pip install --quiet "${@/#/--requirement=}"
    touch "$stamp"
}
