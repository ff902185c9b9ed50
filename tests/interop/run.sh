#!/usr/bin/env bash
# This crate and programs of others: emulators of Kinesis, boto3, libraries for the KPL's format.
#
#   tests/interop/run.sh [WORD…]    all scenarios, or those with one of the words in their name
#
# Needs cargo, node, npm and python3; installs the rest, pinned, below target/interop. What talks,
# talks over the loopback.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"

need cargo node npm python3
install_npm
install_python venv requirements.txt
# It asks for another botocore than all the others.
install_python ministack requirements-ministack.txt
# A fault-injecting proxy, with a botocore of its own.
install_python microburst requirements-microburst.txt
build_peers
cargo test --quiet --manifest-path "$root/tests/exactly_once/Cargo.toml" \
  --target-dir "$root/target/exactly_once" || fail "tests/exactly_once fails"
build_examples put tail smallest

exec "$installed/venv/bin/python" -B "$interop/suite.py" "$@"
