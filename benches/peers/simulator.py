"""The simulator of the library in the place of a GPU: arrays are of numpy, with a copy in the
simulated memory. It runs the kernels' own PTX, so results are those of a GPU; there are no times.
"""

import math
import weakref
from ctypes import byref, c_uint64

import numpy as np

from binding import RP_DEVICE_SIM, Kernels
from packing import from_bf16, to_bf16


class Array:
    """Numbers in simulated memory. `host` holds what was put there; bf16 are 16-bit words."""

    def __init__(self, kernels, host):
        self.host = np.ascontiguousarray(host)
        self.shape = self.host.shape
        self.kernels = kernels
        at = c_uint64()
        library, handle = kernels.abi, kernels.handle
        library.rp_memory_alloc(handle, self.host.nbytes, byref(at))
        self.at = at.value
        weakref.finalize(self, library.rp_memory_free, handle, self.at).atexit = False
        library.rp_memory_write(handle, self.at, self.host.ctypes.data, self.host.nbytes)

    def read(self):
        """What is there now, after all launches."""
        found = np.empty_like(self.host)
        self.kernels.abi.rp_memory_read(
            self.kernels.handle, self.at, found.ctypes.data, found.nbytes
        )
        return found


class SimDevice:
    """See `torch_device.TorchDevice`, whose methods these are."""

    name = "sim"
    has_times = False
    xp = np

    def __init__(self, library):
        self.kernels = Kernels(library, RP_DEVICE_SIM)

    def close(self):
        self.kernels.close()

    def describe(self):
        return {"name": self.kernels.describe()}

    def state(self):
        return None

    def ceilings(self):
        return None

    def copies(self, _bytes):
        """Enough to see that a copy is as good as the first."""
        return 2

    def stream(self):
        return 0

    def synchronize(self):
        self.kernels.synchronize()

    def trim(self):
        pass

    def upload(self, host):
        return Array(self.kernels, host)

    upload_bf16 = upload

    def bf16(self, shape, seed, scale=1.0):
        return self.upload(to_bf16(np.random.default_rng(seed).normal(0, scale, shape)))

    def room(self, shape):
        return self.upload(np.full(shape, 0xFFFF, np.uint16))

    def zeros(self, count):
        return self.upload(np.zeros(max(count, 1), np.uint8))

    def clone(self, array):
        return self.upload(array.read())

    def join(self, arrays):
        return self.upload(np.concatenate([array.host for array in arrays], 1))

    def part(self, array, first, last, shape):
        rows = array.host[first:last]
        assert rows.size == math.prod(shape)
        return self.upload(rows.reshape(shape))

    def address(self, array):
        return array.at

    def f64(self, array, rows=None):
        found = array.read()
        found = found if rows is None else found[list(rows)]
        return (from_bf16(found) if found.dtype == np.uint16 else found).astype(np.float64)

    def indices(self, values):
        return np.asarray(list(values))
