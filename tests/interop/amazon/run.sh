#!/usr/bin/env bash
# Amazon's own libraries for Java as partners, on emulators.
#
#   tests/interop/amazon/run.sh [NAME…]    each NAME.py here with the jars of NAME/pom.xml, or all
#
# Needs cargo, node, npm, python3, java, javac and mvn (JDK 17 or later); installs the rest, pinned,
# below target/interop. What talks, talks over the loopback.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../install.sh"

partners=("$@")
((${#partners[@]})) || partners=(kcl kpl)

need cargo node npm python3 java javac mvn
install_npm
install_python venv requirements.txt
build_examples put tail

failed=0
for partner in "${partners[@]}"; do
  install_java "$partner"
  # Two of its versions repeat records in two ways.
  if [[ $partner == kpl ]]; then
    install_java kpl_1_0 kpl
    build_peers
  fi
  "$installed/venv/bin/python" -B "$interop/amazon/$partner.py" || failed=1
done
((failed == 0))
