#!/usr/bin/env bash
# Copies the front-end files we ship out of their npm packages, with licences and SHA-384.
# Run by hand once per upgrade, then commit the result; neither `make up` nor `make test` needs npm.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
static=$here/rollouts/static/rollouts
vendor=$static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
npm install --no-audit --no-fund --ignore-scripts --no-save \
  htmx.org@4.0.1 uplot@1.6.32 lucide-static@1.62.0 @fontsource-variable/inter@5.3.0 axe-core@4.14.1
packages=$work/node_modules
mkdir -p "$vendor/licenses" "$here/tests/e2e/vendor"

cp "$packages/htmx.org/dist/htmx.min.js" "$vendor/htmx-4.0.1.min.js"
cp "$packages/uplot/dist/uPlot.iife.min.js" "$vendor/uplot-1.6.32.min.js"
cp "$packages/uplot/dist/uPlot.min.css" "$vendor/uplot-1.6.32.min.css"
cp "$packages/axe-core/axe.min.js" "$here/tests/e2e/vendor/axe-4.14.1.min.js"
cp "$packages/axe-core/LICENSE" "$here/tests/e2e/vendor/axe-core.LICENSE"
for package in htmx.org uplot lucide-static; do
  cp "$packages/$package/LICENSE" "$vendor/licenses/$package.LICENSE"
done
cp "$packages/@fontsource-variable/inter/LICENSE" "$vendor/licenses/inter.LICENSE"

# collectstatic follows these comments and fails because the maps are not shipped.
sed -i '/^\/\/# sourceMappingURL=/d' "$vendor"/*.js

python3 "$here/tools/sprite.py" "$packages/lucide-static/icons" "$static/icons.svg"

# Weights 400-700, Latin, the signs and arrows of our sentences: 26 KB instead of 48 KB.
if command -v pyftsubset >/dev/null; then
  pyftsubset "$packages/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2" \
    --unicodes='U+0020-007E,U+00A0-00FF,U+0131,U+0152-0153,U+2013-2014,U+2018-201A,U+201C-201E,U+2022,U+2026,U+2032-2033,U+2039-203A,U+20AC,U+2122,U+2190-2193,U+2212,U+2248,U+2260,U+2264-2265' \
    --layout-features='kern,liga,calt,tnum,ccmp,locl,mark,mkmk' --flavor=woff2 \
    --output-file="$static/inter-var.woff2"
else
  echo 'pyftsubset (fonttools, brotli) is not installed: keeping the present inter-var.woff2'
fi

cd "$static"
for file in vendor/*.js vendor/*.css icons.svg inter-var.woff2; do
  echo "$file sha384-$(openssl dgst -sha384 -binary "$file" | base64 -w0)"
done | tee vendor/SRI.txt
