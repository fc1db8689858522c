#!/usr/bin/env bash
# Makes this checkout ready to run: Debian packages, the virtual environment, the Pulumi CLI.
# Every part looks first and does nothing when there is nothing to do, so it may be run before anything else, always.
#
#   tools/setup.sh            everything; the CLI is built beside the rest
#   tools/setup.sh demo COMMAND...  what `make demo` needs and no more; COMMAND runs while the CLI is still being built
#   tools/setup.sh base       Debian packages and the virtual environment
#   tools/setup.sh cli        the Pulumi CLI and its language host, into .tools/bin, unless one is installed
#   tools/setup.sh cli-ready  nothing; exit status 0 when there is a CLI to use
#
# Environment: PYTHON (default python3), LAB_PULUMI (a CLI to use: none is looked for or built),
# XDG_CACHE_HOME (default ~/.cache: built binaries are kept there for the machine's other checkouts).
set -euo pipefail
shopt -s inherit_errexit

# -P: git, Python and the CLI see the real path, whatever link led here.
root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
bin="$root/.tools/bin"
stamps="$root/.tools/stamps"
umask 022
# An active .venv must not be what makes, or clears, itself.
PATH=:$PATH:
PATH=${PATH//:"$root/.venv/bin":/:}
PATH=${PATH#:}
PATH=${PATH%:}

# No C compiler is needed.
export CGO_ENABLED=0
# The CLI says its version only when the linker is told it.
cli_version=$(sed -n 's,^[[:space:]]*github.com/pulumi/pulumi/sdk/v3 \(v[0-9.]*\).*,\1,p' tools/go.mod)

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# step TEXT COMMAND...: runs a slow command, quiet unless it fails, and says how long it took.
# Started outside `if`, `&&` and `||`, where bash would switch `set -e` off inside it.
step() {
    local text=$1 log=$root/.tools/log started=$SECONDS status
    shift
    mkdir -p "$log"
    log="$log/$(printf '%s' "$text" | tr -cs 'a-zA-Z0-9' '-' | cut -c1-24).log"
    say "$text ..."
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2
        die "$text: failed after $((SECONDS - started)) s (exit $status); the whole output: $log"
    fi
    say "$text: $((SECONDS - started)) s"
}

# ---------------------------------------------------------------- Debian packages

# A package is wanted when its command is missing, so that Docker's own docker-ce and the like are left as they are.
wanted_packages() { # lab | dev
    have() { command -v "$1" >/dev/null 2>&1; }
    installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
    # sbin is not on everybody's PATH
    local PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    { have dockerd && have docker; } || echo docker.io
    have iptables || echo iptables
    have ip || echo iproute2
    have debootstrap || echo debootstrap
    have git || echo git
    installed ca-certificates || echo ca-certificates
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    if [ "$1" = dev ] || [ "${LAB_HOST:-local}" = ssh ]; then
        [ -x /usr/sbin/sshd ] || echo openssh-server
        have ssh || echo openssh-client
        have sudo || echo sudo
    fi
    [ "$1" = dev ] || return 0
    have shellcheck || echo shellcheck
    have curl || echo curl
    have cron || echo cron
    have faketime || echo faketime # the tests show cron another time
    have systemd-analyze || echo systemd
    installed busybox-static || echo busybox-static # copied into containers that have no libc
    [ -x /usr/lib/postgresql/15/bin/initdb ] || echo postgresql-15 # the tests start servers of their own
}

# Installing must start nothing and leave nothing enabled: no PostgreSQL cluster, no sshd, no cron, no docker service.
install_packages() {
    local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/mautrix-lab.conf made=() file
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made+=("$policy")
    fi
    if [ ! -e "$cluster" ]; then
        mkdir -p "${cluster%/*}"
        printf 'create_main_cluster = false\n' >"$cluster"
        made+=("$cluster")
    fi
    # shellcheck disable=SC2064 # expanded now on purpose: the array is local
    trap "$(printf 'rm -f --'; for file in "${made[@]}"; do printf ' %q' "$file"; done)" EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"
    if command -v systemctl >/dev/null 2>&1; then
        for file in "$@"; do
            case $file in
                cron) systemctl disable cron.service || true ;;
                openssh-server) systemctl disable ssh.service ssh.socket || true ;;
                postgresql-15) systemctl disable postgresql.service || true ;;
            esac
        done
    fi
}

