#!/usr/bin/env bash
# A part of the test suite: tools/test_part.sh PYTHON NAME PYTEST-ARGUMENTS…
# Which test hung is said once more at the end, after the tracebacks of all its threads. With
# IPCX_AGAIN=1, as in CI, up to three tests that failed run once more, by themselves, unless a
# sanitizer has spoken: see docs/adr/0021. Who passes then stands in .venv/.flaky-NAME, for the end
# of the run. IPCX_PRELOAD: libraries that the interpreter is to load first, and nobody else.
set -uo pipefail
python=$1 name=$2
shift 2
home=$(realpath "${python%/bin/*}")
export IPCX_HUNG=$home/.hung-$name
flaky=$home/.flaky-$name output=$home/.output-$name
unset MAKEFLAGS MFLAGS MAKELEVEL # a make that a test starts has nothing to do with this one
rm -f "$IPCX_HUNG" "$flaky"

run() {
    LD_PRELOAD=${IPCX_PRELOAD:-} "$python" -m pytest -q -o cache_dir="$home/.tests-$name" "$@"
}

run "$@" | tee "$output"
status=$?
cat "$IPCX_HUNG" 2>/dev/null
if [ "$status" != 1 ] || [ "${IPCX_AGAIN:-}" != 1 ] ||
    grep -qE 'Sanitizer:|runtime error:' "$output"; then
    exit "$status"
fi
failed=$("$python" - "$home/.tests-$name/v/cache/lastfailed" <<'EOF'
import json, pathlib, sys
there = pathlib.Path(sys.argv[1])
names = json.loads(there.read_text()) if there.exists() else []
print(*names if len(names) <= 3 else [], sep="\n")
EOF
)
[ -n "$failed" ] || exit 1 # more than a few, or something else than a test
echo "once more, by themselves: $failed"
run --last-failed --last-failed-no-failures none "$@" || exit 1
echo "$failed" >"$flaky"
