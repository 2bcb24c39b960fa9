#!/bin/sh
# Gathers what a machine with a GPU, the CUDA toolkit and a compiler, but no network, lacks to build Thinker: headers and
# libraries of the Debian packages, cudnn-frontend's headers, and cuDNN's where this machine's toolkit has them.
# FOLDER/include, /lib and /cuda-include hold plain files only, no links, so that any way of copying keeps them.
#   tools/gpu_bundle.sh FOLDER FRONTEND     by `make gpu-bundle`, which names cudnn-frontend's pip package and version;
#                                           make CUDA=1 BUNDLE=FOLDER … builds with it
set -eu
out=$1
frontend=$2
most=60  # MiB
packages="libdnnl-dev libdnnl2 ocl-icd-libopencl1 libpcre2-dev libpcre2-8-0 libcld2-dev libcld2-0 nlohmann-json3-dev
  libcli11-dev libcpp-httplib-dev libcpp-httplib0.11 libbrotli1 zlib1g libssl-dev libssl3 doctest-dev"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out/include" "$out/lib" "$out/cuda-include"

(cd "$work" && apt-get download -q $packages >download.log 2>&1) || { cat "$work/download.log" >&2; exit 1; }
for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; done

headers=$work/root/usr/include
[ ! -d "$headers/x86_64-linux-gnu" ] || { cp -R "$headers/x86_64-linux-gnu/." "$out/include"; rm -r "$headers/x86_64-linux-gnu"; }
cp -R "$headers/." "$out/include"

# Each library once, under the name that programs load it by; what the linker looks for is a line that names that file.
wanted='libdnnl|libOpenCL|libpcre2-8|libcld2|libcpp-httplib|libbrotli|libz|libcrypto|libssl'
find "$work/root" -name 'lib*.so*' -type f | grep -E "/($wanted)[.a-z]*\.so" | while read -r file; do
  name=$(objdump -p "$file" | sed -n 's/^ *SONAME *//p')
  cp "$file" "$out/lib/$name"
  plain=${name%%.so*}.so
  [ "$name" = "$plain" ] || echo "INPUT($name)" >"$out/lib/$plain"
done

python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$work" "$frontend"
python3 -m zipfile -e "$work"/nvidia_cudnn_frontend-*.whl "$work/frontend"
cp -R "$work/frontend/include/." "$out/cuda-include"
for header in "${CUDA_HOME:-/usr/local/cuda}"/include/cudnn*.h; do
  [ ! -e "$header" ] || cp -L "$header" "$out/cuda-include"
done

find "$out" -type l | grep . && { echo "gpu_bundle: links among the files above" >&2; exit 1; }
size=$(du -sm "$out" | cut -f 1)
echo "$out: $size MiB, $(find "$out" -type f | wc -l) files"
[ "$size" -le $most ] || { echo "gpu_bundle: more than $most MiB" >&2; exit 1; }
