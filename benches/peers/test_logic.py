"""Shapes, floors, packing, the reference, the order of samples, the table and the header.

    PYTHONPATH=.toolkit/numpy python3 -m unittest discover -s benches/peers
"""

import ctypes
import json
import pathlib
import re
import tempfile
import unittest

import numpy as np

import binding
import packing
import peer_vllm
import reference
import report
import shapes
import timing
from inputs import AttentionInputs, Weights

HEADER = pathlib.Path(__file__).resolve().parents[2] / "include" / "ridgepoint.h"


class Host:
    """Arrays of numpy in float64, in the place of a device."""

    xp = np

    def bf16(self, shape, seed, scale=1.0):
        return np.random.default_rng(seed).normal(0, scale, shape)

    def upload(self, host):
        return host

    def upload_bf16(self, words):
        return packing.from_bf16(words)

    def clone(self, array):
        return array.copy()

    def f64(self, array, rows=None):
        return np.asarray(array if rows is None else array[list(rows)], np.float64)

    def indices(self, values):
        return np.asarray(list(values))


class Shapes(unittest.TestCase):
    def test_floors_are_those_that_the_design_counts(self):
        # Microseconds of Llama-3.1-8B at 4.3 TB/s: weights alone, which one row hardly adds to.
        told = {("bf16", "qkv"): 11.7, ("bf16", "o"): 7.8, ("bf16", "gate_up"): 54.6,
                ("bf16", "down"): 27.3, ("int4", "qkv"): 3.0, ("int4", "o"): 2.0,
                ("int4", "gate_up"): 14.1, ("int4", "down"): 7.0}
        found = {}
        for case in shapes.cases([shapes.MODELS[0]], shapes.Sizes()):
            if case.op.startswith("gemm") and case.rows == 1 and case.matrix != "head":
                floor = shapes.floor_seconds(case, (4.3e12, 790e12))
                found[case.format, case.matrix] = floor * 1e6
        self.assertEqual(found.keys(), told.keys())
        for key, floor in found.items():
            self.assertAlmostEqual(floor, told[key], delta=0.15, msg=key)

    def test_many_rows_are_bound_by_arithmetic(self):
        case = shapes.Gemm("prefill", "bf16", "x", "y", 4096, 6144, 8192)
        self.assertEqual(shapes.floor_seconds(case, (4e12, 8e14)), case.flops() / 8e14)
        self.assertIsNone(shapes.floor_seconds(case, None))

    def test_attention_counts_what_is_seen(self):
        decode = shapes.Attention("decode", "x", (32, 8, 128), 8, 1000)
        self.assertEqual(decode.bytes(), 8 * (2 * 1000 * 8 + 2 * 32) * 128 * 2)
        self.assertEqual(decode.flops(), 8 * 32 * 1000 * 128 * 4)
        prefill = shapes.Attention("prefill", "x", (32, 8, 128), 1, 100)
        self.assertEqual(prefill.flops(), 32 * 5050 * 128 * 4)
        self.assertEqual((prefill.rows, prefill.pages), (100, 2))

    def test_every_listed_shape_is_a_case(self):
        found = shapes.cases(shapes.MODELS, shapes.Sizes(), square=True)
        products = {(case.k, case.n) for case in found if case.op == "gemm-bf16"}
        listed = {(4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096), (4096, 128256),
                  (4096, 24576), (12288, 4096), (4096, 151936), (5120, 7168), (5120, 5120),
                  (5120, 34816), (17408, 5120), (1024, 4096), (2048, 1024), (1024, 6144),
                  (3072, 1024), (1024, 151936), (8192, 8192)}
        self.assertEqual(products - listed, {(5120, 151936)})
        self.assertEqual(listed - products, set())
        rows = {case.rows for case in found if case.op == "gemm-int4"}
        self.assertEqual(rows, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048, 8192})
        self.assertEqual(len({(c.op, c.phase, c.label) for c in found}), len(found))


