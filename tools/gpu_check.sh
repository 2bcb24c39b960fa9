#!/bin/bash
# What a machine with a GPU must show, step by step: builds (with gpu-bundle/ where it is, so that no network is
# needed), then tests, compute-sanitizer, the benchmark and the quick demo. Each step's log and its line in summary.txt
# are there as soon as it ends. Without a GPU its steps are skipped and counted.
#   tools/gpu_check.sh [FOLDER]         results go to FOLDER (default: build/gpu-check)
#   BUNDLE=gpu-bundle  CUDA=1  CUDA_ARCH=90 (default: this machine's cards)  JOBS=…
#   BUILD_LIMIT=240 (seconds; a build that takes longer is a failure, but is waited for, so that the rest is checked)
#   MODEL=FOLDER-or-.gguf  for the benchmark
set -u
cd "$(dirname "$0")/.."
out=${1:-build/gpu-check}
build=build/gpu
bundle=${BUNDLE-gpu-bundle}
cuda=${CUDA:-1}
arch=${CUDA_ARCH:-}
jobs=${JOBS:-$(nproc)}
passed=0; failed=0; skipped=0
mkdir -p "$out"
: >"$out/summary.txt"

note() { echo "$*" | tee -a "$out/summary.txt"; }
fails() { failed=$((failed + 1)); note "failed   $*"; }

# step NAME SECONDS COMMAND… : passes when the command does; a log with lines "SKIP:" is skipped, not passed.
step() {
  local name=$1 limit=$2 start log status
  shift 2
  log=$out/$name.log
  start=$(date +%s)
  timeout "$limit" bash -c '"$@"' step "$@" >"$log" 2>&1  # through bash, since a command may be a function of these
  status=$?
  took=$(($(date +%s) - start))  # also for the caller
  if [ $status = 124 ]; then
    fails "$name: stopped after $limit s; see $log"
  elif [ $status != 0 ]; then
    fails "$name: status $status, $took s; see $log"
  elif grep -q '^SKIP:' "$log"; then
    skipped=$((skipped + 1)); note "skipped  $name: $(grep -m 1 '^SKIP:' "$log" | cut -c 7-)"
  else
    passed=$((passed + 1)); note "passed   $name: $took s"
  fi
  return $status
}

# The same, where it can only be done on a GPU.
gpu_step() {
  if [ "$gpu" = yes ]; then
    step "$@"
  else
    skipped=$((skipped + 1)); note "skipped  $1: no GPU that can be used"
  fi
}

make_here() { make --no-print-directory CUDA="$cuda" ${arch:+CUDA_ARCH="$arch"} BUILD=$build BUNDLE="$bundle" "$@"; }
build_all() { make_here -j"$jobs" $build/thinker $build/test-tensor $build/test-nn $build/test-tpo; }

# compute-sanitizer does not know every device and driver: then it says so, and nothing was checked.
sanitize() {
  local tool log=$out/sanitizer-output.txt status
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  [ -n "$tool" ] || { echo "SKIP: compute-sanitizer is not installed"; return 0; }
  "$tool" --error-exitcode 9 $build/test-tensor -tc="every op*" >"$log" 2>&1
  status=$?
  cat "$log"
  if grep -qiE 'device (is )?not supported|failed to initialize|unable to (find|load) injection|insufficient permission' "$log"; then
    echo "SKIP: compute-sanitizer refuses this device"
    return 0
  fi
  return $status
}

[ -d "$bundle" ] || bundle=
export out build bundle cuda arch jobs
export -f make_here build_all sanitize
cudnn=$(make_here --eval='say-cudnn: ; @echo $(CUDNN)' say-cudnn)
arch=$(make_here --eval='say-arch: ; @echo $(CUDA_ARCH)' say-arch)
note "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), architecture ${arch:-all}, bundle ${bundle:-none}, $([ "$cudnn" = 1 ] && echo with || echo without) cuDNN"
nvidia-smi >"$out/nvidia-smi.txt" 2>&1 && note "$(nvidia-smi -L)"

if step build 1500 build_all; then
  limit=${BUILD_LIMIT:-240}
  [ "$took" -le "$limit" ] || fails "build-time: $took s, more than $limit"
  gpu=yes device=cuda
  step ops 300 $build/test-tensor -tc="every op*,a GPU*"
  if why=$(grep -m 1 '^SKIP:' "$out/ops.log"); then
    gpu=no device=cpu  # the goldens then still say that the build works
    # A card that the program cannot use is no reason to skip.
    nvidia-smi -L 2>/dev/null | grep -q '^GPU' && fails "gpu: there is one, but:${why#SKIP:}"
  fi
  # Elsewhere the faster of two attentions is taken, and only that is compared.
  if [ "$cudnn" = 1 ] && ! grep -q '^attention is our own throughout' "$out/ops.log"; then
    THINKER_ATTENTION=cudnn gpu_step ops-cudnn 300 $build/test-tensor -tc="every op*"
  else
    skipped=$((skipped + 1)); note "skipped  ops-cudnn: $(grep -m 1 -o 'cuDNN: .*' "$out/ops.log" || echo no cuDNN)"
  fi
  THINKER_TEST_DEVICE=$device step goldens-$device 300 $build/test-nn -tc="*goldens*"
  THINKER_TEST_DEVICE=$device step dpo-goldens-$device 300 $build/test-tpo -tc="*goldens*"
  THINKER_TEST_DEVICE=cuda gpu_step sampling 300 $build/test-nn -tc="another device*"
  THINKER_TEST_DEVICE=cuda gpu_step dpo-steps 300 $build/test-tpo -tc="another device*"
  gpu_step sanitizer 600 sanitize
  gpu_step bench 600 $build/thinker bench ${MODEL:+"$MODEL"} --device cuda
  gpu_step demo 900 $build/thinker demo --quick --fresh --device cuda --quiet --out "$out/demo"
  gpu_step demo-bf16 900 $build/thinker demo --quick --fresh --device cuda --quiet --set dtype=bf16 --out "$out/demo-bf16"
fi
note "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
