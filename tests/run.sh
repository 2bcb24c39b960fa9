#!/bin/sh
# Runs test programs and adds up their counts. The last line is "N passed, N failed". A program that ends without its
# summary (a crash) counts as one failure; a line that begins with "SKIP:" is a check that could not run here.
set -u
passed=0; failed=0; skipped=0
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-2000}  # threads that wait do not starve those that work
export ASAN_OPTIONS="allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
log=$(mktemp); failures=$(mktemp)
trap 'rm -f "$log" "$failures"' EXIT
for program in "$@"; do
  start=$(date +%s)
  "$program" >"$log" 2>&1
  status=$?
  summary=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep '^\[doctest\] test cases:' | tail -n 1)
  skips=$(grep -c '^SKIP:' "$log")
  p=$(echo "$summary" | sed -n 's/.*| *\([0-9]*\) passed.*/\1/p')
  f=$(echo "$summary" | sed -n 's/.*| *\([0-9]*\) failed.*/\1/p')
  [ -n "$summary" ] || { p=0; f=1; }
  [ "$status" = 0 ] || [ "$f" != 0 ] || f=1
  [ "$f" = 0 ] || { cat "$log"; grep -A 1 'ERROR:' "$log" >>"$failures" || echo "$program: status $status" >>"$failures"; }
  grep '^SKIP:' "$log" | sort | uniq -c
  echo "$program: $p passed, $f failed, $skips skipped, $(($(date +%s) - start)) s"
  passed=$((passed + p - (skips < p ? skips : p))); failed=$((failed + f)); skipped=$((skipped + skips))
done
[ "$skipped" = 0 ] || echo "$skipped skipped"
cat "$failures"  # once more, where one looks
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
