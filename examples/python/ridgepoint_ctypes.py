"""Both layers of libridgepoint from Python, with ctypes and numpy alone.

    python3 ridgepoint_ctypes.py LIBRIDGEPOINT.so MODEL_DIRECTORY
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np

RP_OK, RP_DEVICE_SIM = 0, 1
EVENT_TOKEN, EVENT_FINISHED, EVENT_FAILED = 1, 2, 3


class Sized(ctypes.Structure):
    """A struct of the library: its first field is its size."""

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(self), **fields)


class EngineOptions(Sized):
    _fields_ = [
        ("size", c_size_t), ("device", c_char_p), ("quantize", c_char_p), ("draft", c_char_p),
        ("context", c_size_t), ("running", c_size_t), ("waiting", c_size_t),
        ("prefill_tokens", c_size_t), ("kv_pages", c_size_t), ("reserve_percent", c_size_t),
        ("depth", c_size_t), ("patience_ms", c_uint64), ("no_prefix_cache", c_uint32),
        ("share_generated", c_uint32),
    ]


class RequestOptions(Sized):
    _fields_ = [
        ("size", c_size_t), ("tokens", c_void_p), ("token_count", c_size_t), ("text", c_char_p),
        ("sampling", c_void_p), ("max_tokens", c_size_t), ("stop", c_void_p),
        ("stop_count", c_size_t), ("stop_tokens", c_void_p), ("stop_token_count", c_size_t),
        ("ignore_eos", c_uint32), ("priority", c_int), ("salt", c_uint64), ("callback", c_void_p),
        ("user_data", c_void_p),
    ]


class Event(Sized):
    _fields_ = [
        ("size", c_size_t), ("kind", c_uint32), ("token", c_uint32), ("text", c_char_p),
        ("text_bytes", c_size_t), ("logprob", c_float), ("reason", c_uint32), ("top", c_void_p),
        ("top_count", c_size_t), ("prompt_tokens", c_size_t), ("cached_tokens", c_size_t),
        ("output_tokens", c_size_t), ("queued_s", ctypes.c_double), ("prefill_s", ctypes.c_double),
        ("decode_s", ctypes.c_double), ("status", c_uint32), ("reserved", c_uint32),
    ]


class KernelsOptions(Sized):
    _fields_ = [
        ("size", c_size_t), ("device", c_uint32), ("sim_compute", c_uint32), ("stream", c_void_p),
    ]


class SiluMul(Sized):
    _fields_ = [
        ("size", c_size_t), ("gate_up", c_uint64), ("out", c_uint64), ("rows", c_uint32),
        ("intermediate", c_uint32),
    ]


class Library:
    """The shared library. A call that does not return RP_OK raises what it says."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.rp_error_message.restype = c_char_p

    def __getattr__(self, name):
        function = getattr(self.lib, name)

        def call(*args):
            status = function(*args)
            if status != RP_OK:
                text = self.lib.rp_error_message().decode()
                raise RuntimeError(f"{name}: status {status}: {text}")

        return call


def generate(rp, model, prompt):
    """The text that follows a prompt, a piece at a time."""
    engine, request = c_void_p(), c_void_p()
    options = EngineOptions(device=b"cpu", context=256)
    rp.rp_engine_create(model.encode(), byref(options), byref(engine))
    try:
        asked = RequestOptions(text=prompt.encode(), max_tokens=24)
        rp.rp_engine_submit(engine, byref(asked), byref(request))
        event = Event()
        while True:
            rp.rp_request_poll(request, c_uint64(60_000), byref(event))
            if event.kind == EVENT_FAILED:
                raise RuntimeError(event.text.decode())
            yield event.text.decode()
            if event.kind == EVENT_FINISHED:
                break
        rp.rp_request_destroy(request)
    finally:
        rp.rp_engine_destroy(engine)


def to_bf16(x):
    """f32 to bf16, to the nearest even, as 16-bit words."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def silu_mul(rp):
    """A kernel on the simulator against numpy."""
    rows, intermediate = 3, 64
    kernels = c_void_p()
    options = KernelsOptions(device=RP_DEVICE_SIM)
    rp.rp_kernels_create(byref(options), byref(kernels))
    rng = np.random.default_rng(0)
    gate_up = to_bf16(rng.standard_normal((rows, 2, intermediate)))
    out = np.zeros((rows, intermediate), np.uint16)

    def alloc(array):
        at = c_uint64()
        rp.rp_memory_alloc(kernels, c_size_t(array.nbytes), byref(at))
        data = array.ctypes.data_as(POINTER(ctypes.c_uint8))
        rp.rp_memory_write(kernels, at, data, c_size_t(array.nbytes))
        return at.value

    op = SiluMul(gate_up=alloc(gate_up), out=alloc(out), rows=rows, intermediate=intermediate)
    rp.rp_silu_mul_run(kernels, byref(op))
    data = out.ctypes.data_as(POINTER(ctypes.c_uint8))
    rp.rp_memory_read(kernels, c_uint64(op.out), data, c_size_t(out.nbytes))
    gate, up = (from_bf16(gate_up[:, i]).astype(np.float64) for i in (0, 1))
    error = np.abs(from_bf16(out) - gate / (1 + np.exp(-gate)) * up).max()
    rp.rp_kernels_destroy(kernels)
    assert error < 0.05, error
    return error


def main():
    rp = Library(sys.argv[1])
    for text in generate(rp, sys.argv[2], "Once upon a time"):
        print(text, end="")
    print(f"\nsilu_mul: largest error {silu_mul(rp):.4f}")


if __name__ == "__main__":
    main()
