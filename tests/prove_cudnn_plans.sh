#!/bin/bash
# Makes the plans of cuDNN's attention without a GPU: cuDNN's own library is told of an H200, and gets a driver that loads
# nothing. Shows that the graphs of tensor/cuda/cudnn_attention.cpp are such as cuDNN can compute, and their workspaces; not
# what they compute. Run by hand, with the CUDA toolkit, cuDNN and `make cudnn-frontend`; about a minute.
#   tests/prove_cudnn_plans.sh [FOLDER with libcudnn.so.9]   (default: the toolkit's, or that of make bench-peers)
set -euo pipefail
cd "$(dirname "$0")/.."
home=${CUDA_HOME:-/usr/local/cuda}
peers=$(echo .venv-peers/lib/python3*/site-packages/nvidia)
cudnn=${1:-}
for library in "$home"/lib*/libcudnn.so.9 /usr/lib/*/libcudnn.so.9 "$peers"/cudnn/lib/libcudnn.so.9; do
  if [ -z "$cudnn" ] && [ -f "$library" ]; then cudnn=$(dirname "$library"); fi
done
[ -f "$cudnn/libcudnn.so.9" ] || { echo "no libcudnn.so.9: name its folder"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A driver: what loads and asks of code says yes, all else that there is no device.
{
  nm -D --defined-only "$home"/lib64/stubs/libcuda.so | awk '$3 ~ /^cu[A-Z]/ { print $3 }' | while read -r name; do
    case $name in
      cuModule*Unload* | cuLibraryUnload | cu*Set* | cu*Enumerate*) echo "int $name(void) { return 0; }" ;;
      cuFuncGetAttribute | cuKernelGetAttribute) echo "int $name(int* p) { *p = 0; return 0; }" ;;
      cuModule* | cuLibrary* | cuKernel* | cuFunc*) echo "int $name(void** p) { *p = (void*)4096; return 0; }" ;;
      *) echo "int $name(void) { return 34; }" ;;
    esac
  done
} >"$work/driver.c"
cat >"$work/runtime.c" <<'C'
int cudaGetDevice(int* device) { return *device = 0; }
int cudaDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? 9 : 0;  // compute capability 9.0
  return device;
}
int cudaGetLastError(void) { return 0; }
const char* cudaGetErrorString(int e) { return e ? "an error" : "no error"; }
C
gcc -w -shared -fPIC -o "$work/libcuda.so.1" "$work/driver.c"
gcc -w -shared -fPIC -o "$work/libcudart.so.12" "$work/runtime.c"
g++ -w -O0 -std=c++20 -I. -isystem "$home/include" -isystem "${CUDNN_FRONTEND:-cudnn-frontend/include}" \
  -o "$work/plans" tests/gpu_emulation/cudnn_plans.cpp -L"$home/lib64" -lcudart -ldl
nvrtc=$(ls -d "$home"/lib* "$peers"/cu*/lib 2>/dev/null | paste -sd:)
LD_LIBRARY_PATH=$work:$cudnn:$nvrtc "$work/plans" "$cudnn/libcudnn.so.9" \
  3 768 3 1 64  8 1024 9 3 64  1 2048 32 8 128  4 2048 32 8 128  1 4096 24 8 128  6 512 16 16 96 2>&1 | grep -v 'Multiple libcudart'
