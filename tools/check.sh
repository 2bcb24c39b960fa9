#!/bin/sh
# What the compiler does not check: format, the direction of includes, CUDA's headers, file sizes, a test for each op.
set -u
bad=0
complain() { echo "check: $1"; bad=1; }

forbid() {  # layer, pattern of layers that it may not include
  found=$(git grep -nE "#include \"($2)/" -- "$1")
  [ -z "$found" ] || complain "includes against the direction of the layers:
$found"
}
forbid tensor 'nn|tpo|tools|tokenizer'
forbid nn 'tpo|tools|tokenizer|tensor/cpu|tensor/cuda'
forbid tpo 'tools|tensor/cpu|tensor/cuda'
forbid tokenizer 'tensor|nn|tpo|tools'

found=$(git grep -nE '#include [<"](cuda|cublas|cudnn)' -- '*.h' '*.cpp' ':!tensor/cuda' ':!tests/gpu_emulation')
[ -z "$found" ] || complain "CUDA headers outside tensor/cuda:
$found"

for op in tensor/ops/*.cpp; do
  [ -e "tests/tensor/$(basename "$op")" ] || complain "$op has no test in tests/tensor/"
done

long=$(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs wc -l | awk '$2 != "total" && $1 > 600 {print $2 ": " $1 " lines"}')
[ -z "$long" ] || complain "files past 600 lines:
$long"

if command -v clang-format >/dev/null; then
  git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror 2>/tmp/thinker-format.$$ ||
    complain "format (make format mends it): $(grep -c error: /tmp/thinker-format.$$) places, the first:
$(head -3 /tmp/thinker-format.$$)"
  rm -f /tmp/thinker-format.$$
else
  echo "SKIP: clang-format is not installed"
fi
[ $bad = 0 ] && echo "check: all in order"
exit $bad
