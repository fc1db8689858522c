#!/usr/bin/env bash
# tools/check_python.sh lint: ruff's rules and format.  tools/check_python.sh types: mypy, strict (pyproject.toml).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
case ${1:-} in
    lint)
        status=0
        "$python" -m ruff check --output-format=concise . || status=1
        "$python" -m ruff format --check --output-format=concise . || status=1
        exit "$status"
        ;;
    types) "$python" -m mypy ;;
    *)
        echo "usage: tools/check_python.sh lint|types" >&2
        exit 2
        ;;
esac
