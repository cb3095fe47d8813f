"""Runs the simulator's probes on a GPU and keeps what it gives for each.

    PTXSIM_PROBES_OUT=DIR cargo test --release -p ptxsim probes
    python3 tools/golden.py DIR ptxsim/golden

The first command writes the probes: `manifest.json`, `probes.ptx`, `inputs.bin`. The second writes
one file of results for each family of instructions, and `index.txt`: lines that start with `#` say
which device, driver and day, the others are `family offset bytes hash name`. A probe that the
device's ptxas refuses, or that fails, is named and left out. `--dry-run` checks what the first
command wrote, without a GPU.

Needs nothing but Python and the driver's libcuda.so.1.
"""

import argparse
import ctypes
import datetime
import json
import pathlib
import struct
import sys

GROUP = 64
ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR = 75, 76
JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 5, 6
LOG_BYTES = 16384
PARAM_KINDS = {"in", "inout", "out", "u32", "bytes"}


class Refused(Exception):
    """The driver's compiler does not take a module."""


class Failed(Exception):
    """Another call of the driver failed."""


class Probes:
    """What the simulator's tests wrote."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.ptx = (folder / "probes.ptx").read_text()
        self.inputs = (folder / "inputs.bin").read_bytes()
        self.header = self.manifest["header"]
        self.probes = self.manifest["probes"]

    def text(self, probe):
        at, count = probe["ptx"]
        return self.ptx[at : at + count]

    def data(self, place):
        at, count = place
        return self.inputs[at : at + count]

    def check(self):
        """Says what does not fit, one line each."""
        names = set()
        for probe in self.probes:
            name = probe["name"]
            if name in names:
                yield f"{name}: twice"
            names.add(name)
            if f".entry {probe['entry']}(" not in self.text(probe):
                yield f"{name}: its text does not hold the entry {probe['entry']}"
            if len(self.text(probe)) != probe["ptx"][1]:
                yield f"{name}: probes.ptx is too short"
            results = 0
            for param in probe["params"]:
                ((kind, value),) = param.items()
                if kind not in PARAM_KINDS:
                    yield f"{name}: a parameter of kind {kind}"
                if kind in ("in", "inout", "bytes") and len(self.data(value)) != value[1]:
                    yield f"{name}: inputs.bin is too short"
                results += {"out": lambda: value, "inout": lambda: value[1]}.get(kind, int)()
            stride, ranges = probe["keep"]
            if results % stride or any(at + count > stride for at, count in ranges):
                yield f"{name}: what is kept does not divide its {results} bytes of results"
            if results == 0:
                yield f"{name}: no results"
            if " " in probe["family"] or "\n" in name:
                yield f"{name}: cannot stand in the index"


class Driver:
    """The few calls of the CUDA driver that this needs; each result is looked at."""

    def __init__(self):
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            sys.exit(
                f"golden.py: {error}\nThis needs a GPU and NVIDIA's driver, which brings "
                "libcuda.so.1; `--dry-run` does what can be done without."
            )
        self.call("cuInit", 0)
        self.device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(self.device), 0)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        result = getattr(self.cuda, name)(*arguments)
        if result != 0:
            text = ctypes.c_char_p()
            if self.cuda.cuGetErrorName(result, ctypes.byref(text)) != 0:
                text.value = b"unknown error"
            raise Failed(f"{name}: {text.value.decode()} ({result})")

    def about(self):
        """Name of the device, its compute capability, and the version of the driver."""
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, 256, self.device)
        numbers = []
        for attribute in (ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR):
            number = ctypes.c_int()
            self.call("cuDeviceGetAttribute", ctypes.byref(number), attribute, self.device)
            numbers.append(number.value)
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        major, minor = version.value // 1000, version.value % 1000 // 10
        return name.value.decode(), tuple(numbers), f"{major}.{minor}"

    def load(self, text):
        log = ctypes.create_string_buffer(LOG_BYTES)
        options = (ctypes.c_int * 2)(JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
        module = ctypes.c_void_p()
        arguments = (ctypes.byref(module), text.encode() + b"\0", 2, options, values)
        try:
            self.call("cuModuleLoadDataEx", *arguments)
        except Failed as error:
            raise Refused(f"{error} {log.value.decode(errors='replace').strip()}") from error
        return module

    def run(self, module, probe, probes):
        """All results of a probe, one buffer after the other."""
        function = ctypes.c_void_p()
        name = probe["entry"].encode()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name)
        values, buffers, owned = [], [], []
        try:
            for param in probe["params"]:
                ((kind, value),) = param.items()
                if kind == "u32":
                    values.append(ctypes.c_uint32(value))
                    continue
                if kind == "bytes":
                    values.append(ctypes.create_string_buffer(probes.data(value), value[1]))
                    continue
                data = bytes(value) if kind == "out" else probes.data(value)
                address = ctypes.c_uint64()
                self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(len(data)))
                owned.append(address)
                self.call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(len(data)))
                values.append(address)
                if kind != "in":
                    buffers.append((address, len(data)))
            pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
            shape = [*probe["grid"], *probe["block"]]
            self.call("cuLaunchKernel", function, *shape, 0, None, pointers, None)
            self.call("cuCtxSynchronize")
            results = b""
            for address, count in buffers:
                data = ctypes.create_string_buffer(count)
                self.call("cuMemcpyDtoH_v2", data, address, ctypes.c_size_t(count))
                results += data.raw
            return results
        finally:
            for address in owned:
                self.cuda.cuMemFree_v2(address)


def kept(probe, results):
    """The bytes that mean anything."""
    stride, ranges = probe["keep"]
    if ranges == [[0, stride]]:
        return results
    groups = range(0, len(results), stride)
    return b"".join(results[g + at : g + at + count] for g in groups for at, count in ranges)


def run_group(driver, probes, group, take):
    """Runs some probes as one module; if that is refused, halves of them."""
    text = probes.header + "".join(map(probes.text, group))
    try:
        module = driver.load(text)
    except Refused as error:
        if len(group) == 1:
            print(f"refused: {group[0]['name']}: {error}", file=sys.stderr)
            return
        half = len(group) // 2
        run_group(driver, probes, group[:half], take)
        run_group(driver, probes, group[half:], take)
        return
    for probe in group:
        try:
            take(probe, kept(probe, driver.run(module, probe, probes)))
        except Failed as error:
            # What comes after a fault on the device cannot be relied on.
            sys.exit(f"golden.py: {probe['name']}: {error}")
    driver.call("cuModuleUnload", module)


def write(folder, results, about):
    """One file a family, and the index."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.bin"):
        old.unlink()
    device, (major, minor), driver = about
    lines = [f"# {device}, sm_{major}{minor}", f"# driver for CUDA {driver}"]
    lines.append(f"# {datetime.date.today().isoformat()}")
    files = {}
    for probe, data in results:
        file = files.setdefault(probe["family"], bytearray())
        place = f"{probe['family']} {len(file)} {len(data)} {probe['hash']}"
        lines.append(f"{place} {probe['name']}")
        file += data
    for family, data in files.items():
        (folder / f"{family}.bin").write_bytes(data)
    (folder / "index.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("probes", help="folder that the tests wrote")
    parser.add_argument("golden", nargs="?", type=pathlib.Path, help="folder for the results")
    parser.add_argument("--dry-run", action="store_true", help="check the folder, run nothing")
    arguments = parser.parse_args()
    if struct.calcsize("P") != 8:
        sys.exit("golden.py: needs a 64-bit Python")
    try:
        probes = Probes(arguments.probes)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"golden.py: {arguments.probes}: not what the tests write: {error}")
    problems = list(probes.check())
    if problems:
        sys.exit("\n".join(problems[:20]))
    if arguments.dry_run:
        print(f"{len(probes.probes)} probes, nothing wrong with them")
        return
    if arguments.golden is None:
        parser.error("where shall the results go?")
    driver = Driver()
    about = driver.about()
    if about[1] < (9, 0):
        sys.exit(f"golden.py: {about[0]} is older than the probes, which are for sm_90a")
    results = []
    for start in range(0, len(probes.probes), GROUP):
        group = probes.probes[start : start + GROUP]
        run_group(driver, probes, group, lambda *result: results.append(result))
    write(arguments.golden, results, about)
    print(f"{len(results)} of {len(probes.probes)} probes run on {about[0]}")


if __name__ == "__main__":
    main()