class Packing(unittest.TestCase):
    def setUp(self):
        self.q = np.random.default_rng(0).integers(0, 16, (6, 32), np.uint8)

    def test_words_hold_eight_columns_from_the_low_end(self):
        words = packing.words_by_row(self.q)
        self.assertEqual(words.shape, (6, 4))
        self.assertEqual(int(words[2, 1]) >> 12 & 15, self.q[2, 11])
        by_column = packing.words_by_column(self.q)
        self.assertEqual(int(by_column[3, 5]) >> 28, self.q[5, 31])

    def test_bytes_hold_two_columns_from_the_high_end(self):
        packed = packing.bytes_by_row(self.q)
        self.assertEqual(packed[1, 3], self.q[1, 6] * 16 + self.q[1, 7])

    def test_bf16_rounds_to_even(self):
        ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -2.5], np.float32)
        back = packing.from_bf16(packing.to_bf16(ties))
        self.assertEqual(back.tolist(), [1.0, 1 + 2**-6, -2.5])

    def test_marlin_scales_are_transposed_by_eight(self):
        scales = np.arange(2 * 128).reshape(2, 128)
        found = peer_vllm.marlin_scales(scales)
        # vllm's get_scale_perms: position 8 i + j of 64 holds i + 8 j.
        for i, j in ((0, 1), (3, 5), (7, 7)):
            self.assertEqual(found[1, 64 + 8 * i + j], scales[1, 64 + i + 8 * j])

    def test_the_type_that_vllm_calls_uint4b8(self):
        # What `vllm.scalar_type.scalar_types.uint4b8.id` gives.
        self.assertEqual(peer_vllm.UINT4B8, 1125899907892224)


class Reference(unittest.TestCase):
    def test_attention_is_causal_grouped_and_paged(self):
        device = Host()
        case = shapes.Attention("prefill", "x", (4, 2, 8), 1, 70)
        inputs = AttentionInputs(device, case)
        rows, found = reference.expected(device, inputs)
        self.assertEqual((rows[0], rows[-1], len(rows)), (0, 69, 16))
        k, v = (inputs.sequence(device, pool, 0) for pool in (inputs.k, inputs.v))
        row, head = rows[7], 3
        scores = np.exp(k[: row + 1, 1] @ inputs.q[row, head] / 8**0.5)
        expected = scores @ v[: row + 1, 1] / scores.sum()
        np.testing.assert_allclose(found[7, head], expected, rtol=1e-12)

    def test_sequences_of_a_batch_are_apart(self):
        device = Host()
        case = shapes.Attention("decode", "x", (2, 1, 8), 3, 65)
        inputs = AttentionInputs(device, case)
        self.assertEqual(inputs.tables.tolist(), [[0, 3], [1, 4], [2, 5]])
        _, before = reference.expected(device, inputs)
        inputs.k[4, 0] += 1  # The last position of the second.
        inputs.k[4, 1] += 1  # Behind it.
        _, after = reference.expected(device, inputs)
        self.assertEqual((before != after).any((1, 2)).tolist(), [False, True, False])
        inputs.k[4, 1:] = 1e9
        np.testing.assert_array_equal(reference.expected(device, inputs)[1], after)

    def test_int4_weights_are_scaled_by_group(self):
        weights = Weights(Host(), "int4", 4, 256)
        full = weights.f64(Host(), [1, 3])
        scale = packing.from_bf16(weights.scale_words)[3, 1]
        self.assertEqual(full[1, 200], (int(weights.q[3, 200]) - 8) * np.float64(scale))

    def test_one_wrong_row_is_enough(self):
        right = np.random.default_rng(0).normal(size=(1000, 64))
        self.assertTrue(reference.is_right(reference.worst_row(right + 1e-4, right, np)))
        wrong = right.copy()
        wrong[700] = right[699]
        self.assertFalse(reference.is_right(reference.worst_row(wrong, right, np)))
        wrong[700, 5] = np.nan
        self.assertFalse(reference.is_right(reference.worst_row(wrong, right, np)))


class Timing(unittest.TestCase):
    class Clock:
        """A recording whose time grows with every sample of any."""

        def __init__(self, log, name, base):
            self.log, self.name, self.base = log, name, base

        def sample(self):
            self.log.append(self.name)
            return self.base * (1 + 0.01 * len(self.log))

    def test_contenders_take_turns(self):
        log = []
        ours, peer = self.Clock(log, "A", 1.0), self.Clock(log, "B", 3.0)
        pairs = timing.alternate(ours, peer, 2)
        self.assertEqual("".join(log), "ABBAABBA")
        # The drift is in both alike.
        self.assertAlmostEqual(timing.ratio(*pairs), 3.0, places=9)
        self.assertEqual([len(p) for p in pairs], [2, 2])

    def test_a_summary_is_a_median(self):
        told = timing.summary([(1.0, 5.0), (2.0, 3.0), (4.0, 100.0)])
        self.assertEqual((told["time_s"], told["samples"]), (3.5, 6))
        self.assertEqual(told["quartiles_s"], [2.25, 4.75])