debian_packages() { # lab | dev
    command -v dpkg-query >/dev/null 2>&1 || die "this is not Debian (no dpkg-query): install by hand what tools/setup.sh lists in wanted_packages"
    local wanted
    mapfile -t wanted < <(wanted_packages "$1")
    [ "${#wanted[@]}" -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || die "missing: ${wanted[*]}. Run as root, or first: sudo apt-get install ${wanted[*]}"
    step "Debian packages: ${wanted[*]}" install_packages "${wanted[@]}"
    mapfile -t wanted < <(wanted_packages "$1")
    [ "${#wanted[@]}" -eq 0 ] || die "still missing after apt-get install: ${wanted[*]}"
}

# ---------------------------------------------------------------- virtual environment

# Four fifths of what development installs (megabytes, and seconds) are for tests and checks: a demo does without.
virtual_environment() { # lab | dev
    local version key
    version=$("$python" -c 'import sys; print(sys.version)')
    key=$({ printf '%s\n' "$version" "$root"; cat requirements.txt requirements-lab.txt requirements-dev.txt; } | sha256sum | cut -c1-16)
    if [ -x .venv/bin/python ] && { [ -e "$stamps/venv-dev-$key" ] || [ -e "$stamps/venv-$1-$key" ]; }; then
        return 0
    fi
    rm -f "$stamps"/venv-*
    # Made by another Python, or moved here with the checkout: its scripts name a path that is no longer right.
    if [ "$(.venv/bin/python -c 'import sys, pip; print(sys.version)' 2>/dev/null)" != "$version" ] \
        || ! grep -qF -- "$root/.venv" .venv/bin/activate; then
        step "virtual environment .venv (Python ${version%% *})" "$python" -m venv --clear .venv
    fi
    step "Python packages" .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "requirements-$1.txt"
    : >"$stamps/venv-$1-$key"
}

# ---------------------------------------------------------------- Pulumi CLI

# What was built is the same as long as this is: sources by go.sum, toolchain, platform, and how it is built.
cli_key() {
    {
        cat tools/go.mod tools/go.sum tools/language/go.mod tools/language/go.sum
        # In tools/: there `go` is the toolchain that go.mod asks for.
        (cd tools && go env GOVERSION GOOS GOARCH)
        declare -f build_cli build_language_host
    } | sha256sum | cut -c1-16
}

build_cli() { # DIRECTORY
    (cd tools && go build -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$cli_version" \
        -o "$1/pulumi" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi)
}

# The language host starts programs through a script of its own module, looked for on PATH.
build_language_host() { # DIRECTORY
    local module=github.com/pulumi/pulumi/sdk/v3
    (cd tools/language && go build -ldflags '-s -w' -o "$1/pulumi-language-python" "$module/python/cmd/pulumi-language-python" \
        && install -m 755 "$(go list -m -f '{{.Dir}}' "$module")/python/cmd/pulumi-language-python-exec" "$1/")
}

# An installed CLI that is good enough is used: it says which one, once. lab/which_pulumi.py decides, for the lab too.
installed_cli=
looked_for_cli=
look_for_installed_cli() {
    [ -z "$looked_for_cli" ] || return 0
    looked_for_cli=yes
    python_is_new_enough
    local answer
    if answer=$("$python" lab/which_pulumi.py 2>&1); then
        installed_cli=$answer
        say "Pulumi CLI: $answer, as installed; none is built"
    elif [ -n "$answer" ]; then
        say "Pulumi CLI: $answer; not used"
    fi
}

cli_files=(pulumi pulumi-language-python pulumi-language-python-exec)

cli_ready() {
    if [ -n "${LAB_PULUMI:-}" ]; then
        [ -x "$LAB_PULUMI" ] || die "LAB_PULUMI=$LAB_PULUMI is not an executable file: give the path of a Pulumi CLI"
        return 0
    fi
    look_for_installed_cli
    [ -z "$installed_cli" ] || return 0
    command -v go >/dev/null 2>&1 || die "no 'go' on PATH: install Go, or set LAB_PULUMI to a Pulumi CLI"
    local file key
    key=$(cli_key)
    [ -e "$stamps/cli-$key" ] || return 1
    for file in "${cli_files[@]}"; do
        [ -x "$bin/$file" ] || return 1
    done
}

cli() {
    if cli_ready; then
        return 0
    fi
    local cache key file
    key=$(cli_key)
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/mautrix-bridge-lab/cli-$key
    mkdir -p "${cache%/*}"
    # One build a machine at a time: a second one waits, then finds it done.
    exec 9>"$cache.lock"
    flock 9
    if [ ! -d "$cache" ]; then
        rm -rf "$cache.new"
        mkdir "$cache.new"
        step "Pulumi CLI $cli_version (from source: minutes the first time on a machine)" build_cli "$cache.new"
        step "Pulumi's Python language host" build_language_host "$cache.new"
        mv "$cache.new" "$cache"
    fi
    mkdir -p "$bin"
    for file in "${cli_files[@]}"; do
        # Under a new name, then renamed: a running CLI keeps the file it was started from.
        ln -f "$cache/$file" "$bin/.new-$file" 2>/dev/null || cp "$cache/$file" "$bin/.new-$file"
        mv -f "$bin/.new-$file" "$bin/$file"
    done
    exec 9>&-
    rm -f "$stamps"/cli-*
    : >"$stamps/cli-$key"
}

# ----------------------------------------------------------------

python=${PYTHON:-python3}
python_is_new_enough() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "'$python' is no Python of 3.11 or newer: install one, or set PYTHON to it"
}

base() { # lab | dev
    python_is_new_enough
    exec 8>"$root/.tools/setup.lock"
    flock 8
    debian_packages "$1"
    virtual_environment "$1"
    exec 8>&-
}

building= # not local: the trap outlives the function
# Base, then COMMAND; the CLI is built beside both.
with_cli() { # lab | dev, COMMAND...
    if cli_ready; then
        base "$1"
        "${@:2}"
        return 0
    fi
    local status=0
    # A process group of its own, ended with us: nothing may go on compiling after a Ctrl-C or a failed part.
    set -m
    cli &
    building=$!
    set +m
    trap 'kill -- "-$building" 2>/dev/null || true' EXIT
    base "$1"
    "${@:2}"
    wait "$building" || status=$?
    trap - EXIT
    [ "$status" -eq 0 ] || exit "$status"
}

mkdir -p "$stamps"
case ${1:-all} in
    all) with_cli dev ;;
    demo) with_cli lab "${@:2}" ;;
    base) base dev ;;
    cli) cli ;;
    cli-ready) cli_ready ;;
    *) die "no such part: $1 (all, demo, base, cli, cli-ready)" ;;
esac
