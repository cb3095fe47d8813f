"""The library's own kernels, called through the C ABI on the device's arrays and stream."""

from ctypes import byref, c_size_t, pointer

import numpy as np

import binding as rp
from contenders import Contender, Prepared
from packing import words_by_column, words_by_row
from shapes import GROUP, PAGE

LAYOUTS = {"gptq": rp.RP_LAYOUT_GPTQ, "compressed-tensors": rp.RP_LAYOUT_PACK_QUANTIZED}
# Tokens that are appended at a time while a cache is filled.
APPEND = 16384


def repack(library, weights, layout):
    """A checkpoint's int4 matrix, in the order that the kernels read, as numpy bytes."""
    words, scales = words_by_row(weights.q), weights.scale_words
    if layout == "gptq":
        words, scales = words_by_column(weights.q), np.ascontiguousarray(scales.T)
    given = rp.rp_int4_weights(
        layout=LAYOUTS[layout], n=weights.n, k=weights.k, group=GROUP,
        scale_dtype=rp.RP_DTYPE_BF16, words=words.ctypes.data, scales=scales.ctypes.data,
    )
    size = c_size_t()
    library.rp_repack_int4_size(byref(given), byref(size))
    packed = np.empty(size.value, np.uint8)
    library.rp_repack_int4(byref(given), packed.ctypes.data, packed.nbytes)
    return packed


class Ridgepoint(Contender):
    name = "ridgepoint"
    ops = ("gemm-bf16", "gemm-int4", "attention-decode", "attention-prefill")

    def __init__(self, device, layout="gptq"):
        super().__init__(device)
        self.kernels, self.layout = device.kernels, layout

    def takes(self, case):
        query = rp.rp_query(op=rp.RP_OP_GEMM, phase=rp.PHASES[case.phase])
        if case.op.startswith("attention"):
            query.op = rp.RP_OP_ATTENTION
            query.heads, query.page_tokens = rp.rp_heads(*case.heads), PAGE
        else:
            query.n, query.k, query.output = case.n, case.k, rp.RP_OUTPUT_BF16
            if case.format == "int4":
                query.format, query.group = rp.RP_WEIGHT_INT4, GROUP
        return self.kernels.why_not(query)

    def prepare(self, inputs, copies):
        if inputs.case.op.startswith("gemm"):
            return self._gemm(inputs, copies)
        return self._attention(inputs, copies)

    def _launch(self, name, op, out, held):
        """A launch that owns what it reads and writes."""

        def launch():
            self.kernels.follow(self.device.stream())
            self.kernels.run(name, op)
            return out

        launch.held = held
        return launch

    def _gemm(self, inputs, copies):
        device, case, weights = self.device, inputs.case, inputs.weights

        def pack():
            if case.format == "bf16":
                return weights.values
            return device.upload(repack(self.kernels.abi, weights, self.layout))

        # Those of bf16 are shared with the contenders that take them as they are.
        key = "values" if case.format == "bf16" else self.name
        launches = []
        for weight in weights.copies(device, key, pack, copies):
            x, out = device.clone(inputs.x), device.room((case.rows, case.n))
            op = rp.rp_gemm(
                phase=rp.PHASES[case.phase], rows=case.rows, n=case.n, k=case.k,
                output=rp.RP_OUTPUT_BF16, x=device.address(x), weight=device.address(weight),
                out=device.address(out),
            )
            if case.format == "int4":
                op.format, op.group = rp.RP_WEIGHT_INT4, GROUP
            room = self.kernels.gemm_workspace(op)
            workspace = device.zeros(room)
            op.workspace = device.address(workspace) if room else 0
            launches.append(self._launch("gemm", op, out, (x, weight, workspace)))
        return Prepared(launches)

    def _attention(self, inputs, copies):
        device, case = self.device, inputs.case
        shape = rp.rp_attention_shape(
            phase=rp.PHASES[case.phase], heads=rp.rp_heads(*case.heads),
            rows=case.batch * case.rows, sequences=case.batch, sequence_rows=case.rows,
            context=case.context, pages=inputs.tables.size, table_stride=case.pages,
        )
        sequences = [
            rp.rp_sequence(row=i * case.rows, rows=case.rows, position=case.context - case.rows,
                           table=i)
            for i in range(case.batch)
        ]
        plan, words = self.kernels.attention_plan(shape, sequences, inputs.tables)
        plan_at = device.upload(np.frombuffer(words, np.uint8))
        tables = device.upload(inputs.tables)
        _, room = self.kernels.attention_sizes(shape)
        filled = self._fill(inputs)
        launches = []
        for copy in range(copies):
            k, v = filled if copy == 0 else [device.clone(pool) for pool in filled]
            q, out = device.clone(inputs.q), device.room((case.batch * case.rows, *case.heads[::2]))
            workspace = device.zeros(room)
            op = rp.rp_attention(
                shape=pointer(shape), plan=pointer(plan), plan_at=device.address(plan_at),
                q=device.address(q), k_pages=device.address(k), v_pages=device.address(v),
                block_tables=device.address(tables), out=device.address(out),
                workspace=device.address(workspace) if room else 0,
            )
            held = (plan_at, tables, k, v, q, workspace)
            launches.append(self._launch("attention", op, out, held))
        return Prepared(launches)

    def _fill(self, inputs):
        """The case's keys and values in pages of ours, appended by `rp_rope_append`. The rotation
        is by zero, so that they are the very numbers that the other contenders have."""
        device, case = self.device, inputs.case
        query, kv, dim = case.heads
        tokens = inputs.tables.size * PAGE
        k_pages, v_pages = (device.room((inputs.tables.size, kv, PAGE, dim)) for _ in range(2))
        turn = np.tile(np.array([1, 0], np.float32), dim // 2)
        cos_sin = device.upload(turn)
        slots = np.full(tokens, rp.RP_NO_SLOT, np.uint32)
        for pages in inputs.tables:
            own = (pages[:, None] * PAGE + np.arange(PAGE, dtype=np.uint32)).reshape(-1)
            slots[own[: case.context]] = own[: case.context]
        for first in range(0, tokens, APPEND):
            last = min(first + APPEND, tokens)
            k, v = (
                device.part(pool, first // PAGE, last // PAGE, (last - first, kv, dim))
                for pool in (inputs.k, inputs.v)
            )
            # The queries of these rows are not looked at: whatever has the shape will do.
            qkv = device.join([k] * (query // kv) + [k, v])
            q_out = device.room((last - first, query, dim))
            positions = device.upload(np.zeros(last - first, np.uint32))
            slots_at = device.upload(slots[first:last])
            op = rp.rp_rope_append(
                qkv=device.address(qkv), cos_sin=device.address(cos_sin),
                positions=device.address(positions), slots=device.address(slots_at),
                q_out=device.address(q_out), k_pages=device.address(k_pages),
                v_pages=device.address(v_pages), heads=rp.rp_heads(*case.heads),
                tokens=last - first,
            )
            self.kernels.follow(device.stream())
            self.kernels.run("rope_append", op)
            # What it reads may be given back only when it has run.
            device.synchronize()
        return k_pages, v_pages


