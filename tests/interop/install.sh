# Installs programs of others, pinned, below target/interop; sourced by the scripts that need them.
# What was installed stays until the list it was installed from changes.

interop=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$interop/../.." && pwd)
installed=$root/target/interop

fail() {
  echo "interop: $*" >&2
  exit 1
}

# need TOOL…
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
  done
}

install_npm() {
  local list=$interop/package-lock.json
  if cmp -s "$list" "$installed/npm/.installed"; then return; fi
  rm -rf "$installed/npm"
  mkdir -p "$installed/npm"
  cp "$interop/package.json" "$list" "$installed/npm/"
  (cd "$installed/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    fail "npm ci failed"
  cp "$list" "$installed/npm/.installed"
}

# install_python VENV LIST
install_python() {
  local venv=$installed/$1 list=$interop/$2
  if cmp -s "$list" "$venv/.installed"; then return; fi
  rm -rf "$venv"
  python3 -m venv "$venv" || fail "python3 -m venv failed: is python3-venv installed?"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list" ||
    fail "pip install failed"
  cp "$list" "$venv/.installed"
}

# install_java NAME [SOURCES]: the jars that amazon/NAME/pom.xml lists go to lib, and what is compiled
# against them of amazon/SOURCES/*.java, or of amazon/NAME/*.java, to classes.
install_java() {
  local list=$interop/amazon/$1/pom.xml sources=$interop/amazon/${2:-$1} to=$installed/amazon/$1
  if ! cmp -s "$list" "$to/.installed"; then
    rm -rf "$to"
    mkdir -p "$to"
    cp "$list" "$to/"
    (cd "$to" && mvn --quiet --batch-mode dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory=lib) || fail "Maven cannot get the jars of $1"
    cp "$list" "$to/.installed"
  fi
  rm -rf "$to/classes"
  # The jars themselves are not what is looked at here.
  javac -Xlint:all,-path,-classfile -Werror -d "$to/classes" -cp "$to/lib/*" "$sources"/*.java ||
    fail "$1 does not compile"
}

# build_examples NAME…: with optimizations, as users run them.
build_examples() {
  (cd "$root" && cargo build --quiet --release "${@/#/--example=}") ||
    fail "the examples do not build"
}

build_peers() {
  cargo build --quiet --manifest-path "$root/tests/peers/Cargo.toml" \
    --target-dir "$root/target/peers" || fail "tests/peers does not build"
}
