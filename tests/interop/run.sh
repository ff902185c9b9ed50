#!/usr/bin/env bash
# This crate and programs of others: emulators of Kinesis, boto3, libraries for the KPL's format.
#
#   tests/interop/run.sh [WORD…]    all scenarios, or those with one of the words in their name
#
# Needs cargo, node, npm and python3; installs the rest, pinned, below target/interop. What talks,
# talks over the loopback.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
installed=$root/target/interop

fail() {
  echo "interop: $*" >&2
  exit 1
}

# What was installed stays until the list it was installed from changes.
install_npm() {
  local list=$here/package-lock.json
  if cmp -s "$list" "$installed/npm/.installed"; then return; fi
  rm -rf "$installed/npm"
  mkdir -p "$installed/npm"
  cp "$here/package.json" "$list" "$installed/npm/"
  (cd "$installed/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    fail "npm ci failed"
  cp "$list" "$installed/npm/.installed"
}

# install_python VENV LIST
install_python() {
  local venv=$installed/$1 list=$here/$2
  if cmp -s "$list" "$venv/.installed"; then return; fi
  rm -rf "$venv"
  python3 -m venv "$venv" || fail "python3 -m venv failed: is python3-venv installed?"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list" ||
    fail "pip install failed"
  cp "$list" "$venv/.installed"
}

for tool in cargo node npm python3; do
  command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
done
install_npm
install_python venv requirements.txt
# It asks for another botocore than all the others.
install_python ministack requirements-ministack.txt
# A fault-injecting proxy, with a botocore of its own.
install_python microburst requirements-microburst.txt
cargo build --quiet --manifest-path "$root/tests/peers/Cargo.toml" \
  --target-dir "$root/target/peers" || fail "tests/peers does not build"
cargo test --quiet --manifest-path "$root/tests/exactly_once/Cargo.toml" \
  --target-dir "$root/target/exactly_once" || fail "tests/exactly_once fails"
examples=(--example put --example tail --example smallest)
(cd "$root" && cargo build --quiet --release "${examples[@]}") || fail "the examples do not build"

exec "$installed/venv/bin/python" -B "$here/suite.py" "$@"
