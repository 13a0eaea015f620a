#!/usr/bin/env bash
# The one way to build, serve and test grnet. `./build.sh help` lists what it does. It installs what can be had without
# asking (wasm target, wasm-bindgen, npm packages; Debian packages when run as root on Debian) and says what else is
# missing. Products go to dist/, everything in between to the cargo target folder ($CARGO_TARGET_DIR or target/).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

mkdir -p "${CARGO_TARGET_DIR:-target}"
TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR=$TARGET
# Flags from the environment would displace those of .cargo/config.toml, without which the wasm is several times slower.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
WEIGHTS=${GRNET_WEIGHTS:-weights} # a folder with grnet.safetensors and grnet.json
WASM=wasm32-unknown-unknown
ARM=aarch64-unknown-linux-gnu
TOOLS=${GRNET_TOOLS:-$TARGET/tools}
SITE=dist/site
EXTENSION=dist/extension # -chromium and -firefox
NATIVE=(--locked --profile ci --features wgpu,train) # one native build for all tests and measurements
BROWSER_BUILD=(--no-default-features --features wgpu) # one wasm for both devices

say() { printf '%s\n' "$*" >&2; }
die() { say "build.sh: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
sha256() { if have sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

help() {
  cat <<'TEXT'
usage: ./build.sh COMMAND

  serve [--port N]   build the site and serve it on this machine (default port 8000; 0 takes a free one)
  site               build the static site into dist/site
  extension          build the browser extension into dist/extension-chromium and dist/extension-firefox, and their zips
  detect PATH...     check photos with the native program; the options are those of `grnet detect`
  test               every check there is: format, lints, unit, parity and GPU tests, the page in a browser
  model-report CSV   measure the shipped model on the test rows of a table: the figures of MODEL_CARD.md, into dist/model-report
  bench [kernels]    grnet beside other engines in one run, as ratios, into docs/performance.md (downloads them into
                     .bench/, 7 GB); `kernels`: the engine's own parts, one by one
  robustness TABLE   how verdicts move under changes of the photo and an attack, into docs/robustness.md
  sbom               what is in the program, as CycloneDX files, into dist/sbom
  reproducible       build dist/ twice, in two places, and compare every byte
  fuzz MINUTES [TARGET...]
                     feed hostile files to what reads files, MINUTES for each target of fuzz/ (needs a nightly Rust)
  coverage           which lines of src/ and www/ the tests run, as tables and in dist/coverage (not the tests in a browser)
  mutants FILE TESTS...
                     change a file of src/ a bit at a time and name the changes that TESTS (options of `cargo test`, such
                     as --lib or --test photo) do not notice
  miri               look for undefined behaviour in the kernels: miri, else the address sanitizer (needs a nightly Rust)
  arm                test the kernels for ARM processors on an emulated one (needs Debian's packages)
  train-env          prepare .torch/, the LibTorch that the fastest CPU training links against
  clean              remove dist/ and what the tests left (the cargo target folder stays)
  help               this text

  CARGO_TARGET_DIR   where compiled code is kept (default: target/)
  GRNET_TOOLS        where the tools that this script installs are kept (default: tools/ in the former)
  GRNET_WEIGHTS      folder with the model to ship (default: weights/)
TEXT
}

# ---- Tools ---------------------------------------------------------------------------------------------------------

need_rust() {
  have cargo || die "Rust is missing: install it from https://rustup.rs"
}

# need_target TARGET: Rust's own libraries for it.
need_target() {
  need_rust
  local libdir
  libdir=$(rustc --print target-libdir --target $1)
  [[ -d $libdir ]] && return
  have rustup || die "the Rust target $1 is missing, and so is rustup to install it"
  say "installing the Rust target $1"
  rustup target add $1
}

# cargo_tool CRATE VERSION: compiles a tool, once, into $TOOLS/CRATE-VERSION/bin; a `-cli` at the crate's end is left out.
cargo_tool() {
  local root=$TOOLS/${1%-cli}-$2
  [[ -d $root/bin ]] && return
  say "installing $1 $2 (a few minutes, once)"
  local install=(cargo install "$1" --version "$2" --quiet --root "$root")
  # Its lock file may name dependencies that were withdrawn since; then their nearest versions do as well.
  CARGO_TARGET_DIR=$TOOLS/build "${install[@]}" --locked || CARGO_TARGET_DIR=$TOOLS/build "${install[@]}"
  rm -rf "$TOOLS/build"
}

# The command line tool must be of exactly the version that the crate links.
need_wasm_bindgen() {
  local version
  version=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/"/, "", $3); print $3 }' Cargo.lock)
  WASM_BINDGEN=$TOOLS/wasm-bindgen-$version/bin/wasm-bindgen
  [[ -x $WASM_BINDGEN ]] && return
  if [[ $(wasm-bindgen --version 2>/dev/null || true) == "wasm-bindgen $version" ]]; then
    WASM_BINDGEN=$(command -v wasm-bindgen)
    return
  fi
  cargo_tool wasm-bindgen-cli "$version"
}

# Installs Debian packages where that is possible without asking; returns false where it is not.
debian_install() {
  [[ $(id -u) == 0 ]] && have apt-get || return 1
  say "installing Debian packages: $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if have "$name"; then command -v "$name"; return; fi
  done
  return 1
}

find_firefox() { command -v firefox-esr || command -v firefox; }

# The oldest Firefox that the extension installs into, and the one at hand: their first numbers.
needed_firefox() { sed -nE 's/.*"strict_min_version": "([0-9]+).*/\1/p' www/extension/firefox/manifest.json; }
found_firefox() { "$1" --version 2>/dev/null | sed -nE 's/.*Firefox ([0-9]+).*/\1/p'; }

# A Vulkan driver in software: what the GPU tests run on where there is no GPU.
find_lavapipe() { compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null; }

# node and the packages of package-lock.json, unchanged since the last time.
need_node() {
  if ! have node || ! have npm; then debian_install nodejs npm || return 1; fi
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  ((major >= 20)) || { say "node 20 or newer is needed, found $(node --version)"; return 1; }
  if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json node_modules/.installed-lock
  fi
}

# ---- Site ----------------------------------------------------------------------------------------------------------

# Compiles the library for the browser, CPU and GPU in one, into $TARGET/site/pkg.
wasm_build() {
  local built=$TARGET/$WASM/wasm/grnet.wasm out=$TARGET/site/pkg
  say "building the wasm"
  # Messages of panics name source files: the builder's folders are left out, so that all builders get the same bytes.
  local remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates"
  # As a cdylib alone: cargo does no link-time optimisation for a library that is an rlib too.
  cargo rustc --locked --lib --crate-type cdylib --profile wasm --target $WASM "${BROWSER_BUILD[@]}" \
    --config "target.$WASM.rustflags = ['$remap']"
  mkdir -p "$TARGET/site"
  cmp -s "$built" "$TARGET/site/grnet.wasm" && [[ -f $out/grnet_bg.wasm ]] && return
  rm -rf "$out"
  "$WASM_BINDGEN" --target web --no-typescript --out-dir "$out" --out-name grnet "$built"
  cp "$built" "$TARGET/site/grnet.wasm"
}

# The model and its manifest must agree before they are put before anybody.
check_weights() {
  local file=$WEIGHTS/grnet.safetensors manifest=$WEIGHTS/grnet.json
  [[ -f $file && -f $manifest ]] || die "expected $file and $manifest"
  local found
  found=$(sha256 "$file")
  grep -q "\"$found\"" "$manifest" || die "$file has sha-256 $found, which $manifest does not name"
  grep -Eq "\"bytes\": *$(($(wc -c <"$file")))\b" "$manifest" || die "$file is not of the size that $manifest states"
}

site() {
  need_target $WASM
  need_wasm_bindgen
  check_weights
  wasm_build
  rm -rf "$SITE"
  mkdir -p "$SITE/model"
  cp -R www/index.html www/style.css www/main.js www/sw.js www/manifest.webmanifest www/icon.svg "$SITE/"
  cp -R www/shared www/page www/gallery "$SITE/"
  cp tests/pictures/astronaut.jpg "$SITE/gallery/portrait.jpg"
  cp -R "$TARGET/site/pkg" "$SITE/"
  cp "$WEIGHTS/grnet.safetensors" "$WEIGHTS/grnet.json" "$SITE/model/"
  site_files >"$SITE/files.js"
  local file
  for file in pkg/grnet_bg.wasm model/grnet.safetensors; do
    printf '%-26s %9d bytes, %9d gzipped\n' $file "$(wc -c <"$SITE/$file")" "$(gzip -9c "$SITE/$file" | wc -c)"
  done
}

# What the service worker keeps from the start, and a version that changes with any file of the site.
site_files() {
  local file version
  version=$(cd "$SITE" && find . -type f ! -name files.js | LC_ALL=C sort | while read -r file; do sha256 "$file"; done | sha256 /dev/stdin)
  printf "// Written by build.sh.\nself.SITE = {\n  version: '%s',\n  files: [\n    './',\n" "${version:0:16}"
  (cd "$SITE" && find . -type f \( -path './shared/*' -o -path './page/*' -o -path './gallery/*.jpg' -o -name main.js \
    -o -name style.css -o -name icon.svg -o -name manifest.webmanifest \) | LC_ALL=C sort) | sed "s/.*/    '&',/"
  printf '  ],\n};\n'
}

# ---- Extension -----------------------------------------------------------------------------------------------------

# One classic script of the modules named, in that order: content scripts are no modules. Their imports and `export`s
# are left out, which holds as long as no two of them use a name twice (node --check in the tests would tell).
join_modules() {
  printf '%s\n' '(() => {' \
    '// A second injection does nothing while the first one lives; after an update of the extension it takes over.' \
    'if (globalThis.grnet?.()) return;' 'const { runtime } = chrome;' 'globalThis.grnet = () => Boolean(runtime?.id);'
  sed -E -e '/^import .*;$/d' -e '/^import \{$/,/;$/d' -e 's/^export //' "$@"
  printf '%s\n' '})();'
}

# The panel shows the page's own card, so that it gets the templates of the page.
panel_page() {
  awk '/<!-- build.sh puts the templates/ {
      while ((getline line < "www/index.html") > 0) {
        if (line ~ /<template /) inside = 1
        if (inside) print line
        if (line ~ /<\/template>/) inside = 0
      }
      next
    } 1' www/extension/panel.html
}

# The oldest browsers that the manifests name: Chrome 116 has runtime.getContexts (offscreen documents 109, WebGPU in
# them 113); Firefox 142 has data_collection_permissions (optional_host_permissions 128).
#
# extension_for BROWSER: puts the extension together from the built site and www/extension.
extension_for() {
  local out=$EXTENSION-$1 from=www/extension
  rm -rf "$out"
  mkdir -p "$out/extension/lib" "$out/page"
  cp -R "$SITE/shared" "$SITE/pkg" "$SITE/model" "$SITE/icon.svg" "$SITE/style.css" "$out/"
  cp www/page/{card,dom}.js "$out/page/"
  cp LICENSE-MIT LICENSE-APACHE "$out/"
  cp "$from"/{background,engine,options,panel,popup}.js "$from"/{options,popup}.html "$from/extension.css" "$out/extension/"
  panel_page >"$out/extension/panel.html"
  cp "$from"/lib/*.js "$out/extension/lib/"
  cp -R "$from/background" "$out/extension/"
  cp -R "$from/icons" "$out/extension/"
  join_modules "$from"/lib/names.js "$from"/content/{dom,candidates,addresses,sources,holdings,pictures,badges,follower,main}.js >"$out/extension/content.js"
  if [[ $1 == chromium ]]; then
    cp "$from"/{chromium,offscreen}.js "$from/offscreen.html" "$out/extension/"
    cp "$from/manifest.json" "$out/"
  else
    cp "$from/firefox.js" "$out/extension/"
    cp "$from/firefox/manifest.json" "$out/"
  fi
  # The same files give the same archive: names in order, one date and the same rights for all.
  chmod -R u=rwX,go=rX "$out"
  find "$out" -exec touch -d '2020-01-01T00:00:00Z' {} +
  rm -f "$out.zip"
  have zip || { say "zip is missing: $out is built, but not packed"; return; }
  (cd "$out" && find . -type f | LC_ALL=C sort | TZ=UTC zip -q -9 -X -@ "../${out##*/}.zip")
  printf '%-26s %9d bytes\n' "${out##*/}.zip" "$(wc -c <"$out.zip")"
}

extension() {
  have zip || debian_install zip || true
  site
  extension_for chromium
  extension_for firefox
}

# ---- Supply chain ----------------------------------------------------------------------------------------------------

# What is in the site and the extension, and what in the native program.
sbom() {
  need_rust
  need_node || die "node and npm are needed"
  local out=dist/sbom metadata=$TARGET/metadata.json
  mkdir -p "$out"
  cargo metadata --locked --format-version 1 --filter-platform $WASM "${BROWSER_BUILD[@]}" >"$metadata"
  node tools/sbom.mjs grnet-site "$out/site.cdx.json" "$metadata"
  cargo metadata --locked --format-version 1 --features wgpu >"$metadata"
  node tools/sbom.mjs grnet "$out/native.cdx.json" "$metadata"
}

# Two copies of the tree, in places of other names and depths, each built with an empty target folder.
reproducible() {
  need_target $WASM
  need_wasm_bindgen
  local place work=$TARGET/reproducible
  rm -rf "$work"
  for place in one two/deeper; do
    mkdir -p "$work/$place"
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cf - | tar -xf - -C "$work/$place"
    (cd "$work/$place" && CARGO_TARGET_DIR=$work/$place/target GRNET_TOOLS=$TOOLS ./build.sh extension)
  done
  diff -r "$work/one/dist" "$work/two/deeper/dist" || die "two builds of one tree differ: $work"
  say "both builds gave the same $(find "$work/one/dist" -type f | wc -l) files"
  rm -rf "$work"
}

# Every target of fuzz/ in turn, from corpora of valid files; what it finds stays in fuzz/artifacts.
fuzz() {
  [[ ${1:-} =~ ^[0-9]+$ ]] || die "expected how many minutes: ./build.sh fuzz MINUTES [TARGET...]"
  local minutes=$1 targets=("${@:2}")
  ((${#targets[@]})) || targets=($(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//'))
  need_nightly
  cargo_tool cargo-fuzz 0.13.2
  local target features failed=() cargo_fuzz=$TOOLS/cargo-fuzz-0.13.2/bin/cargo-fuzz
  local -x CARGO_TARGET_DIR=$TARGET/fuzz
  (cd fuzz && rustup run nightly cargo run --locked --release --quiet --bin seeds -- "$TARGET/fuzz/seeds")
  for target in "${targets[@]}"; do
    say "" "== fuzzing $target"
    features=() # what training reads needs its framework, minutes of building that the others do without
    if [[ $target == table || $target == torch ]]; then features=(--features train); fi
    mkdir -p "fuzz/corpus/$target"
    rustup run nightly "$cargo_fuzz" run --fuzz-dir fuzz "${features[@]}" "$target" "fuzz/corpus/$target" "$TARGET/fuzz/seeds/$target" -- \
      -max_total_time=$((60 * minutes)) -timeout=10 -malloc_limit_mb=256 -rss_limit_mb=2048 -print_final_stats=1 ||
      failed+=("$target")
  done
  ((${#failed[@]} == 0)) || die "findings in ${failed[*]}: see fuzz/artifacts"
}

need_nightly() {
  need_rust
  have rustup && rustup run nightly rustc --version >/dev/null 2>&1 || die "a nightly Rust is needed: rustup toolchain install nightly"
}

coverage() {
  need_rust
  have rustup || die "rustup is missing: https://rustup.rs"
  rustup component add llvm-tools
  cargo_tool cargo-llvm-cov 0.9.1
  local native=("$TOOLS/cargo-llvm-cov-0.9.1/bin/cargo-llvm-cov" llvm-cov) out=dist/coverage
  mkdir -p $out
  "${native[@]}" --locked --profile ci --features wgpu,train --no-fail-fast --html --output-dir $out
  "${native[@]}" report --profile ci --ignore-filename-regex '/(tests|tools)/'
  need_node || die "node is missing"
  npx --yes c8@10.1.3 --include 'www/**' --all --reporter text --reporter html --reports-dir $out/js node --test tests/js/*.test.mjs
}

# One changed copy of the crate after the other is built and tested, seconds each: nearly unoptimised, and these tests alone.
mutants() {
  [[ -f ${1:-} && $# -ge 2 ]] || die "expected a file and tests: ./build.sh mutants src/picture/quality.rs --test photo --test stability"
  need_rust
  cargo_tool cargo-mutants 27.1.0
  local file=$1
  shift
  local tests=("${@/#/--cargo-arg=}") # of the build too, which would otherwise make every test
  CARGO_TARGET_DIR='' CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 "$TOOLS/cargo-mutants-27.1.0/bin/cargo-mutants" mutants \
    --file "$file" --no-default-features --output "$TARGET/mutants" "${tests[@]}"
}

# The NEON kernels, each against the specification, on a processor that QEMU plays.
arm() {
  have qemu-aarch64 && have aarch64-linux-gnu-gcc ||
    debian_install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross ||
    die "needed: qemu-user, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross"
  need_target $ARM
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    CARGO_TARGET_DIR=$TARGET/arm cargo test --locked --profile ci --target $ARM --lib --no-default-features infer::cpu
}

# Kernels are the only unsafe code. miri sees the scalar ones alone (instructions of processors are foreign to it), but all
# of their behaviour; the address sanitizer sees every access of all kernels that this processor has.
miri() {
  need_nightly
  local -x CARGO_TARGET_DIR=$TARGET/miri
  if rustup run nightly cargo miri --version >/dev/null 2>&1; then
    rustup run nightly cargo miri test --locked --no-default-features --lib -- \
      equal_the_specification equals_the_specification
  else
    say "no miri (rustup component add miri rust-src --toolchain nightly): the address sanitizer instead"
    RUSTFLAGS=-Zsanitizer=address rustup run nightly cargo test --locked --profile ci --no-default-features --lib \
      --target "$(rustc -vV | sed -n 's/^host: //p')" -- infer::cpu picture::face
  fi
}

need_server() {
  need_rust
  SERVER=$TOOLS/serve
  if [[ ! -x $SERVER || tools/serve.rs -nt $SERVER ]]; then
    mkdir -p "$TOOLS"
    rustc --edition 2024 -O -D warnings tools/serve.rs -o "$SERVER"
  fi
}

serve() {
  local port=8000
  if [[ ${1:-} == --port ]]; then port=${2:?--port needs a number}; fi
  site
  need_server
  say "serving $SITE; stop with Ctrl-C"
  exec "$SERVER" "$SITE" "$port"
}

# ---- Tests ---------------------------------------------------------------------------------------------------------

PASSED=0 FAILED=0 SKIPPED=0 TROUBLES=()

# check NAME COMMAND...: one check that passes or fails as a whole.
check() {
  local name=$1
  shift
  say "" "== $name"
  if "$@"; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); TROUBLES+=("$name"); fi
}

# suite NAME COMMAND...: a test runner, whose own counts are added; cargo's and node's closing lines are understood.
suite() {
  local name=$1 log status=0 passed failed skipped
  shift
  say "" "== $name"
  mkdir -p "$TARGET/test-logs"
  log=$TARGET/test-logs/${name//[^a-zA-Z0-9]/-}.log
  "$@" 2>&1 | tee "$log" || status=$?
  read -r passed failed skipped < <(awk '
    /^test result:/ { p += $4; f += $6; s += $8 }
    /^(ℹ|#) pass [0-9]+$/ { p += $3 }
    /^(ℹ|#) fail [0-9]+$/ { f += $3 }
    /^(ℹ|#) skipped [0-9]+$/ { s += $3 }
    END { print p + 0, f + 0, s + 0 }' "$log")
  # A runner that stops before its closing line (a compile error, a crash), or that ran nothing, has failed.
  if ((status != 0 && failed == 0)) || ((passed + failed + skipped == 0)); then failed=$((failed + 1)); fi
  ((failed == 0)) || TROUBLES+=("$name ($log)")
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
  LAST_RUN=$((passed + failed))
}

skip() {
  say "" "== $1: skipped, $2"
  SKIPPED=$((SKIPPED + 1))
}

# Python with ONNX Runtime, which the tests of the ONNX export compare with.
need_onnxruntime() {
  GRNET_PYTHON=${GRNET_PYTHON:-python3}
  "$GRNET_PYTHON" -c 'import numpy, onnxruntime' 2>/dev/null && return
  have python3 || return 1
  GRNET_PYTHON=$TOOLS/onnxruntime/bin/python
  [[ -x $GRNET_PYTHON ]] || python3 -m venv "$TOOLS/onnxruntime" || return 1
  "$GRNET_PYTHON" -c 'import numpy, onnxruntime' 2>/dev/null && return
  say "installing onnxruntime into $TOOLS/onnxruntime"
  "$GRNET_PYTHON" -m pip install --quiet numpy onnxruntime
}

onnx_tests() {
  if ! need_onnxruntime; then
    skip "ONNX export in ONNX Runtime" "no python3 with onnxruntime"
    return
  fi
  export GRNET_PYTHON
  suite "ONNX export in ONNX Runtime" cargo test "${NATIVE[@]}" --test onnx -- --ignored
  SKIPPED=$((SKIPPED - LAST_RUN)) # the first run had counted them as ignored
}

# Tests marked `#[ignore]` need a GPU adapter (their names begin with gpu_), ONNX Runtime (onnxruntime_) or the data folder
# $GRNET_SHARED.
ignored_tests() {
  local filter=(--skip onnxruntime_)
  if find_lavapipe || [[ -n ${GRNET_GPU:-} ]]; then
    [[ -d ${GRNET_SHARED:-../shared} ]] || filter+=(gpu_)
  elif [[ -d ${GRNET_SHARED:-../shared} ]]; then
    filter+=(--skip gpu_)
  else
    return 0
  fi
  suite "tests that need a GPU or the data" cargo test "${NATIVE[@]}" --no-fail-fast -- --ignored "${filter[@]}"
  SKIPPED=$((SKIPPED - LAST_RUN)) # the first run had counted them as ignored
}

# burn's GPU backend with our guided filter, on lavapipe or a GPU: its code is made for minutes, hence only when asked for.
train_gpu_tests() {
  if [[ -z ${GRNET_TRAIN_GPU:-} ]]; then
    skip "training's GPU kernels" "compiling them takes long; GRNET_TRAIN_GPU=1 runs them"
    return
  fi
  suite "training's GPU kernels" cargo test --locked --profile ci --features wgpu,train-gpu --test mte_parity --test networks \
    -- --include-ignored gpu_ shader
}

# What burn's LibTorch backend links against must be there even to check it: `./build.sh train-env` puts it into .torch/.
libtorch_check() {
  if [[ ! -x .torch/bin/python ]]; then
    skip "training on LibTorch compiles" "no .torch/ (./build.sh train-env)"
    return
  fi
  check "training on LibTorch compiles" env "PATH=$PWD/.torch/bin:$PATH" LIBTORCH_USE_PYTORCH=1 \
    LIBTORCH_BYPASS_VERSION_CHECK=1 cargo check --locked --profile ci --features libtorch --all-targets
}

# Licences, sources and bans are told from the lock file and the crates (of all platforms: a new machine fetches them);
# advisories need a database that is fetched.
supply_chain_checks() {
  local deny=$TOOLS/cargo-deny-0.20.2/bin/cargo-deny answer
  cargo_tool cargo-deny 0.20.2 || true # its absence fails the next check
  check "licences, sources and bans of the crates" "$deny" --locked check bans licenses sources
  if answer=$("$deny" --locked fetch db 2>&1); then
    check "advisories on the crates" "$deny" --locked check advisories
  else
    skip "advisories on the crates" "the RustSec database cannot be fetched ($(grep -m 1 -i '^fatal' <<<"$answer" || head -n 1 <<<"$answer"))"
  fi
}

# A registry that gives no audit is another thing than an audit that finds something.
npm_audit() {
  local answer
  answer=$(npm audit --json 2>/dev/null) || true
  if grep -q '"auditReportVersion"' <<<"$answer"; then
    check "advisories on the npm packages" npm audit
  else
    skip "advisories on the npm packages" "the registry gives no audit ($(sed -n 's/^ *"message": "\(.*\)",*$/\1/p' <<<"$answer" | head -n 1))"
  fi
}

rustfmt_tools() { rustfmt --edition 2024 --config-path . --check tools/serve.rs fuzz/src/*.rs fuzz/fuzz_targets/*.rs; }

# The same report, natively and in a browser, and no request in between.
page_tests() {
  need_server
  cargo build "${NATIVE[@]}" --example varied
  GRNET_BROWSER=$BROWSER GRNET_SERVER=$SERVER GRNET_BIN=$TARGET/ci/grnet GRNET_MODEL=$WEIGHTS/grnet.safetensors \
    GRNET_VARIED=$TARGET/ci/examples/varied node --experimental-websocket --test --test-reporter=spec tests/js/e2e.mjs
}

# Faults of the browser, injected.
fault_tests() { GRNET_BROWSER=$BROWSER node --test --test-reporter=spec tests/js/faults.e2e.mjs; }

# What the extension sees of pages needs no wasm: its detector is played.
scan_tests() { GRNET_BROWSER=$BROWSER node --test --test-reporter=spec tests/js/scan.e2e.mjs tests/js/played.e2e.mjs; }

extension_tests() { GRNET_BROWSER=$BROWSER node --test --test-reporter=spec tests/js/extension.e2e.mjs; }

# Chromium draws the pictures.
firefox_tests() {
  GRNET_FIREFOX=$FIREFOX GRNET_BROWSER=$BROWSER node --test --test-reporter=spec tests/js/firefox.e2e.mjs
}

run_tests() {
  need_target $WASM
  find_lavapipe || debian_install mesa-vulkan-drivers || say "no lavapipe (mesa-vulkan-drivers): GPU tests are skipped"
  check "format" cargo fmt --check
  check "format of tools" rustfmt_tools
  check "lints, native" cargo clippy "${NATIVE[@]}" --all-targets -- -D warnings
  check "lints, native, default features" cargo clippy --locked --profile ci --all-targets -- -D warnings
  check "lints, browser" cargo clippy --locked --profile wasm --target $WASM --lib "${BROWSER_BUILD[@]}" -- -D warnings
  check "lints, browser, CPU alone" \
    cargo clippy --locked --profile wasm --target $WASM --lib --no-default-features -- -D warnings
  # Nothing else builds them, and one that does not build finds nothing. Those of the training side need minutes.
  check "fuzz targets compile" env "CARGO_TARGET_DIR=$TARGET/fuzz" cargo check --locked --manifest-path fuzz/Cargo.toml --bins
  check "training on GPUs and CUDA compiles" cargo check --locked --profile ci --features wgpu,train-gpu,cuda --all-targets
  supply_chain_checks
  train_gpu_tests
  libtorch_check
  check "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --profile ci --no-deps --features wgpu,train
  suite "tests, native" cargo test "${NATIVE[@]}" --no-fail-fast
  ignored_tests
  onnx_tests
  if need_node; then
    npm_audit
    check "bill of materials" ./build.sh sbom
    check "types of page and extension" node_modules/.bin/tsc -p .
    suite "tests of the parts of page and extension" node --test --test-reporter=spec tests/js/*.test.mjs
  else
    skip "tests of the page" "node or npm is missing"
  fi
  check "site and extension" ./build.sh extension # a process of its own: inside a condition bash forgets set -e
  BROWSER=$(find_browser || { debian_install chromium fonts-dejavu-core && find_browser; } || true)
  if [[ -n $BROWSER && -d node_modules ]]; then
    check "native program" cargo build "${NATIVE[@]}"
    suite "page, end to end" page_tests
    suite "page, with faults of the browser" fault_tests
    suite "extension in Chromium, its detector played" scan_tests
    suite "extension in Chromium" extension_tests
    FIREFOX=$(find_firefox || { debian_install firefox-esr && find_firefox; } || true)
    if [[ -z $FIREFOX ]]; then
      skip "extension in Firefox" "no Firefox"
    elif (($(found_firefox "$FIREFOX") < $(needed_firefox))); then
      skip "extension in Firefox" "Firefox $(needed_firefox) or newer is needed, found $(found_firefox "$FIREFOX")"
    else
      suite "extension in Firefox" firefox_tests
    fi
  else
    skip "page and extension, end to end" "no Chromium or Chrome, or no node"
  fi
  say ""
  for trouble in "${TROUBLES[@]+"${TROUBLES[@]}"}"; do say "failed: $trouble"; done
  printf '\n%d passed, %d failed, %d skipped\n' $PASSED $FAILED $SKIPPED
  ((FAILED == 0))
}

# ---- Native --------------------------------------------------------------------------------------------------------

detect() {
  need_rust
  cargo build --locked --release --features wgpu --quiet
  exec "$TARGET/release/grnet" detect "$@"
}

# The figures of MODEL_CARD.md, from the test rows of the given table.
model_report() {
  [[ $# -ge 1 && -e $1 ]] || die "expected a table of pictures: ./build.sh model-report faces.csv [options of grnet eval]"
  need_rust
  local data=$1 out=dist/model-report
  shift
  cargo build "${NATIVE[@]}" --quiet
  mkdir -p "$out"
  "$TARGET/ci/grnet" eval --data "$data" --model "$WEIGHTS/grnet.safetensors" --split test \
    --degrade raw,web,hard,avatar --by source,generator,face \
    --json "$out/eval.json" --markdown "$out/card.md" --plots "$out" "$@" | tee "$out/eval.txt"
}

# The peers come from the registries, in these versions.
bench_env() {
  have python3 || die "python3 with venv is missing"
  need_node || die "node and npm are missing"
  [[ -x .bench/bin/python ]] || python3 -m venv .bench
  .bench/bin/pip install --quiet torch==2.9.1 numpy safetensors onnx==1.19.1 onnxruntime==1.23.2 \
    opencv-contrib-python-headless==4.12.0.88 matplotlib
  npm install --prefix .bench --no-audit --no-fund --loglevel=error onnxruntime-web@1.23.2
}

bench() {
  need_rust
  if [[ ${1:-} == kernels ]]; then
    shift
    exec cargo bench --locked --bench kernels "$@"
  fi
  bench_env
  ./build.sh site
  cargo build --locked --release --bin grnet --example time
  .bench/bin/python tools/bench/bench.py --program "$TARGET/release/examples/time" --grnet "$TARGET/release/grnet" \
    --model "$WEIGHTS/grnet.safetensors" --browser "$(find_browser || true)" \
    --photo tests/pictures/astronaut.jpg "$@"
}

robustness() {
  [[ $# -ge 1 && -e $1 ]] || die "expected a table of pictures: ./build.sh robustness faces.csv"
  local data=$1
  shift
  need_rust
  bench_env
  cargo build --locked --release --bin grnet
  .bench/bin/python tools/bench/robustness.py --grnet "$TARGET/release/grnet" --model "$WEIGHTS/grnet.safetensors" \
    --data "$data" "$@"
}

# burn's LibTorch backend links against the Python wheel of exactly this version.
train_env() {
  need_rust
  have python3 || die "python3 with venv is missing"
  [[ -d .torch ]] || python3 -m venv .torch
  .torch/bin/pip install --quiet torch==2.9.1 numpy setuptools
  PATH=$PWD/.torch/bin:$PATH LIBTORCH_USE_PYTORCH=1 LIBTORCH_BYPASS_VERSION_CHECK=1 \
    CARGO_TARGET_DIR=$TARGET/libtorch cargo build --locked --release --features libtorch
  local library
  library=$(echo "$PWD"/.torch/lib/python3*/site-packages/torch/lib)
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$library" "$TARGET/libtorch/release/grnet" >.torch/grnet
  chmod +x .torch/grnet
  say "ready: .torch/grnet train --help"
}

clean() { rm -rf dist node_modules "$TARGET/test-logs" "$TARGET/site"; }

main() {
  local command=${1:-help}
  shift || true
  case $command in
    serve) serve "$@" ;;
    site) site ;;
    extension) extension ;;
    detect) detect "$@" ;;
    test) run_tests ;;
    model-report) model_report "$@" ;;
    bench) bench "$@" ;;
    robustness) robustness "$@" ;;
    sbom) sbom ;;
    reproducible) reproducible ;;
    fuzz) fuzz "$@" ;;
    coverage) coverage ;;
    mutants) mutants "$@" ;;
    miri) miri ;;
    arm) arm ;;
    train-env) train_env ;;
    clean) clean ;;
    help | -h | --help) help ;;
    *) help >&2; die "unknown command $command" ;;
  esac
}

# On one line: bash reads a script as it runs, and must not read on in one that was changed meanwhile.
main "$@"; exit
