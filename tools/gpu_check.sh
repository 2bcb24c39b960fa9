#!/bin/bash
# What a machine with a GPU must show, step by step: builds (with gpu-bundle/ where it is, so that no network is
# needed), then tests, the quick demo, benchmarks, PyTorch beside them, the loop on SmolLM2, and compute-sanitizer. Each
# step's log and its line in summary.txt are there as soon as it ends. Without a GPU its steps are skipped and counted.
#   tools/gpu_check.sh [FOLDER]         results go to FOLDER (default: build/gpu-check)
#   BUNDLE=gpu-bundle  CUDA=1  CUDA_ARCH=90 (default: this machine's cards)  JOBS=…
#   BUILD_LIMIT=240 (seconds; a build that takes longer is a failure, but is waited for, so that the rest is checked)
#   LOOP_LIMIT=600 (seconds, likewise, for the loop on SmolLM2 with thoughts and without)
#   MODEL=FOLDER-or-.gguf  SmolLM2, for the benchmark and the loop
#   PYTHON=python3  an interpreter that has PyTorch and transformers, for the comparison
#   STEPS='ops|bench-.*'  only the steps whose whole names this matches; summary.txt is continued. For machines that are
#                         there for a short time only: build first, then ops (without it a GPU is taken to be there),
#                         then a few steps at a time.
set -u
cd "$(dirname "$0")/.."
out=${1:-build/gpu-check}
build=build/gpu
bundle=${BUNDLE-gpu-bundle}
cuda=${CUDA:-1}
arch=${CUDA_ARCH:-}
jobs=${JOBS:-$(nproc)}
passed=0; failed=0; skipped=0; some=no
mkdir -p "$out"
[ -n "${STEPS:-}" ] || : >"$out/summary.txt"

note() { echo "$*" | tee -a "$out/summary.txt"; }
fails() { failed=$((failed + 1)); note "failed   $*"; }
wanted() { [[ $1 =~ ^(${STEPS:-.*})$ ]] && some=yes; }
# skip NAME WHY
skip() { wanted "$1" || return 0; skipped=$((skipped + 1)); note "skipped  $1: $2"; }
# within NAME SECONDS: the step that has just ended took no longer.
within() { ! wanted "$1" || [ "$took" -le "$2" ] || fails "$1-time: $took s, more than $2"; }

# step NAME SECONDS COMMAND… : passes when the command does; a log with lines "SKIP:" is skipped, not passed.
step() {
  local name=$1 limit=$2 start log status
  wanted "$name" || return 0
  shift 2
  log=$out/$name.log
  start=$(date +%s)
  # Through bash, since a command may be a function of these. It waits for a program that ends at its own safe point,
  # for 15 seconds: what still runs then would be in the way of the next step.
  timeout -k 15 "$limit" bash -c 'trap : TERM; "$@"' step "$@" >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - start))  # also for the caller
  if [ $status = 124 ] || [ $status = 137 ]; then
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
    skip "$1" "no GPU that can be used"
  fi
}

make_here() { make --no-print-directory CUDA="$cuda" ${arch:+CUDA_ARCH="$arch"} BUILD=$build BUNDLE="$bundle" "$@"; }
build_all() { make_here -j"$jobs" $build/thinker $build/test-tensor $build/test-nn $build/test-tpo; }

# compute-sanitizer does not know every device and driver: then it says so, and nothing was checked.
sanitize() {
  local tool log=$out/sanitizer-output.txt status
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  [ -n "$tool" ] || { echo "SKIP: compute-sanitizer is not installed"; return 0; }
  "$tool" --error-exitcode 9 $build/test-tensor -tc="every op*" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  if grep -qiE 'device (is )?not supported|failed to initialize|unable to (find|load) injection|insufficient permission' "$log"; then
    echo "SKIP: compute-sanitizer refuses this device"
    return 0
  fi
  return $status
}

# bench_shape NAME WORK OPTION…: a shape with random weights. Not all of them fit on all cards.
bench_shape() {
  local log=$out/bench-output.txt status
  $build/thinker bench --config "tools/bench/shapes/$1.json" --device cuda --repeat 2 --only "$2" "${@:3}" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  [ $status = 0 ] || ! grep -q 'out of memory' "$log" || { echo "SKIP: it does not fit on this card"; status=0; }
  return $status
}
# beside_pytorch NAME: the rows whose names begin so.
beside_pytorch() {
  "$python" -c 'import torch, transformers, peft' 2>&1 || { echo "SKIP: $python lacks PyTorch, transformers or PEFT"; return 0; }
  "$python" tools/bench/peers.py --device cuda --python "$python" --thinker $build/thinker --rounds 1 --only "$1" --out "$out/peers"
}
loop() {
  local arm
  rm -rf "$out/loop"
  for arm in smollm2-gpu smollm2-gpu-direct; do
    $build/thinker train tools/recipes/$arm.json --set model="$MODEL" --device cuda --out "$out/loop" || return
  done
}

