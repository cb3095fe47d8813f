"""Contenders that PyTorch brings: cuBLAS, `_weight_int4pack_mm`, and the backends of SDPA.

Each call of a peer stands in a function of its own, with where its signature is from. None has
run on a GPU yet.
"""

from contenders import Contender, Prepared
from packing import bytes_by_row
from shapes import GROUP


def torch():
    """The module, imported only when a contender is called on a device of torch."""
    import torch

    return torch


def needs_torch(device):
    return None if device.name == "cuda" else "needs PyTorch and a GPU"


def call_matmul(x, weight, out):
    """https://docs.pytorch.org/docs/stable/generated/torch.mm.html: mm(input, mat2, out)"""
    return torch().mm(x, weight.t(), out=out)


class Cublas(Contender):
    name = "cuBLAS"
    ops = ("gemm-bf16",)

    def available(self):
        return needs_torch(self.device)

    def prepare(self, inputs, copies):
        device, case = self.device, inputs.case
        launches = []
        weights = inputs.weights
        for weight in weights.copies(device, "values", lambda: weights.values, copies):
            x, out = device.clone(inputs.x), device.room((case.rows, case.n))
            launches.append(lambda x=x, w=weight, out=out: call_matmul(x, w, out))
        return Prepared(launches)


def call_int4_convert(packed):
    """aten/src/ATen/native/native_functions.yaml of PyTorch 2.11:
    _convert_weight_to_int4pack(Tensor self, int innerKTiles), self uint8 `[n, k / 2]` on CUDA"""
    return torch().ops.aten._convert_weight_to_int4pack(packed, 8)


def call_int4_product(x, packed, scales_and_zeros):
    """The same file: _weight_int4pack_mm(Tensor self, Tensor mat2, int qGroupSize,
    Tensor qScaleAndZeros); W = (q - 8) * scale + zero, scale and zero side by side in bf16
    `[k / group, n, 2]`"""
    return torch().ops.aten._weight_int4pack_mm(x, packed, GROUP, scales_and_zeros)


class Int4Pack(Contender):
    name = "int4pack_mm"
    ops = ("gemm-int4",)

    def available(self):
        return needs_torch(self.device)

    def prepare(self, inputs, copies):
        device, weights = self.device, inputs.weights

        def pack():
            return call_int4_convert(device.upload(bytes_by_row(weights.q)))

        def scales():
            scales = weights.scales.t().contiguous()
            return torch().stack((scales, torch().zeros_like(scales)), -1).contiguous()

        launches = []
        packed = weights.copies(device, self.name, pack, copies)
        for weight, scale in zip(packed, weights.copies(device, "scale_zero", scales, copies)):
            x = device.clone(inputs.x)
            launches.append(lambda x=x, w=weight, s=scale: call_int4_product(x, w, s))
        return Prepared(launches)


def call_sdpa(q, k, v, causal, backend):
    """https://docs.pytorch.org/docs/stable/generated/
    torch.nn.functional.scaled_dot_product_attention.html and torch.nn.attention.sdpa_kernel.html:
    q `[b, query, rows, d]`, k and v `[b, kv, t, d]`. With one backend allowed, a call that it does
    not take raises; nothing falls back to another."""
    attention = torch().nn.attention
    with attention.sdpa_kernel([getattr(attention.SDPBackend, backend)]):
        return torch().nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal, enable_gqa=True
        )


def contiguous(device, inputs, pool):
    """Keys or values as `[b, t, kv, d]`, copied from their pages."""
    case = inputs.case
    _, kv, dim = case.heads
    pages = pool[device.indices(inputs.tables.reshape(-1).tolist())]
    return pages.reshape(case.batch, -1, kv, dim)[:, : case.context]


class Sdpa(Contender):
    """One backend. Keys and values lie together, without pages: an easier layout than ours."""

    ops = ("attention-decode", "attention-prefill")
    backend = ""

    def available(self):
        return needs_torch(self.device)

    def prepare(self, inputs, copies):
        device, case = self.device, inputs.case
        query, _, dim = case.heads
        causal = case.phase == "prefill"  # A single row sees all there is.
        whole = [contiguous(device, inputs, pool) for pool in (inputs.k, inputs.v)]
        launches = []
        for copy in range(copies):
            k, v = whole if copy == 0 else [device.clone(part) for part in whole]
            q = device.clone(inputs.q).reshape(case.batch, case.rows, query, dim)
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            launches.append(lambda q=q, k=k, v=v: call_sdpa(q, k, v, causal, self.backend))
        return Prepared(launches, lambda out: out.transpose(1, 2).reshape(-1, query, dim))


class FlashAttention2(Sdpa):
    name = "SDPA flash"
    backend = "FLASH_ATTENTION"


class CudnnAttention(Sdpa):
    name = "SDPA cuDNN"
    backend = "CUDNN_ATTENTION"
