#!/usr/bin/env bash
# The whole of `make test`: every part runs, also after one that failed; exit status 0 only when all passed.
# pytest comes last, so that its closing line closes the output. Slow work that needs little of the processor
# (packages, the lab's images) goes on beside the build of the CLI.
set -uo pipefail
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
python=$root/.venv/bin/python
started=$SECONDS
summary=()
failed=()

part() { # NAME COMMAND...
    local name=$1 from=$SECONDS result=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || {
        result=FAILED
        failed+=("$name")
    }
    summary+=("$(printf '%-28s %-6s %4d s' "$name" "$result" $((SECONDS - from)))")
}

# What goes on beside has a process group of its own, ended as a whole if this script ends first.
cli=
lab=
trap 'kill ${cli:+-- "-$cli"} 2>/dev/null; kill ${lab:+-- "-$lab"} 2>/dev/null' EXIT
if ! tools/setup.sh cli-ready; then
    set -m
    tools/setup.sh cli </dev/null &
    cli=$!
    set +m
fi

part "set-up" tools/setup.sh base
[ "${#failed[@]}" -eq 0 ] || exit 1
export VIRTUAL_ENV=$root/.venv PATH=$root/.tools/bin:$root/.venv/bin:$PATH

# Images now, while the CLI is still compiling; the tests would build them as well, later.
if [ -n "$cli" ] && [ -e lab/__main__.py ]; then
    mkdir -p .tools/log
    set -m
    "$python" -m lab up </dev/null >.tools/log/lab-up.log 2>&1 &
    lab=$!
    set +m
fi
part "lint (ruff)" tools/check_python.sh lint
part "types (mypy)" tools/check_python.sh types
part "shell (shellcheck)" tools/check_shell.sh
if [ -n "$lab" ]; then
    part "lab images" wait "$lab"
    lab=
    [[ ${summary[-1]} != *FAILED* ]] || tail -n 30 .tools/log/lab-up.log
fi
if [ -n "$cli" ]; then
    part "Pulumi CLI" wait "$cli"
    cli=
    [ "${#failed[@]}" -eq 0 ] || [[ ${failed[-1]} != "Pulumi CLI" ]] || exit 1
fi

printf '\n== before the tests, %d s\n' $((SECONDS - started))
printf '   %s\n' "${summary[@]}"

# Fast and plain ones first: what is wrong in them explains the rest. The long ones last.
first=(documents components scripts lab_unit plugins)
last=(lab e2e)
paths=()
for name in "${first[@]}"; do
    if [ -d "tests/$name" ]; then paths+=("tests/$name"); fi
done
for path in tests/*/ tests/test_*.py; do
    name=$(basename "$path")
    case " ${first[*]} ${last[*]} __pycache__ test_*.py " in
        *" $name "*) ;;
        *) paths+=("${path%/}") ;;
    esac
done
for name in "${last[@]}"; do
    if [ -d "tests/$name" ]; then paths+=("tests/$name"); fi
done

printf '\n== tests (pytest): %s\n' "${paths[*]}"
"$python" -m pytest "${paths[@]}" --durations=10 "$@" </dev/null
status=$?
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'make test: FAILED before the tests: %s\n' "${failed[*]}"
    exit 1
fi
exit "$status"
