#!/usr/bin/env bash
# Runs the tests of what touches Ray and Optuna with the oldest versions that pyproject.toml allows, and with the
# newest that are released: tests/versions.sh [oldest|newest]. Each in an environment of its own, below build/.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1

oldest() { sed -nE "s/^ *\"$1(\[[a-z,]*\])?>=([0-9.]+).*/\2/p" pyproject.toml; }

try() {
    local place=build/versions-$1 pins
    case $1 in
        oldest) pins=("ray==$(oldest ray).*" "optuna==$(oldest optuna).*") ;;
        newest) pins=("ray" "optuna") ;;
        *) echo "tests/versions.sh: oldest or newest, not $1" >&2 && exit 2 ;;
    esac
    mkdir -p build
    grep -vE '^(ray|optuna)==' constraints.txt >"build/constraints-$1.txt"
    python3 -m venv "$place"
    "$place/bin/python" -m pip install --quiet --constraint "build/constraints-$1.txt" --editable '.[dev,postgresql]'
    "$place/bin/python" -m pip install --quiet --upgrade --constraint "build/constraints-$1.txt" "${pins[@]}"
    "$place/bin/python" -m pip list 2>/dev/null | grep -E '^(ray|optuna) '
    "$place/bin/python" -m pytest tests/on_ray tests/oracle/test_{ledger,drivers,searches,jobs,package}.py tests/dashboards
}

[ $# -gt 0 ] || set -- oldest newest
for which in "$@"; do try "$which"; done