[ -d "$bundle" ] || bundle=
python=${PYTHON:-python3}
export out build bundle cuda arch jobs python MODEL
export -f make_here build_all sanitize bench_shape beside_pytorch loop
cudnn=$(make_here --eval='say-cudnn: ; @echo $(CUDNN)' say-cudnn)
arch=$(make_here --eval='say-arch: ; @echo $(CUDA_ARCH)' say-arch)
note "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), architecture ${arch:-all}, bundle ${bundle:-none}, $([ "$cudnn" = 1 ] && echo with || echo without) cuDNN"
nvidia-smi >"$out/nvidia-smi.txt" 2>&1 && note "$(nvidia-smi -L)"

if step build 1500 build_all; then
  within build "${BUILD_LIMIT:-240}"
  gpu=yes device=cuda
  step ops 300 $build/test-tensor -tc="every op*,a GPU*"
  if why=$(grep -sm 1 '^SKIP:' "$out/ops.log"); then
    gpu=no device=cpu  # the goldens then still say that the build works
    # A card that the program cannot use is no reason to skip.
    nvidia-smi -L 2>/dev/null | grep -q '^GPU' && fails "gpu: there is one, but:${why#SKIP:}"
  fi
  # Elsewhere the faster of two attentions is taken, and only that is compared.
  if [ "$cudnn" = 1 ] && ! grep -sq '^attention is our own throughout' "$out/ops.log"; then
    THINKER_ATTENTION=cudnn gpu_step ops-cudnn 300 $build/test-tensor -tc="every op*"
  else
    skip ops-cudnn "$(grep -sm 1 -o 'cuDNN: .*' "$out/ops.log" || echo no cuDNN)"
  fi
  THINKER_TEST_DEVICE=$device step goldens-$device 300 $build/test-nn -tc="*goldens*"
  THINKER_TEST_DEVICE=$device step dpo-goldens-$device 300 $build/test-tpo -tc="*goldens*"
  THINKER_TEST_DEVICE=cuda gpu_step sampling 300 $build/test-nn -tc="another device*"
  THINKER_TEST_DEVICE=cuda gpu_step dpo-steps 300 $build/test-tpo -tc="another device*"
  gpu_step demo 900 $build/thinker demo --quick --fresh --device cuda --quiet --out "$out/demo"
  gpu_step demo-bf16 900 $build/thinker demo --quick --fresh --device cuda --quiet --set dtype=bf16 --out "$out/demo-bf16"
  gpu_step bench 600 $build/thinker bench ${MODEL:+"$MODEL"} --device cuda
  gpu_step bench-dpo 300 bench_shape smollm2-135m "batch 64" --micro-tokens 16384
  gpu_step bench-sampling 300 bench_shape smollm2-135m "256 rows"
  gpu_step bench-1b 300 bench_shape llama-3.2-1b "SFT step, 4 x 2048"
  gpu_step bench-3b 300 bench_shape llama-3.2-3b "SFT step, 4 x 2048"
  gpu_step bench-8b-sft 300 bench_shape llama-3-8b "SFT step, 4 x 2048" --lora-rank 16
  gpu_step bench-8b-dpo 300 bench_shape llama-3-8b "batch 2, prompts 1024" --lora-rank 16
  gpu_step bench-8b-sampling 300 bench_shape llama-3-8b "64 rows, K = 8 of 8 prompts, 256"
  gpu_step peers-smollm2 580 beside_pytorch "SmolLM2: "
  gpu_step peers-8b-sft 580 beside_pytorch "8B, adapters: SFT"
  gpu_step peers-8b-dpo 580 beside_pytorch "8B, adapters: DPO"
  if [ -n "${MODEL:-}" ]; then
    gpu_step loop 1800 loop
    [ "$gpu" = no ] || within loop "${LOOP_LIMIT:-600}"
  else
    skip loop "no MODEL"
  fi
  gpu_step sanitizer 600 sanitize
fi
[ $some = yes ] || fails "STEPS=$STEPS: there is no such step"
note "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
