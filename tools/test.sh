#!/usr/bin/env bash
# The whole of `make test`: every part runs, also after one that failed; exit status 0 only when all passed.
# pytest comes last, so that its closing line closes the output of a run that passed. Slow work that needs little of the processor
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
beside=
end() {
    local group
    for group in $cli $lab $beside; do kill -- "-$group" 2>/dev/null; done
}
trap end EXIT
if ! tools/setup.sh cli-ready; then
    set -m
    tools/setup.sh cli </dev/null &
    cli=$!
    set +m
fi

part "set-up" tools/setup.sh base
[ "${#failed[@]}" -eq 0 ] || exit 1
export VIRTUAL_ENV=$root/.venv PATH=$root/.tools/bin:$root/.venv/bin:$PATH

# The lab now, while the CLI is still compiling; the tests need it, and the Docker daemon that it starts.
mkdir -p .tools/log
set -m
"$python" -m lab up </dev/null >.tools/log/lab-up.log 2>&1 &
lab=$!
set +m
part "lint (ruff)" tools/check_python.sh lint
part "types (mypy)" tools/check_python.sh types
part "shell (shellcheck)" tools/check_shell.sh
part "lab" wait "$lab"
lab=
[[ ${summary[-1]} != *FAILED* ]] || tail -n 30 .tools/log/lab-up.log
if [ -n "$cli" ]; then
    part "Pulumi CLI" wait "$cli"
    cli=
    [ "${#failed[@]}" -eq 0 ] || [[ ${failed[-1]} != "Pulumi CLI" ]] || exit 1
fi

printf '\n== before the tests, %d s\n' $((SECONDS - started))
printf '   %s\n' "${summary[@]}"

# The lab's tests wait for containers most of the time. The others, of which none needs the lab, run beside them; what
# they said comes last.
others=()
for path in tests/*/ tests/test_*.py; do
    name=$(basename "$path")
    case $name in
        lab | __pycache__ | 'test_*.py') ;;
        *) others+=("${path%/}") ;;
    esac
done
set -m
"$python" -m pytest -m 'not e2e' -n 1 --dist loadfile "${others[@]}" --durations=10 "$@" \
    </dev/null >.tools/log/tests.log 2>&1 &
beside=$!
set +m
printf '\n== tests on the lab; beside them, into .tools/log/tests.log: %s\n' "${others[*]}"
"$python" -m pytest -m e2e -n 2 --dist loadfile tests --durations=10 "$@" </dev/null || failed+=("tests on the lab")
wait "$beside" || failed+=("tests beside the lab")
beside=
printf '\n== tests beside the lab\n'
cat .tools/log/tests.log
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'make test: FAILED: %s\n' "${failed[*]}"
    exit 1
fi
