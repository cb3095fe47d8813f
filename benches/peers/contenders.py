"""What a contender is, and the list of them."""


class Prepared:
    """A case made ready: `launches` are functions without arguments, each on a copy of the
    operands at other addresses. Calling one launches the work on the device's current stream and
    returns its output. `view` makes of it `[m, n]` or `[rows, query, d]`, for the check and not for
    the clock. What they use lives as long as they.
    """

    def __init__(self, launches, view=lambda out: out):
        self.launches, self.view = launches, view


class Contender:
    """One implementation of some of the operations."""

    name = ""
    ops = ()

    def __init__(self, device):
        self.device = device

    def available(self):
        """None if it can be called here, else the reason."""
        return None

    def takes(self, case):
        """None if it can do the case, else the reason."""
        return None

    def why_not(self, case):
        return self.available() or self.takes(case)

    def prepare(self, inputs, copies):
        """A `Prepared` with so many launches. Whatever it raises becomes the reason that the
        table gives for an empty cell."""
        raise NotImplementedError


def peers(device, paths):
    """All contenders but our own. `paths`: where the libraries of `fa3` and `vllm` are."""
    from peer_flashinfer import FlashInfer
    from peer_torch import CudnnAttention, FlashAttention2, Int4Pack, Cublas
    from peer_vllm import FlashAttention3, Machete, Marlin

    return [
        Cublas(device), Int4Pack(device), Marlin(device, paths.get("vllm")),
        Machete(device, paths.get("vllm")), FlashAttention2(device), CudnnAttention(device),
        FlashAttention3(device, paths.get("fa3")), FlashInfer(device),
    ]


