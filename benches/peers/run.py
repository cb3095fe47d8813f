"""Times our kernels beside those of others on one GPU, in one process, on the same numbers.

    python3 benches/peers/run.py --lib libridgepoint.so --json result.json

Needs PyTorch and a GPU; with `--device sim` it needs numpy alone, runs our kernels on the
simulator, checks their results and leaves every time empty. README.md beside this file says how
it measures. Has not run on a GPU yet.
"""

import argparse
import os
import subprocess
import sys

import report
import shapes
import timing
from binding import Library
from contenders import peers as all_peers
from inputs import Maker
from measure import DeviceLost, attempt, measure_row, one_line, status_of
from ours import LAYOUTS, Ridgepoint

OPS = ("gemm-bf16", "gemm-int4", "attention-decode", "attention-prefill")


def numbers(text):
    """A comma-separated list of positive whole numbers."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 1,16")
    return tuple(int(part) for part in parts)


def ceilings(text):
    """TB/s and TFLOP/s, as bytes/s and flop/s."""
    try:
        memory, arithmetic = (float(part) for part in text.split(","))
    except ValueError:
        memory = arithmetic = 0.0
    if not (0 < memory < 1e6 and 0 < arithmetic < 1e9):
        raise argparse.ArgumentTypeError(f"{text!r} is no pair of numbers such as 3.35,989")
    return memory * 1e12, arithmetic * 1e12


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def parser():
    names = [model.name for model in shapes.MODELS]
    p = Parser(
        prog="run.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--lib", default=os.environ.get("RIDGEPOINT_LIB", "libridgepoint.so"),
                   help="the shared library of `make install` (default: RIDGEPOINT_LIB of the "
                   "environment, else libridgepoint.so where the loader finds it)")
    p.add_argument("--device", choices=("cuda", "sim"), default="cuda",
                   help="cuda: torch's current GPU; sim: no GPU, tiny shapes, no times "
                   "(default: %(default)s)")
    p.add_argument("--json", metavar="FILE", help="where the results are kept, row by row")
    p.add_argument("--model", action="append", choices=[*names, "square", "all"],
                   help=f"whose shapes; may be repeated (default: {names[0]} and square)")
    p.add_argument("--op", action="append", choices=OPS, help="may be repeated (default: all)")
    p.add_argument("--only", action="append", metavar="TEXT", default=[],
                   help="cases whose name has it; repeated: that have all")
    p.add_argument("--m", type=numbers, metavar="M,...",
                   help="rows of products, in both phases (default: up to 64 in decode, above in "
                   "prefill)")
    p.add_argument("--batch", type=numbers, metavar="B,...", help="sequences of a decode step")
    p.add_argument("--context", type=numbers, metavar="T,...", help="positions that they see")
    p.add_argument("--length", type=numbers, metavar="T,...", help="tokens of a prompt")
    p.add_argument("--rounds", type=int, default=timing.ROUNDS,
                   help="rounds A B B A of each pair (default: %(default)s)")
    p.add_argument("--ceilings", type=ceilings, metavar="TB/s,TFLOP/s",
                   help="by which floors are counted (default: measured at the start)")
    p.add_argument("--layout", choices=tuple(LAYOUTS), default="gptq",
                   help="how the int4 matrices that we repack are stored (default: %(default)s)")
    p.add_argument("--vllm", metavar="FILE", help="_C_stable_libtorch.abi3.so of the vllm wheel")
    p.add_argument("--fa3", metavar="FILE", help="_vllm_fa3_C.abi3.so of the vllm wheel")
    p.add_argument("--list", action="store_true", help="print the cases and their floors, and end")
    return p


def wanted(args):
    """The cases that the arguments ask for."""
    chosen = args.model or [shapes.MODELS[0].name, "square"]
    sizes = shapes.Sizes()
    if args.device == "sim":
        models, square, sizes = (shapes.TINY,), False, shapes.TINY_SIZES
    else:
        has = lambda name: "all" in chosen or name in chosen
        models = [model for model in shapes.MODELS if has(model.name)]
        square = has("square")
    sizes = shapes.Sizes(
        args.m or sizes.decode_rows, args.m or sizes.prefill_rows, args.batch or sizes.batches,
        args.context or sizes.contexts, args.length or sizes.lengths,
    )
    found = [
        case for case in shapes.cases(models, sizes, square)
        if case.op in (args.op or OPS)
        and all(text in f"{case.op} {case.phase} {case.label}" for text in args.only)
    ]
    if not found:
        parser().error("--op, --only: no case is called so, see --list")
    return found


def open_device(args):
    try:
        library = Library(args.lib)
    except (OSError, AttributeError) as error:
        raise SystemExit(f"run.py: --lib {args.lib}: {error}") from None
    try:
        if args.device == "sim":
            from simulator import SimDevice

            return SimDevice(library)
        from torch_device import TorchDevice

        return TorchDevice(library)
    except (ImportError, RuntimeError) as error:
        raise SystemExit(f"run.py: --device {args.device}: {one_line(error)}") from None


def commit():
    """Of the sources: as a bundle says, or as git does."""
    given = os.environ.get("RIDGEPOINT_COMMIT")
    if given:
        return given
    here = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", here, "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def head(args, device, contenders, limits):
    library = device.kernels.abi
    return {
        "arguments": sys.argv[1:], "commit": commit(),
        "library": {"file": os.path.basename(library.path), "version": library.version()},
        "device": {"kind": device.name, **device.describe()},
        "state": {"before": device.state(), "after": None},
        "ceilings": limits and {
            "bytes_per_s": limits[0], "flops_per_s": limits[1],
            "source": "given" if args.ceilings else "measured",
        },
        "rounds": args.rounds, "layout": args.layout,
        "contenders": {peer.name: peer.available() for peer in contenders},
    }


def measure_all(device, contenders, cases, limits, results, rounds, write=print):
    """All rows. True if ours was right in each that it takes."""
    ours, *peers = contenders
    absent = results.data["contenders"]
    maker, table, is_good = Maker(device), report.Table(write), True
    for case in cases:
        copies = device.copies(case.bytes())
        row = results.row(case, shapes.floor_seconds(case, limits), copies)
        callable_ = [p for p in peers if case.op in p.ops and absent[p.name] is None]

        def work(case=case, copies=copies, row=row, callable_=callable_):
            inputs = maker.make(case)
            measure_row(device, ours, callable_, inputs, copies, row, rounds)
            return True

        try:
            _, reason = attempt(device, work)
            if reason:
                cell = row["cells"].setdefault(ours.name, {})
                cell.update(status=status_of(reason), reason=reason)
        finally:
            # Also where a key or a lost device ends the run here.
            row["cells"] = {name: cell for name, cell in row["cells"].items() if cell}
            if not row["cells"]:
                results.data["rows"].remove(row)
            results.save()
        is_good &= row["cells"][ours.name]["status"] not in ("failed", "wrong")
        table.row(row, (ours.name, *(peer.name for peer in callable_)))
        device.trim()
    return is_good


def main(argv=None):
    args = parser().parse_args(argv)
    if args.rounds < 1:
        parser().error("--rounds: must be at least 1")
    cases = wanted(args)
    if args.list:
        for case in cases:
            floor = report.micro(shapes.floor_seconds(case, args.ceilings))
            print(f"{case.op} {case.phase} {case.label}: {case.bytes()} bytes, {case.flops()} flops"
                  + (f", floor {floor} us" if floor else ""))
        return 0
    device = open_device(args)
    ours = Ridgepoint(device, args.layout)
    contenders = [ours, *all_peers(device, {"vllm": args.vllm, "fa3": args.fa3})]
    limits = args.ceilings or device.ceilings()
    results = report.Results(args.json, head(args, device, contenders, limits))
    try:
        results.save()
    except OSError as error:
        raise SystemExit(f"run.py: --json: {error}") from None
    print(device.describe()["name"], f"({results.data['state']['before'] or 'no clocks'})")
    for name, reason in results.data["contenders"].items():
        if reason:
            print(f"without {name}: {reason}")
    status = 1
    try:
        good = measure_all(device, contenders, cases, limits, results, args.rounds)
        status = 0 if good else 1
        results.data["finished"] = report.now()
    except KeyboardInterrupt:
        results.data["interrupted"], status = True, 130
        print("interrupted; what was measured is kept", file=sys.stderr)
    except DeviceLost as error:
        print(f"run.py: the device was lost: {error}", file=sys.stderr)
    if status != 130:
        results.data["state"]["after"] = device.state()
    results.save()
    print(f"\n{report.LEGEND}")
    return status


if __name__ == "__main__":
    sys.exit(main())
