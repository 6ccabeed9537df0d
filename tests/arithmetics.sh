#!/usr/bin/env bash
# Runs tests under the arithmetics of other processors: tests/arithmetics.sh [what pytest takes]; by default what
# trains, but for the slow ones. Each gives other last digits, and a chaotic training other results. A test that
# passes in one and fails in another rests on rounding.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- -m 'not slow' --numprocesses 2 tests/trials tests/oracle
python=${PYTHON:-.venv/bin/python}

try() {
    echo "== $*"
    env OMP_NUM_THREADS=1 "$@" || failed+=("$1")
}

failed=()
for setting in ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2; do
    try "$setting" "$python" -m pytest "$@"
done
[ ${#failed[@]} = 0 ] || { echo "tests that rest on rounding, or are broken, under: ${failed[*]}" >&2; exit 1; }
