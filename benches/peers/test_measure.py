"""Rows and whole runs with contenders that are right, wrong, missing, failing or interrupted."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

import numpy as np

import measure
import report
import run
import shapes
from contenders import Contender, Prepared
from peer_vllm import call_by_name
from test_logic import Host

CASE = shapes.Gemm("decode", "bf16", "x", "y", 64, 16, 3)


class Clocked(Host):
    """A device with a clock: a contender takes as long as it says."""

    has_times, name = True, "fake"

    def __init__(self):
        self.is_lost, self.trimmed = False, 0

    def copies(self, _bytes):
        return 3

    def synchronize(self):
        if self.is_lost:
            raise RuntimeError("an illegal memory access")

    def trim(self):
        self.trimmed += 1

    def record(self, prepared):
        return Recording(prepared)


class Recording:
    def __init__(self, prepared):
        self.seconds = prepared.seconds

    def sample(self):
        return self.seconds

    def cold(self):
        return 2 * self.seconds


class Fake(Contender):
    """Multiplies, and adds `fault` to the result of its last copy."""

    ops = ("gemm-bf16",)

    def __init__(self, device, name, seconds=1.0, fault=0.0, error=None):
        super().__init__(device)
        self.name, self.seconds, self.fault, self.error = name, seconds, fault, error

    def prepare(self, inputs, copies):
        if self.error:
            raise self.error
        product = inputs.x @ inputs.weights.values.T
        launches = [lambda: product] * (copies - 1) + [lambda: product + self.fault]
        prepared = Prepared(launches)
        prepared.seconds = self.seconds
        return prepared


class Lost(Fake):
    """Takes the device with it."""

    def prepare(self, inputs, copies):
        self.device.is_lost = True
        raise RuntimeError("launch failed")


class Missing(Fake):
    def available(self):
        return "is not installed"


class OutOfMemoryError(RuntimeError):
    """torch's error of this name."""


def rows_of(contenders, cases=(CASE,), path=None, limits=(1e6, 1e9)):
    """Measures cases; the rows, whether ours was right, and what was printed."""
    device, lines = contenders[0].device, []
    head = {"contenders": {each.name: each.available() for each in contenders}}
    results = report.Results(path, head)
    good = run.measure_all(device, contenders, cases, limits, results, 3, lines.append)
    return results.data["rows"], good, lines


class Rows(unittest.TestCase):
    def setUp(self):
        self.device = Clocked()
        self.ours = Fake(self.device, "ridgepoint", 2.0)

    def test_right_ones_are_timed_and_set_beside_ours(self):
        rows, good, lines = rows_of([self.ours, Fake(self.device, "peer", 3.0)])
        self.assertTrue(good)
        cells = rows[0]["cells"]
        self.assertEqual((cells["ridgepoint"]["time_s"], cells["ridgepoint"]["cold_s"]), (2.0, 4.0))
        self.assertEqual((cells["peer"]["time_s"], cells["peer"]["ratio"]), (3.0, 1.5))
        self.assertEqual(rows[0]["copies"], 3)
        self.assertAlmostEqual(cells["peer"]["share"], CASE.bytes() / 1e6 / 3.0)
        self.assertIn("1.50x", lines[1])
        # Ours was sampled beside the peer: twice a round of three.
        self.assertEqual(cells["ridgepoint"]["samples"], 6)

    def test_wrong_ones_are_not_timed(self):
        peer = Fake(self.device, "peer", fault=0.1)
        rows, good, lines = rows_of([self.ours, peer, Fake(self.device, "nan", fault=np.nan)])
        cells = rows[0]["cells"]
        self.assertTrue(good)
        self.assertEqual((cells["peer"]["status"], cells["nan"]["status"]), ("wrong", "wrong"))
        self.assertNotIn("time_s", cells["peer"])
        self.assertIsNone(cells["nan"]["error"])
        json.dumps(rows, allow_nan=False)
        self.assertIn("peer: error", lines[2])
        _, good, _ = rows_of([Fake(self.device, "ridgepoint", fault=0.1)])
        self.assertFalse(good)

    def test_a_peer_that_fails_leaves_a_reason_and_the_rest_goes_on(self):
        bad = Fake(self.device, "bad", error=ValueError("unknown\n  head size"))
        full = Fake(self.device, "full", error=OutOfMemoryError("80 GB"))
        rows, good, _ = rows_of([self.ours, bad, full, Fake(self.device, "peer", 1.0)], [CASE] * 2)
        self.assertTrue(good)
        for row in rows:
            cells = row["cells"]
            self.assertEqual(cells["bad"], {
                "status": "failed", "reason": "ValueError: unknown head size",
            })
            self.assertEqual(cells["full"]["status"], "no memory")
            self.assertEqual(cells["peer"]["ratio"], 0.5)

    def test_without_ours_nothing_is_compared(self):
        ours = Fake(self.device, "ridgepoint", error=RuntimeError("no kernel"))
        rows, good, _ = rows_of([ours, Fake(self.device, "peer")])
        self.assertFalse(good)
        self.assertEqual(rows[0]["cells"]["ridgepoint"]["status"], "failed")
        self.assertNotIn("ratio", rows[0]["cells"]["peer"])

    def test_a_missing_peer_has_no_column(self):
        rows, _, lines = rows_of([self.ours, Missing(self.device, "absent")])
        self.assertEqual(list(rows[0]["cells"]), ["ridgepoint"])
        self.assertNotIn("absent", "".join(lines))

    def test_a_lost_device_ends_the_run_and_keeps_the_rows(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "r.json")
            with self.assertRaisesRegex(measure.DeviceLost, "launch failed; then RuntimeError"):
                rows_of([self.ours, Lost(self.device, "peer")], path=path)
            cells = json.loads(path.read_text())["rows"][0]["cells"]
        self.assertEqual(list(cells), ["ridgepoint"])
        self.assertEqual(cells["ridgepoint"]["time_s"], 2.0)

    def test_an_interrupt_keeps_what_was_measured(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "r.json")
            slow = Fake(self.device, "slow", error=KeyboardInterrupt())
            with self.assertRaises(KeyboardInterrupt):
                rows_of([self.ours, slow], path=path)
            cells = json.loads(path.read_text())["rows"][0]["cells"]
            with self.assertRaises(KeyboardInterrupt):
                rows_of([Fake(self.device, "ridgepoint", error=KeyboardInterrupt())], path=path)
            rows = json.loads(path.read_text())["rows"]
        self.assertEqual(cells["ridgepoint"]["status"], "ok")
        self.assertEqual(rows, [])


