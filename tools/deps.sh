#!/bin/sh
# Makes sure that what Thinker builds with is there: Debian's packages, through apt-get where that is possible.
set -eu
missing=""
need() { [ -e "$1" ] || missing="$missing $2"; }
command -v g++ >/dev/null || missing="$missing g++"
need /usr/include/oneapi/dnnl/dnnl.hpp libdnnl-dev
need /usr/include/nlohmann/json.hpp nlohmann-json3-dev
need /usr/include/CLI/CLI.hpp libcli11-dev
need /usr/include/doctest/doctest.h doctest-dev
need /usr/include/pcre2.h libpcre2-dev
need /usr/include/cld2/public/compact_lang_det.h libcld2-dev
need /usr/include/httplib.h libcpp-httplib-dev
need /usr/include/openssl/evp.h libssl-dev
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then as=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as="sudo"
else
  echo "These packages are missing. As root, run:" >&2
  echo "  apt-get update && $install" >&2
  exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as apt-get update -q >/dev/null || echo "apt-get update failed; trying with the lists that are here" >&2
$as $install >/dev/null
