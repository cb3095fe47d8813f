"""Contenders in the compiled parts of the vllm wheel: Marlin and Machete in
`_C_stable_libtorch.abi3.so`, FlashAttention-3 in `_vllm_fa3_C.abi3.so`. They are found in an
installed vllm, or at paths that are given (the wheel is a zip archive: unpacking it is enough).

Arguments are passed by the names in an operator's own schema, since their number has grown from
version to version; one that is unknown here and has no default is named in the reason. None has
run on a GPU yet.
"""

import importlib.util
import pathlib

from contenders import Contender, Prepared
from packing import words_by_column
from peer_torch import needs_torch, torch
from shapes import GROUP

# vllm/scalar_type.py, scalar_types.uint4b8.id: from the low end 8 bits of exponent, 8 of mantissa,
# a sign, 32 bits of bias, finiteness, and how NaN is told; 4 bits that mean themselves less 8.
UINT4B8 = 4 << 8 | 8 << 17 | 1 << 50


def call_by_name(operator, given):
    """Calls `torch.ops.<library>.<name>.default` with what its schema asks for."""
    arguments = []
    for argument in operator._schema.arguments:
        if argument.name in given:
            arguments.append(given[argument.name])
        elif argument.has_default_value():
            arguments.append(argument.default_value)
        elif argument.type.kind() == "OptionalType":
            arguments.append(None)
        else:
            raise TypeError(f"{operator}: argument {argument.name} is new here")
    return operator(*arguments)


def installed(*names):
    """A file of an installed vllm, without importing it."""
    found = importlib.util.find_spec("vllm")
    for folder in (found.submodule_search_locations or []) if found else []:
        for name in names:
            path = pathlib.Path(folder, name)
            if path.exists():
                return str(path)
    return None


class Wheel(Contender):
    """A contender behind a library that `torch.ops.load_library` reads."""

    option, files, namespace, needed = "", (), "", ()

    def __init__(self, device, path=None):
        super().__init__(device)
        self.path, self.loaded, self.failure = path, False, None

    def available(self):
        missing = needs_torch(self.device)
        if missing or self.loaded:
            return missing
        if self.failure is None:
            self.failure = self._load()
            self.loaded = self.failure is None
        return self.failure

    def _load(self):
        path = self.path or installed(*self.files)
        if path is None:
            return f"vllm is not installed; give --{self.option} PATH to {self.files[0]}"
        try:
            torch().ops.load_library(path)
            for name in self.needed:
                self.operator(name)
        except (OSError, RuntimeError, AttributeError) as error:
            return f"{path}: {error}"
        return None

    def operator(self, name):
        return getattr(getattr(torch().ops, self.namespace), name).default


def call_marlin_repack(operator, words, k, n):
    """csrc/libtorch_stable/torch_bindings.cpp of vllm: gptq_marlin_repack(Tensor b_q_weight,
    Tensor perm, SymInt size_k, SymInt size_n, int num_bits, bool is_a_8bit); words int32
    `[k / 8, n]`"""
    nothing = torch().empty(0, dtype=torch().int32, device=words.device)
    return call_by_name(operator, {
        "b_q_weight": words, "perm": nothing, "size_k": k, "size_n": n, "num_bits": 4,
        "is_a_8bit": False,
    })


def marlin_scales(scales):
    """Scales `[k / group, n]` in the order of Marlin's fragments, as marlin_permute_scales in
    vllm/model_executor/layers/quantization/utils/marlin_utils.py: of each 64 neighbours an 8 x 8
    transpose."""
    groups, n = scales.shape
    return scales.reshape(-1, 8, 8).swapaxes(1, 2).reshape(groups, n)


def call_marlin(operator, x, weight, scales, workspace, n):
    """csrc/libtorch_stable/torch_bindings.cpp of vllm: marlin_gemm(Tensor a, Tensor? c_or_none,
    Tensor b_q_weight, Tensor? b_bias_or_none, Tensor b_scales, Tensor? a_scales,
    Tensor? global_scale, Tensor? b_zeros_or_none, Tensor? g_idx_or_none, Tensor? perm_or_none,
    Tensor workspace, int b_type_id, SymInt size_m, SymInt size_n, SymInt size_k, bool is_k_full,
    bool use_atomic_add, bool use_fp32_reduce, bool is_zp_float)"""
    return call_by_name(operator, {
        "a": x, "b_q_weight": weight, "b_scales": scales, "workspace": workspace,
        "b_type_id": UINT4B8, "size_m": x.shape[0], "size_n": n, "size_k": x.shape[1],
        "is_k_full": True, "use_atomic_add": False, "use_fp32_reduce": True, "is_zp_float": False,
    })