class Argument:
    """An argument of a schema, as torch describes it."""

    def __init__(self, name, kind="TensorType", default=None):
        self.name, self.type, self.default_value = name, self, default
        self._kind = kind

    def kind(self):
        return self._kind

    def has_default_value(self):
        return self.default_value is not None


class ByName(unittest.TestCase):
    def operator(self, *arguments):
        class Operator:
            _schema = type("Schema", (), {"arguments": arguments})

            def __call__(self, *values):
                return values

        return Operator()

    def test_arguments_find_their_places(self):
        operator = self.operator(
            Argument("x"), Argument("extra", default=7), Argument("y"),
            Argument("maybe", "OptionalType"),
        )
        self.assertEqual(call_by_name(operator, {"y": 2, "x": 1}), (1, 7, 2, None))

    def test_a_new_argument_is_named(self):
        operator = self.operator(Argument("x"), Argument("rank", "IntType"))
        with self.assertRaisesRegex(TypeError, "rank is new"):
            call_by_name(operator, {"x": 1})


class Arguments(unittest.TestCase):
    def told(self, *args):
        """Exit status and what was said on standard error."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as end:
            run.main(list(args))
        code = end.exception.code
        return (code, said.getvalue()) if isinstance(code, int) else (1, f"{code}\n")

    def test_wrong_input_is_told_in_one_line(self):
        for args in (["--m", "1,0"], ["--ceilings", "4.3"], ["--ceilings", "nan,1"],
                     ["--op", "gemm"], ["--rounds", "0"], ["--lib", "absent.so"],
                     ["--only", "no such case"], ["--device", "tpu"]):
            code, said = self.told(*args)
            self.assertIn(code, (1, 2), args)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertTrue(said.startswith("run.py: "), said)

    def test_what_is_asked_for_is_listed(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = run.main(["--list", "--op", "attention-decode", "--batch", "2", "--context",
                               "7,9", "--model", "qwen3-14b", "--ceilings", "1,100"])
        lines = said.getvalue().splitlines()
        self.assertEqual((status, len(lines)), (0, 2))
        self.assertTrue(lines[1].startswith("attention-decode decode qwen3-14b 40/8x128 b2 of 9: "))
        self.assertTrue(lines[1].endswith("us"))

    def test_torch_is_not_imported_for_this(self):
        self.assertNotIn("torch", sys.modules)


if __name__ == "__main__":
    unittest.main()
