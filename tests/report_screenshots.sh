#!/bin/sh
# Renders a report page in a headless browser at two widths, light and dark, and checks what no unit test sees: that it is
# not blank, and that nothing makes the page scroll sideways. The pictures stay, to be looked at.
#
#     tests/report_screenshots.sh PAGE.html [FOLDER]      pictures in FOLDER (default: screenshots/ beside the page)
#
# Exit status 1 when a check fails. Without a browser or python3 everything is skipped, and counted.
set -eu
[ $# -ge 1 ] || { echo "usage: tests/report_screenshots.sh PAGE.html [FOLDER]" >&2; exit 2; }
page=$(realpath "$1")
out=${2:-$(dirname "$page")/screenshots}
mkdir -p "$out"
out=$(realpath "$out")
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ] || ! command -v python3 >/dev/null; then
  echo "0 passed, 0 failed, 4 skipped: no chromium here"
  exit 0
fi
passed=0
failed=0
for width in 390 1280; do
  for scheme in light dark; do
    # A headless window is at least 500 pixels wide: a frame in it is not. The page itself runs no script; the one
    # around it measures.
    frame=$out/frame.html
    cat > "$frame" <<END
<!doctype html><body style="margin:0"><iframe id="f" src="file://$page" width="$width" height="3000" style="border:0"></iframe>
<script>document.getElementById("f").onload = e => {
  const d = e.target.contentDocument.documentElement;
  document.body.dataset.size = d.scrollWidth + " " + d.scrollHeight; };</script>
END
    shot=$out/report-$width-$scheme.png
    blink=0
    [ "$scheme" = dark ] && blink=1
    run() {
      timeout 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files \
        --user-data-dir="$out/profile" --blink-settings=preferredColorScheme=$((1 - blink)) --virtual-time-budget=10000 \
        "$@" 2>/dev/null
    }
    size=$(run --dump-dom "file://$frame" | sed -n 's/.*data-size="\([0-9 ]*\)".*/\1/p')
    measured=${size% *}
    height=${size#* }
    if [ -n "$measured" ]; then
      [ "$height" -gt 12000 ] && height=12000
      sed -i "s/height=\"3000\"/height=\"$height\"/" "$frame"
      run --window-size="$((width > 500 ? width : 500)),$height" --screenshot="$shot" "file://$frame" >/dev/null || true
    fi
    # Blank: a picture of one colour is small. Several distinct rows of pixels are asked for.
    if [ -n "$measured" ] && [ "$measured" -le "$width" ] && python3 - "$shot" "$scheme" <<'END'
import struct, sys, zlib
data, scheme = open(sys.argv[1], "rb").read(), sys.argv[2]
width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
body, at = b"", 8
while at < len(data):
    size, name = struct.unpack(">I4s", data[at:at + 8])
    if name == b"IDAT":
        body += data[at + 8:at + 8 + size]
    at += 12 + size
stride = width * {2: 3, 6: 4}[kind] + 1
raw = zlib.decompress(body)
rows = {raw[i:i + stride] for i in range(0, len(raw), stride)}
bright = raw[1] > 128  # the first pixel, whatever the filter: paper
sys.exit(0 if len(rows) > 200 and bright == (scheme == "light") else 1)
END
    then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      echo "$shot: blank, of the wrong colours, or wider than $width pixels (size: ${size:-unknown})"
    fi
  done
done
rm -rf "$out/frame.html" "$out/profile"
echo "$passed passed, $failed failed, 0 skipped; pictures in $out"
[ "$failed" -eq 0 ]