class Report(unittest.TestCase):
    def test_a_line_of_the_table(self):
        lines = []
        row = {
            "op": "gemm-bf16", "phase": "decode", "label": "m qkv 1x2 m1",
            "floor": {"time_s": 8e-6},
            "cells": {
                "ridgepoint": {"status": "ok", "error": 1e-3, "time_s": 1e-5},
                "fast": {"status": "ok", "error": 1e-3, "time_s": 2e-5, "ratio": 2.0},
                "slow": {"status": "failed", "reason": "RuntimeError: no"},
            },
        }
        table = report.Table(lines.append)
        table.row(row, ("ridgepoint", "fast", "slow"))
        table.row(row, ("ridgepoint", "fast", "slow"))
        self.assertEqual(lines[0].split(), "gemm-bf16 floor us ridgepoint fast slow".split())
        cells = "m qkv 1x2 m1 (decode) 8.00 10.00 80 % 20.00 40 % 2.00x failed"
        self.assertEqual(lines[1].split(), cells.split())
        self.assertEqual(lines[2].strip(), "slow: RuntimeError: no")
        self.assertEqual(lines[3:], lines[1:3])

    def test_without_times_the_error_is_told(self):
        cell = {"status": "ok", "error": 0.00123}
        self.assertEqual(report.cell_text(cell, None, True), "ok 1.2e-03")
        self.assertIsNone(report.share(cell, 1.0))

    def test_the_file_is_whole_after_each_row(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "result.json")
            results = report.Results(path, {"commit": "c"})
            case = shapes.Gemm("decode", "int4", "x", "y", 256, 16, 1)
            results.row(case, None, 2)["cells"]["ridgepoint"] = {"status": "ok"}
            results.save()
            found = json.loads(path.read_text())
            self.assertEqual([p.name for p in path.parent.iterdir()], ["result.json"])
        self.assertEqual((found["schema"], found["finished"]), ("ridgepoint-peers/1", None))
        row = found["rows"][0]
        self.assertEqual(row["shape"]["group"], 128)
        self.assertEqual(row["floor"], {"bytes": 2656, "flops": 8192, "time_s": None})


class Binding(unittest.TestCase):
    def test_structs_and_constants_are_those_of_the_header(self):
        text = re.sub(r"//[^\n]*", "", HEADER.read_text())
        types = {"uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
                 "size_t": ctypes.c_size_t, "float": ctypes.c_float}
        seen = 0
        for name, struct in vars(binding).items():
            if not name.startswith("rp_"):
                continue
            body = re.search(rf"typedef struct {name} {{(.*?)}} {name};", text, re.S)
            self.assertIsNotNone(body, f"{name} is not in the header")
            fields = []
            for kind, at, field in re.findall(r"([\w ]+?)\s*(\*?)(\w+);", body[1]):
                kind = kind.strip().removeprefix("struct ").removeprefix("const ").strip()
                fields.append((field, "*" if at else types.get(kind) or getattr(binding, kind)))
            own = [
                (field, "*" if kind is ctypes.c_void_p or hasattr(kind, "contents") else kind)
                for field, kind in struct._fields_
            ]
            self.assertEqual(own, fields, name)
            seen += 1
        self.assertEqual(seen, 11)
        for name, value in vars(binding).items():
            if name.startswith("RP_") and name != "RP_OK":
                found = re.search(rf"#define {name} (\S+)", text)
                self.assertIsNotNone(found, f"{name} is not in the header")
                told = 0xFFFF_FFFF if found[1] == "UINT32_MAX" else int(found[1])
                self.assertEqual(value, told, name)
        for name in binding.FUNCTIONS:
            self.assertRegex(text, rf"\b{name}\(")


if __name__ == "__main__":
    unittest.main()
