#!/usr/bin/env bash
# Runs shellcheck on every shell file of the checkout: known by its name or by its first line, committed or about to be.
# Not on tests/*/corpus/: those are operators' scripts as they are met with, kept as test data with all their faults.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

files=()
while IFS= read -r -d '' file; do
    if [ ! -f "$file" ] || [ -L "$file" ]; then continue; fi
    case $file in
        tests/*/corpus/*) ;;
        *.sh | *.bash) files+=("$file") ;;
        *)
            first=
            IFS= read -r -n 80 first <"$file" 2>/dev/null || true
            [[ $first =~ ^'#!'[[:space:]]*[^[:space:]]*/(env[[:space:]]+)?(ba|da|k)?sh([[:space:]]|$) ]] && files+=("$file")
            ;;
    esac
done < <(git ls-files -z --cached --others --exclude-standard)

# tools/setup.sh is always there: none found means that the search is broken.
[ "${#files[@]}" -gt 0 ] || {
    echo "check_shell: found no shell file; is this a git checkout?" >&2
    exit 1
}
shellcheck --severity=style "${files[@]}"
echo "shellcheck: ${#files[@]} files"
