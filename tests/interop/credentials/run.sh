#!/usr/bin/env bash
# Lets others judge the crate's signatures and its ways to credentials: ministack and moto with
# authentication on, ministack's STS, its metadata service and its container endpoint; and botocore, which says what a
# set-up of environment and files means.
#
# Needs cargo and python3; installs the rest, pinned, below target/interop. What talks, talks over
# the loopback.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
venv=$root/target/interop/credentials-venv

# What was installed stays until the list it was installed from changes.
if ! cmp -s "$here/requirements.txt" "$venv/.installed"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/.installed"
fi
(cd "$root" && cargo build --quiet --release --example put --example shards --example tail --example smallest)

status=0
"$venv/bin/python" -B "$here/against_botocore.py" "$root/target/release/examples" || status=1
"$venv/bin/python" -B "$here/check.py" || status=1
exit $status