class Marlin(Wheel):
    name = "Marlin"
    ops = ("gemm-int4",)
    option, namespace = "vllm", "_C"
    files = ("_C_stable_libtorch.abi3.so", "_C.abi3.so")
    needed = ("marlin_gemm", "gptq_marlin_repack")

    def takes(self, case):
        fits = case.n % 64 == 0 and case.k % 128 == 0
        return None if fits else "n is no multiple of 64 or k none of 128"

    def prepare(self, inputs, copies):
        device, weights = self.device, inputs.weights
        n, k = weights.n, weights.k

        def pack():
            words = device.upload(words_by_column(weights.q))
            return call_marlin_repack(self.operator("gptq_marlin_repack"), words, k, n)

        def scales():
            return marlin_scales(weights.scales.t().contiguous())

        operator, launches = self.operator("marlin_gemm"), []
        packed = weights.copies(device, self.name, pack, copies)
        for weight, scale in zip(packed, weights.copies(device, "marlin_s", scales, copies)):
            # An int for each block that can run; four on each multiprocessor are more than there
            # are.
            count = 4 * device.properties.multi_processor_count
            workspace = torch().zeros(count, dtype=torch().int32, device=device.at)
            launches.append(
                lambda x=device.clone(inputs.x), w=weight, s=scale, room=workspace:
                call_marlin(operator, x, w, s, room, n)
            )
        return Prepared(launches)


def call_machete_prepack(operator, words):
    """csrc/libtorch_stable/torch_bindings.cpp of vllm: machete_prepack_B(Tensor B,
    ScalarType a_type, int b_type, ScalarType? group_scales_type); B int32 `[k / 8, n]`, column by
    column, as machete_quantize_and_pack in tests/kernels/quantization/test_machete_mm.py does"""
    bf16 = torch().bfloat16
    return call_by_name(operator, {
        "B": words.t().contiguous().t(), "a_type": bf16, "b_type": UINT4B8,
        "group_scales_type": bf16,
    })


def call_machete(operator, x, weight, scales):
    """The same file: machete_mm(Tensor A, Tensor B, int b_type, ScalarType? out_type,
    Tensor? group_scales, Tensor? group_zeros, int? group_size, Tensor? channel_scales,
    Tensor? token_scales, str? schedule); scales `[k / group, n]`"""
    return call_by_name(operator, {
        "A": x, "B": weight, "b_type": UINT4B8, "out_type": torch().bfloat16,
        "group_scales": scales, "group_size": GROUP,
    })


class Machete(Wheel):
    name = "Machete"
    ops = ("gemm-int4",)
    option, namespace = "vllm", "_C"
    files = Marlin.files
    needed = ("machete_mm", "machete_prepack_B")

    def takes(self, case):
        if self.device.properties.major != 9:
            return "is for compute capability 9.0"
        fits = case.n % 128 == 0 and case.k % 64 == 0
        return None if fits else "n is no multiple of 128 or k none of 64"

    def prepare(self, inputs, copies):
        device, weights = self.device, inputs.weights

        def pack():
            words = device.upload(words_by_column(weights.q))
            return call_machete_prepack(self.operator("machete_prepack_B"), words)

        def scales():
            return weights.scales.t().contiguous()

        operator, launches = self.operator("machete_mm"), []
        packed = weights.copies(device, self.name, pack, copies)
        for weight, scale in zip(packed, weights.copies(device, "by_group", scales, copies)):
            launches.append(
                lambda x=device.clone(inputs.x), w=weight, s=scale: call_machete(operator, x, w, s)
            )
        return Prepared(launches)


def call_flash_attention_3(operator, q, k, v, out, pages):
    """hopper/flash_api_stable_registration.cpp of vllm-project/flash-attention, and
    flash_attn_varlen_func in vllm/vllm_flash_attn/flash_attn_interface.py: q `[rows, query, d]`
    with `cu_seqlens_q`, k and v `[pages, 64, kv, d]` with `page_table` and `seqused_k`; num_splits
    0 is its own choice. Without `scheduler_metadata` each call makes its schedule anew"""
    return call_by_name(operator, {
        "q": q, "k": k, "v": v, "out": out, "softmax_scale": q.shape[-1] ** -0.5,
        "is_causal": True, "window_size_left": -1, "window_size_right": -1, "softcap": 0.0,
        "is_rotary_interleaved": True, "num_splits": 0, "sm_margin": 0, "cp_world_size": 1,
        "cp_rank": 0, **pages,
    })[0]


class FlashAttention3(Wheel):
    name = "FlashAttention-3"
    ops = ("attention-decode", "attention-prefill")
    option, namespace = "fa3", "_vllm_fa3_C"
    files = ("vllm_flash_attn/_vllm_fa3_C.abi3.so",)
    needed = ("fwd",)

    def takes(self, case):
        return None if self.device.properties.major == 9 else "is for compute capability 9.0"

    def prepare(self, inputs, copies):
        device, case = self.device, inputs.case
        whole = lambda values: torch().tensor(values, dtype=torch().int32, device=device.at)
        pages = {
            "cu_seqlens_q": whole([i * case.rows for i in range(case.batch + 1)]),
            "seqused_k": whole([case.context] * case.batch),
            "max_seqlen_q": case.rows, "max_seqlen_k": case.context,
            "page_table": device.upload(inputs.tables),
        }
        operator, launches = self.operator("fwd"), []
        for copy in range(copies):
            pools = inputs.k, inputs.v
            k, v = pools if copy == 0 else map(device.clone, pools)
            q, out = device.clone(inputs.q), device.room(tuple(inputs.q.shape))
            launches.append(
                lambda q=q, k=k, v=v, out=out:
                call_flash_attention_3(operator, q, k, v, out, pages)
            )
        return Prepared(launches)
