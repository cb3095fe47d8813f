"""Puts tests, benchmarks, the binary, the shared library and what they read into one folder,
`bundle/`, and packs it as `bundle.tar.xz`.

For a machine that has a GPU but no Rust and no network: unpack it there and run `bundle/run test`,
`bundle/run bench`, `bundle/run peers` (which needs PyTorch there) or `bundle/run demo`. Set
RIDGEPOINT_CUDA_ARCHS=90a to leave out the machine code of other devices.
"""

import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "bundle"
ARCHIVE = ROOT / "bundle.tar.xz"
LIMIT_MB = 60
# Reaches back beyond a whole executable: each holds the same kernels, which are packed once.
WINDOW = 128 << 20
CARGO = os.environ.get("CARGO", "cargo")

RUN = """\
#!/bin/sh
# run test|bench|demo [ARGUMENT...]: what `make` of the same name runs, from this folder.
# run peers [ARGUMENT...]: benches/peers with the library beside it; needs python3 with PyTorch.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export RIDGEPOINT_ROOT="$here/root"
export RIDGEPOINT_BIN="$here/bin/ridgepoint"
export RIDGEPOINT_LIB="$here/lib/libridgepoint.so"
export RIDGEPOINT_COMMIT="@COMMIT@"
what=${1:-}
[ $# -gt 0 ] && shift
# Files that are named on the command line are looked for where it was typed.
[ "$what" = peers ] && exec python3 "$RIDGEPOINT_ROOT/benches/peers/run.py" "$@"
cd "$RIDGEPOINT_ROOT"
case "$what" in
test | bench)
    # Every executable runs, also after one has failed, and the exit status says whether any did.
    status=0
    for executable in "$here/$what"/*; do
        echo "== ${executable##*/}"
        if [ "$what" = bench ]; then set -- --bench "$@"; fi
        "$executable" "$@" || status=1
        if [ "$what" = bench ]; then shift; fi
    done
    exit $status
    ;;
demo)
    exec "$RIDGEPOINT_BIN" generate --prompt "${1:-@PROMPT@}" --max-tokens "${2:-@MAX_TOKENS@}"
    ;;
*)
    echo "usage: run test|bench|peers|demo [ARGUMENT...]" >&2
    exit 2
    ;;
esac
"""


def executables(*command):
    """What a cargo command builds: (kind of target, its name, whether it is a test, path)."""
    command = [CARGO, *command, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["executable"]:
            target = message["target"]
            path = pathlib.Path(message["executable"])
            yield target["kind"][0], target["name"], message["profile"]["test"], path


def place_library():
    """Puts the shared library that `make install` makes into the bundle."""
    with tempfile.TemporaryDirectory() as prefix:
        command = ["make", "--no-print-directory", "install", f"PREFIX={prefix}"]
        subprocess.run([*command, f"CARGO={CARGO}"], cwd=ROOT, check=True)
        place(pathlib.Path(prefix, "lib/libridgepoint.so"), "lib", "libridgepoint.so")


def commit():
    """The commit that is bundled, for results that are made with it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    ).stdout.strip()


def place(path, *parts):
    """Copies an executable into the bundle without its symbols."""
    target = BUNDLE.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)
    subprocess.run(["strip", target], check=True)


def copy_sources():
    """Copies every tracked file: the model, fixtures and corpora are read when tests run, and so
    are the sources that some tests hold rules against. RIDGEPOINT_ROOT then looks like a checkout.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = BUNDLE / "root" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)


def pack():
    """Packs the folder. Its bytes in MB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 3, "dict_size": WINDOW}]
    with lzma.open(ARCHIVE, "wb", filters=filters) as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(BUNDLE, BUNDLE.name)
    return ARCHIVE.stat().st_size / 1e6


def main():
    shutil.rmtree(BUNDLE, ignore_errors=True)
    ARCHIVE.unlink(missing_ok=True)
    for kind, name, is_test, path in executables("test", "--release", "--no-run"):
        if is_test:
            place(path, "test", f"{kind}-{name}")
        elif kind == "bin":
            place(path, "bin", name)
    for kind, name, _, path in executables("bench", "--no-run"):
        if kind == "bench":
            place(path, "bench", name)
    place_library()
    copy_sources()
    run = RUN.replace("@PROMPT@", os.environ["PROMPT"]).replace("@COMMIT@", commit())
    run = run.replace("@MAX_TOKENS@", os.environ["MAX_TOKENS"])
    (BUNDLE / "run").write_text(run)
    (BUNDLE / "run").chmod(0o755)
    size_mb = pack()
    if size_mb >= LIMIT_MB:
        sys.exit(f"make bundle: {ARCHIVE.name} has {size_mb:.1f} MB, the limit is {LIMIT_MB} MB")
    print(f"{BUNDLE.name}/ and {ARCHIVE.name}: {size_mb:.1f} MB packed")


if __name__ == "__main__":
    main()
