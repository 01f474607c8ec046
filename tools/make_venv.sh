#!/bin/sh
# Makes .venv, or brings it up to date; silent where there is nothing to do. `make venv` runs it.
#
# .venv/.mtl_d2 says how far a .venv is: "unfinished" from its first moment on and whenever packages are written, a key
# of this folder and of the files that decide what is installed once it is complete. An unfinished one was interrupted,
# perhaps in the middle of a package, and is made anew. A .venv without the file is the user's own: packages are added
# to it, and nothing is deleted.
set -u
cd "$(dirname "$0")/.." || exit 1

PYTHON=${PYTHON:-python3}
STATE=.venv/.mtl_d2
LOG=.venv/setup.log
INPUTS="setup.py constraints.txt tools/make_venv.sh tools/install_detectron2.py tools/detectron2_patches.py"

say() { printf 'set-up: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }
# shellcheck disable=SC2086  # INPUTS is a list
key() { { pwd -P; cat $INPUTS; } | cksum; }
state() { cat "$STATE" 2>/dev/null || true; }
has_python() { [ -x .venv/bin/python ]; }
is_complete() { has_python && [ "$(state)" = "$(key)" ]; }
is_interrupted() { [ -f "$STATE" ] && { [ -z "$(state)" ] || [ "$(state)" = unfinished ]; }; }
is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# One set-up at a time. Its children hold the lock too, so that one whose make was killed is waited for.
lock() {
    command -v flock >/dev/null || return 0
    exec 9<Makefile
    flock -n 9 && return 0
    say "another make is setting up .venv; waiting for it"
    flock 9
}

newer_python() {
    for p in python3.14 python3.13 python3.12 python3.11 python3.10; do
        if is_recent "$p"; then
            echo "Name one that is: PYTHON=$p make ..."
            return
        fi
    done
    echo "Install one, and name it: PYTHON=python3.11 make ..."
}

check_python() {
    "$PYTHON" -c '' 2>/dev/null || fail "PYTHON=$PYTHON does not run; Python 3.10 or newer is needed. $(newer_python)"
    is_recent "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1), not 3.10 or newer. $(newer_python)"
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "PYTHON=$PYTHON has no venv or ensurepip. Debian and Ubuntu: apt install python3-venv. Or name" \
            "another Python: PYTHON=python3.11 make ..."
}

# Moved before it is deleted: an interrupted deletion leaves no half .venv.
discard() {
    rm -rf .venv.discarded
    if [ -f "$STATE" ]; then
        mv .venv .venv.discarded && rm -rf .venv.discarded
    elif [ -e .venv ] && ! rmdir .venv 2>/dev/null; then
        fail ".venv is there, but has no bin/python and was not made by make. Remove or rename it."
    fi
}

create() {
    check_python
    discard
    mkdir .venv && echo unfinished >"$STATE" || fail "cannot write in $(pwd)"
    say "making .venv with $("$PYTHON" -V 2>&1)"
    "$PYTHON" -m venv .venv >"$LOG" 2>&1 || failed
}

failed() {
    tail -n 15 "$LOG" >&2
    fail "failed: the end of $LOG is above. Mend what it names (network? disk space?), and run make again."
}

# A failure of pip itself leaves an environment that pip can go on with; only an interruption does not.
install() {
    before=$(state)
    if [ -f "$STATE" ]; then echo unfinished >"$STATE"; fi
    case "$before" in
        "" | unfinished) say "installing PyTorch and what else setup.py names: minutes, several GB on disk (log: $LOG)" ;;
        *) say "bringing .venv up to date (log: $LOG)" ;;
    esac
    if .venv/bin/python -m pip install --progress-bar off -c constraints.txt -e ".[test]" >"$LOG" 2>&1; then
        say "installing detectron2"
        .venv/bin/python tools/install_detectron2.py >>"$LOG" 2>&1 && return
    fi
    if [ -n "$before" ]; then echo "$before" >"$STATE"; fi
    failed
}

is_complete && exit 0
lock
is_complete && exit 0
trap 'say "interrupted; the next make starts over"; exit 130' INT TERM HUP
unset PYTHONPATH PYTHONHOME  # they would show pip packages that .venv does not have
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
if is_interrupted; then
    say "the last set-up did not end; starting over"
    create
elif ! has_python; then
    create
fi
install
key >"$STATE.new" && mv "$STATE.new" "$STATE"
say "done"
