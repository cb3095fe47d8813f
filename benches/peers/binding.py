"""The kernel layer of libridgepoint (include/ridgepoint.h) by ctypes.

Structs carry the names and fields of the header; a test beside this file compares the two. Every
address is that of device memory, as an integer.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_size_t, c_uint32, c_uint64, c_void_p

RP_OK = 0
RP_DEVICE_CURRENT, RP_DEVICE_SIM = 0, 1
RP_PHASE_PREFILL, RP_PHASE_DECODE = 0, 1
RP_OP_ATTENTION, RP_OP_GEMM = 0, 1
RP_WEIGHT_BF16, RP_WEIGHT_INT4 = 0, 1
RP_OUTPUT_BF16 = 0
RP_LAYOUT_GPTQ, RP_LAYOUT_PACK_QUANTIZED = 0, 3
RP_DTYPE_BF16 = 2
RP_NO_SLOT = 0xFFFF_FFFF
RP_PAGE_TOKENS = 64

PHASES = {"prefill": RP_PHASE_PREFILL, "decode": RP_PHASE_DECODE}


class Sized(ctypes.Structure):
    """A struct whose first field is its size."""

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(self), **fields)


class rp_heads(ctypes.Structure):
    _fields_ = [("query", c_uint32), ("kv", c_uint32), ("dim", c_uint32)]


class rp_sequence(ctypes.Structure):
    _fields_ = [
        ("row", c_uint32), ("rows", c_uint32), ("position", c_uint32), ("table", c_uint32),
    ]


class rp_kernels_options(Sized):
    _fields_ = [
        ("size", c_size_t), ("device", c_uint32), ("sim_compute", c_uint32), ("stream", c_void_p),
    ]


class rp_query(Sized):
    _fields_ = [
        ("size", c_size_t), ("op", c_uint32), ("phase", c_uint32), ("heads", rp_heads),
        ("page_tokens", c_uint32), ("format", c_uint32), ("group", c_uint32),
        ("zero_points", c_uint32), ("output", c_uint32), ("n", c_uint32), ("k", c_uint32),
    ]


class rp_gemm(Sized):
    _fields_ = [
        ("size", c_size_t), ("phase", c_uint32), ("format", c_uint32), ("group", c_uint32),
        ("zero_points", c_uint32), ("rows", c_uint32), ("n", c_uint32), ("k", c_uint32),
        ("output", c_uint32), ("x", c_uint64), ("weight", c_uint64), ("bias", c_uint64),
        ("norm_squares", c_uint64), ("out", c_uint64), ("stream", c_uint64), ("gamma", c_uint64),
        ("squares", c_uint64), ("workspace", c_uint64), ("epsilon", c_float),
        ("reserved", c_uint32),
    ]


class rp_int4_weights(Sized):
    _fields_ = [
        ("size", c_size_t), ("layout", c_uint32), ("n", c_uint32), ("k", c_uint32),
        ("group", c_uint32), ("zero_points", c_uint32), ("scale_dtype", c_uint32),
        ("words", c_void_p), ("scales", c_void_p), ("zeros", c_void_p),
        ("group_index", c_void_p),
    ]


class rp_attention_shape(Sized):
    _fields_ = [
        ("size", c_size_t), ("phase", c_uint32), ("heads", rp_heads), ("rows", c_uint32),
        ("sequences", c_uint32), ("sequence_rows", c_uint32), ("context", c_uint32),
        ("pages", c_uint32), ("table_stride", c_uint32),
    ]


class rp_attention_sizes(Sized):
    _fields_ = [("size", c_size_t), ("plan_bytes", c_size_t), ("workspace_bytes", c_size_t)]


class rp_attention_plan(Sized):
    _fields_ = [
        ("size", c_size_t), ("bytes", c_size_t), ("tiles", c_uint32), ("tile_rows", c_uint32),
    ]


class rp_attention(Sized):
    _fields_ = [
        ("size", c_size_t), ("shape", POINTER(rp_attention_shape)),
        ("plan", POINTER(rp_attention_plan)), ("plan_at", c_uint64), ("q", c_uint64),
        ("k_pages", c_uint64), ("v_pages", c_uint64), ("block_tables", c_uint64),
        ("out", c_uint64), ("workspace", c_uint64), ("window", c_uint32),
        ("reserved", c_uint32),
    ]


class rp_rope_append(Sized):
    _fields_ = [
        ("size", c_size_t), ("qkv", c_uint64), ("bias", c_uint64), ("q_gamma", c_uint64),
        ("k_gamma", c_uint64), ("cos_sin", c_uint64), ("positions", c_uint64),
        ("slots", c_uint64), ("q_out", c_uint64), ("k_pages", c_uint64), ("v_pages", c_uint64),
        ("heads", rp_heads), ("tokens", c_uint32), ("epsilon", c_float), ("reserved", c_uint32),
    ]


class RidgepointError(RuntimeError):
    """A call that did not return RP_OK, with the text that the library has for it."""


# Arguments by type, since ctypes passes a bare integer as 32 bits.
FUNCTIONS = {
    "rp_kernels_create": [POINTER(rp_kernels_options), POINTER(c_void_p)],
    "rp_kernels_destroy": [c_void_p],
    "rp_kernels_set_stream": [c_void_p, c_void_p],
    "rp_kernels_describe": [c_void_p, c_char_p, c_size_t, POINTER(c_size_t)],
    "rp_kernels_synchronize": [c_void_p],
    "rp_kernels_supports": [
        c_void_p, POINTER(rp_query), POINTER(c_uint32), c_char_p, c_size_t,
    ],
    "rp_memory_alloc": [c_void_p, c_size_t, POINTER(c_uint64)],
    "rp_memory_free": [c_void_p, c_uint64],
    "rp_memory_write": [c_void_p, c_uint64, c_void_p, c_size_t],
    "rp_memory_read": [c_void_p, c_uint64, c_void_p, c_size_t],
    "rp_gemm_workspace_size": [c_void_p, POINTER(rp_gemm), POINTER(c_size_t)],
    "rp_gemm_run": [c_void_p, POINTER(rp_gemm)],
    "rp_repack_int4_size": [POINTER(rp_int4_weights), POINTER(c_size_t)],
    "rp_repack_int4": [POINTER(rp_int4_weights), c_void_p, c_size_t],
    "rp_rope_append_run": [c_void_p, POINTER(rp_rope_append)],
    "rp_attention_workspace_size": [
        c_void_p, POINTER(rp_attention_shape), POINTER(rp_attention_sizes),
    ],
    "rp_attention_make_plan": [
        c_void_p, POINTER(rp_attention_shape), POINTER(rp_sequence), c_size_t, c_void_p, c_size_t,
        c_void_p, c_size_t, POINTER(rp_attention_plan),
    ],
    "rp_attention_run": [c_void_p, POINTER(rp_attention)],
}


class Library:
    """The shared library. Its functions are attributes that raise what the library says."""

    def __init__(self, path):
        self.path = path
        self._lib = ctypes.CDLL(path)
        self._lib.rp_error_message.restype = c_char_p
        self._lib.rp_version.restype = c_char_p
        for name, arguments in FUNCTIONS.items():
            function = getattr(self._lib, name)
            function.argtypes = arguments
            setattr(self, name, self._checked(name, function))

    def _checked(self, name, function):
        def call(*args):
            status = function(*args)
            if status != RP_OK:
                text = self._lib.rp_error_message().decode()
                raise RidgepointError(f"{name}: status {status}: {text}")

        return call

    def version(self):
        return self._lib.rp_version().decode()


class Kernels:
    """Kernels on a device: on the CUDA context that is current, or on the simulator."""

    def __init__(self, library, device, stream=0):
        self.abi = library
        self.handle = c_void_p()
        self._stream = stream
        options = rp_kernels_options(device=device, stream=stream)
        library.rp_kernels_create(byref(options), byref(self.handle))

    def close(self):
        self.abi.rp_kernels_destroy(self.handle)

    def describe(self):
        text = ctypes.create_string_buffer(1024)
        self.abi.rp_kernels_describe(self.handle, text, len(text), None)
        return text.value.decode()

    def follow(self, stream):
        """Sends what is launched next to another stream. The call is left out where it is the
        same one, so that none falls into the recording of a graph."""
        if stream != self._stream:
            self.abi.rp_kernels_set_stream(self.handle, stream)
            self._stream = stream

    def why_not(self, query):
        """None if there are kernels for it, else the library's reason."""
        supported, reason = c_uint32(), ctypes.create_string_buffer(512)
        self.abi.rp_kernels_supports(
            self.handle, byref(query), byref(supported), reason, len(reason)
        )
        return None if supported.value else reason.value.decode()

    def synchronize(self):
        self.abi.rp_kernels_synchronize(self.handle)

    def gemm_workspace(self, op):
        size = c_size_t()
        self.abi.rp_gemm_workspace_size(self.handle, byref(op), byref(size))
        return size.value

    def attention_sizes(self, shape):
        sizes = rp_attention_sizes()
        self.abi.rp_attention_workspace_size(self.handle, byref(shape), byref(sizes))
        return sizes.plan_bytes, sizes.workspace_bytes

    def attention_plan(self, shape, sequences, tables):
        """A plan and its bytes, which belong on the device. `tables`: numpy uint32 `[n, stride]`,
        whose pages are checked to lie in the pool."""
        capacity, _ = self.attention_sizes(shape)
        buffer = (ctypes.c_uint8 * capacity)()
        plan = rp_attention_plan()
        given = (rp_sequence * len(sequences))(*sequences)
        self.abi.rp_attention_make_plan(
            self.handle, byref(shape), given, len(sequences), tables.ctypes.data, len(tables),
            buffer, capacity, byref(plan),
        )
        return plan, bytes(buffer[: plan.bytes])

    def run(self, name, op):
        """Launches `rp_<name>_run`."""
        getattr(self.abi, f"rp_{name}_run")(self.handle, byref(op))
