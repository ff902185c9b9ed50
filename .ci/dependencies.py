"""What the crate brings along: only the packages it says, no async runtime, and as old a Rust as
they allow. Asks `cargo tree` and `cargo metadata`."""

import json
import re
import subprocess
import sys

CODEC = {"bytes", "md-5", "prost"}
CLIENT = CODEC | {
    "aws-credential-types",
    "aws-sigv4",
    "base64",
    "crossbeam",
    "http",
    "log",
    "serde",
    "serde_json",
    "sha2",
    "time",
    "ureq",
    "zeroize",
}
# STS answers in XML only.
STS = CLIENT | {"roxmltree"}
ALL = STS | {"httparse", "socket2"}

# Whatever runs futures or waits for sockets, and what is built on it.
RUNTIMES = {
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "h2",
    "hyper",
    "hyper-util",
    "mio",
    "monoio",
    "polling",
    "reqwest",
    "smol",
    "tokio-rustls",
    "tokio-util",
    "tower",
}
# aws-sigv4 brings it for its channels; with this feature alone it has no runtime in it. Its default
# is empty.
TOKIO_FEATURES = {"default", "sync"}

# The edition's own need: nothing in the tree can make it lower.
EDITION_2024 = (1, 85, 0)

BUILDS = [
    ("the codec alone", ["--no-default-features"], CODEC),
    ("without TLS", ["--no-default-features", "--features", "client"], CLIENT),
    ("the default", [], STS),
    ("all features", ["--all-features"], ALL),
]


def main():
    problems = []
    for name, features, allowed in BUILDS:
        direct = {package for package, _, _ in tree(features, depth=1)}
        whole = tree(features)
        problems += differences(name, direct, allowed)
        problems += runtimes(name, whole)
        count = len({(package, version) for package, version, _ in whole})
        print(f"{name}: {len(direct)} direct dependencies, {count} packages in all")
    problems += rust_version()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def differences(name, direct, allowed):
    for package in sorted(direct - allowed):
        yield f"{name}: depends on {package}, which is not one of its packages"
    for package in sorted(allowed - direct):
        yield f"{name}: does not depend on {package}: take it out of the list"


def runtimes(name, whole):
    for package, version, features in sorted(whole):
        if package in RUNTIMES:
            yield f"{name}: brings {package} {version}, a part of an async runtime"
        if package == "tokio" and not set(features) <= TOKIO_FEATURES:
            yield f"{name}: brings tokio with {', '.join(features)}, not with sync alone"


def rust_version():
    """As low as the dependencies allow, and stated so."""
    packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
    stated = {package["name"]: package["rust_version"] for package in packages}["kinesis-blocking"]
    needs = {(package["name"], package["version"]): package["rust_version"] for package in packages}
    used = {(name, version) for name, version, _ in tree(["--all-features"], edges="normal,build")}
    rows = [(number(needs[each] or "1.0"), " ".join(each)) for each in used]
    needed, by = max(rows + [(EDITION_2024, "edition 2024")])
    wanted = ".".join(map(str, needed))
    print(f"rust-version {stated}; the tree needs {wanted}, because of {by}")
    if number(stated) != needed:
        yield f"rust-version is {stated}, and has to be {wanted}, because of {by}"


def number(version):
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def tree(features, depth=None, edges="normal"):
    """(package, version, features) of everything below the crate, without itself."""
    options = ["--edges", edges, "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"]
    if depth is not None:
        options += ["--depth", str(depth)]
    found = set()
    for line in cargo("tree", *options, *features).splitlines()[1:]:
        package, features_of_it = line.rsplit("|", 1)
        name, version = re.match(r"(\S+) v(\S+)", package).groups()
        found.add(
            (name, version, tuple(filter(None, features_of_it.removesuffix(" (*)").split(","))))
        )
    return found


def cargo(*arguments):
    return subprocess.run(
        ["cargo", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
