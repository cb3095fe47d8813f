"""FlashInfer, where it is installed. It compiles its kernels at their first use, which needs nvcc.

Has not run on a GPU yet.
"""

import importlib.util

from contenders import Contender, Prepared
from peer_torch import needs_torch, torch
from shapes import PAGE

WORKSPACE_BYTES = 256 << 20


def plan_decode(module, workspace, case, pages):
    """https://docs.flashinfer.ai/api/attention.html, BatchDecodeWithPagedKVCacheWrapper:
    (float_workspace_buffer, kv_layout, use_tensor_cores); plan(indptr, indices, last_page_len,
    num_qo_heads, num_kv_heads, head_dim, page_size, q_data_type, kv_data_type). Tensor cores are
    its documentation's advice for grouped heads."""
    query, kv, dim = case.heads
    wrapper = module.BatchDecodeWithPagedKVCacheWrapper(
        workspace, "NHD", use_tensor_cores=query // kv >= 4
    )
    wrapper.plan(
        *pages, query, kv, dim, PAGE, q_data_type=torch().bfloat16,
        kv_data_type=torch().bfloat16,
    )
    return wrapper


def plan_prefill(module, workspace, case, pages, rows):
    """The same page, BatchPrefillWithPagedKVCacheWrapper: (float_workspace_buffer, kv_layout);
    plan(qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, num_qo_heads,
    num_kv_heads, head_dim_qk, page_size, causal, q_data_type, kv_data_type)"""
    query, kv, dim = case.heads
    wrapper = module.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
    wrapper.plan(
        rows, *pages, query, kv, dim, PAGE, causal=True, q_data_type=torch().bfloat16,
        kv_data_type=torch().bfloat16,
    )
    return wrapper


def call_run(wrapper, q, k, v, out):
    """The same page: run(q, paged_kv_cache, out), the cache a pair of `[pages, 64, kv, d]`"""
    return wrapper.run(q, (k, v), out=out)


class FlashInfer(Contender):
    name = "FlashInfer"
    ops = ("attention-decode", "attention-prefill")

    def available(self):
        missing = needs_torch(self.device)
        if missing is None and importlib.util.find_spec("flashinfer") is None:
            return "flashinfer is not installed"
        return missing

    def prepare(self, inputs, copies):
        import flashinfer

        device, case = self.device, inputs.case
        whole = lambda values: torch().tensor(values, dtype=torch().int32, device=device.at)
        pages = (
            whole([i * case.pages for i in range(case.batch + 1)]),
            device.upload(inputs.tables.reshape(-1)),
            whole([case.context - (case.pages - 1) * PAGE] * case.batch),
        )
        workspace = device.zeros(WORKSPACE_BYTES)
        if case.phase == "decode":
            wrapper = plan_decode(flashinfer, workspace, case, pages)
        else:
            rows = whole([i * case.rows for i in range(case.batch + 1)])
            wrapper = plan_prefill(flashinfer, workspace, case, pages, rows)
        launches = []
        for copy in range(copies):
            pools = inputs.k, inputs.v
            k, v = pools if copy == 0 else map(device.clone, pools)
            q, out = device.clone(inputs.q), device.room(tuple(inputs.q.shape))
            launches.append(lambda q=q, k=k, v=v, out=out: call_run(wrapper, q, k, v, out))
        return Prepared(launches)
