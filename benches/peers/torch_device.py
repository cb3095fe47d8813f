"""A CUDA device by PyTorch: arrays are tensors, and launches go to torch's current stream.

Has not run on a GPU yet.
"""

import statistics
import subprocess

import torch

from binding import RP_DEVICE_CURRENT, Kernels

# Launches of a recorded graph at least: the time to start it is shared among them.
LAUNCHES = 20
# A sample of the clock lasts at least so long, so that its steps do not show.
SAMPLE_SECONDS = 2e-3
# Operands take turns until they have left an L2 cache of this many times the real size.
ROTATION = 3
COPIES_MAX = 64
COLD_LAUNCHES = 15
# How large and how often, to measure what the device can do.
COPY_BYTES, PRODUCT_SIZE, CEILING_RUNS = 1 << 30, 8192, 20


class Recording:
    """A graph of launches that take turns on copies of their operands."""

    def __init__(self, device, prepared):
        self.device, self.prepared = device, prepared
        launches = prepared.launches
        self.count = -(-LAUNCHES // len(launches)) * len(launches)
        self.graph = torch.cuda.CUDAGraph()
        # The side stream does not wait for the one on which the operands were made.
        torch.cuda.synchronize()
        # The stream of the recording is the library's before it begins, see `Kernels.follow`.
        # Handles, workspaces and machine code are made by the first launches, which come here.
        with torch.cuda.stream(device.side):
            for launch in launches:
                launch()
        device.side.synchronize()
        with torch.cuda.graph(self.graph, stream=device.side):
            for i in range(self.count):
                launches[i % len(launches)]()
        self.replays = 1
        for _ in range(3):
            self.graph.replay()
        seconds = self.sample()
        self.replays = max(1, int(SAMPLE_SECONDS / (seconds * self.count)) + 1)

    def sample(self):
        """Seconds of one launch, the mean of some replays."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        for _ in range(self.replays):
            self.graph.replay()
        events[1].record()
        events[1].synchronize()
        return events[0].elapsed_time(events[1]) / 1e3 / (self.replays * self.count)

    def cold(self):
        """Median seconds of single launches after the L2 cache was filled with other data, with
        the gap before a launch."""
        times = []
        for i in range(COLD_LAUNCHES):
            launch = self.prepared.launches[i % len(self.prepared.launches)]
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            # Long enough for the launch to be queued behind it.
            for _ in range(2):
                self.device.flush.fill_(i)
            events[0].record()
            launch()
            events[1].record()
            events[1].synchronize()
            times.append(events[0].elapsed_time(events[1]) / 1e3)
        return statistics.median(times)


class TorchDevice:
    """Makes arrays, launches and times. `xp` is the module for float64 arithmetic."""

    name = "cuda"
    has_times = True
    xp = torch

    def __init__(self, library):
        if not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU")
        self.at = torch.device("cuda", torch.cuda.current_device())
        # The first tensor makes torch's context current, which the library then joins.
        torch.zeros(1, device=self.at)
        self.properties = torch.cuda.get_device_properties(self.at)
        self.side = torch.cuda.Stream()
        self.kernels = Kernels(library, RP_DEVICE_CURRENT, self.stream())
        self.flush = torch.empty(ROTATION * self._l2(), dtype=torch.uint8, device=self.at)

    def _l2(self):
        return int(getattr(self.properties, "L2_cache_size", 0)) or 64 << 20

    def close(self):
        self.synchronize()
        self.kernels.close()

    def describe(self):
        properties = self.properties
        return {
            "name": properties.name,
            "compute": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": self._l2(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "kernels": self.kernels.describe(),
        }

    def state(self):
        """Clocks, driver and temperature, as the driver's tool tells them."""
        query = "timestamp,name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return f"unknown: {error}"
        return told.stdout.strip()

    def ceilings(self):
        """Bytes/s of a large copy, read and written, and flop/s of a large bf16 product, on random
        numbers: what torch reaches here stands for what the device can do."""
        source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=self.at).random_()
        target = torch.empty_like(source)
        copying = self._median(lambda: target.copy_(source))
        del source, target
        shape = (PRODUCT_SIZE, PRODUCT_SIZE)
        a, b = self.bf16(shape, 8), self.bf16(shape, 9)
        out = torch.empty_like(a)
        multiplying = self._median(lambda: torch.mm(a, b, out=out))
        del a, b, out
        self.trim()
        return 2 * COPY_BYTES / copying, 2 * PRODUCT_SIZE**3 / multiplying

    def _median(self, work):
        times = []
        for i in range(CEILING_RUNS + 3):
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
            work()
            events[1].record()
            events[1].synchronize()
            if i >= 3:
                times.append(events[0].elapsed_time(events[1]) / 1e3)
        return statistics.median(times)

    def copies(self, size):
        """Of operands of so many bytes: as many as leave the cache before they are used again."""
        return max(1, min(COPIES_MAX, -(-ROTATION * self._l2() // size)))

    def record(self, prepared):
        return Recording(self, prepared)

    def stream(self):
        return torch.cuda.current_stream().cuda_stream

    def synchronize(self):
        torch.cuda.synchronize()

    def trim(self):
        torch.cuda.empty_cache()

    def upload(self, host):
        """A numpy array's bytes; words of 32 bits become int32, which torch can do more with."""
        host = host.view("int32") if host.dtype == "uint32" else host
        return torch.from_numpy(host.copy()).to(self.at)

    def upload_bf16(self, words):
        return torch.from_numpy(words.view("int16").copy()).to(self.at).view(torch.bfloat16)

    def bf16(self, shape, seed, scale=1.0):
        """Normally distributed numbers."""
        generator = torch.Generator(self.at).manual_seed(seed)
        array = torch.empty(shape, dtype=torch.bfloat16, device=self.at)
        return array.normal_(0, scale, generator=generator)

    def room(self, shape):
        """bf16, every element NaN: what is read before it was written shows."""
        return torch.full(shape, float("nan"), dtype=torch.bfloat16, device=self.at)

    def zeros(self, count):
        return torch.zeros(max(count, 1), dtype=torch.uint8, device=self.at)

    def clone(self, array):
        return array.clone()

    def join(self, arrays):
        return torch.cat(arrays, 1)

    def part(self, array, first, last, shape):
        return array[first:last].reshape(shape)

    def address(self, array):
        return array.data_ptr()

    def f64(self, array, rows=None):
        """The array, or some of its rows, in float64."""
        found = array if rows is None else array[self.indices(rows)]
        return found.double()

    def indices(self, values):
        return torch.tensor(list(values), device=self.at)
