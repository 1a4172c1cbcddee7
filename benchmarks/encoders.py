"""Rates of the full-size encoders beside those of plain matrix products, and their precision.

The architecture is the published one, its weights are drawn from a seed. Operations are those of
the published network, also where ours spares some of them. "torch" leaves all products to torch's
own layers, in float32 by MKL; "oneDNN" is the library that ours calls where it is faster.
"""

import argparse
import math
import resource
import time
from copy import deepcopy

import torch
from full_size import SHAPES, inputs, make_model, objects, operations
from header import print_header
from torch.nn import functional as F

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.models import products
from astroclip_astro.models.int8 import int8_works


def cpu_seconds(function, repeats):
    """Shortest CPU time of a call, divided among the threads."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times) / torch.get_num_threads()


def floats(dtype, product):
    """A function that makes ready a product of numbers of this type."""

    def prepare(rows, inner, columns):
        one = torch.randn(rows, inner, dtype=dtype)
        two = torch.randn(columns, inner, dtype=dtype)
        return lambda: product(one, two)

    return prepare


def integers(rows, inner, columns):
    """Make ready a product of eight-bit integers, as `Int8Linear` has it."""
    one = torch.randint(256, (rows, inner), dtype=torch.uint8)
    two = torch.randint(-127, 128, (columns, inner), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(two, None)
    scale, zeros = torch.ones(columns), torch.zeros(columns, dtype=torch.int64)
    rest = (scale, zeros, None, 1.0, 0, torch.bfloat16, "none", [], "")
    return lambda: torch.ops.onednn.qlinear_pointwise(one, 1.0, 128, packed, *rest)


KERNELS = {
    "float32 torch": floats(torch.float32, F.linear),
    "float32 oneDNN": floats(torch.float32, products._onednn),
    "bfloat16 torch": floats(torch.bfloat16, F.linear),
}
if int8_works():
    KERNELS["int8 oneDNN"] = integers


def matmul_rates(batch):
    """Operations per second of a large square product, by kernel; prints the networks' own, too."""
    print("\nmatrix products, GFLOP/s" + " " * 26 + "".join(f"{name:>16s}" for name in KERNELS))
    shapes = {"square": (4096, 4096, 4096)}
    for modality, (tokens, width, _) in SHAPES.items():
        shapes[f"{modality}, to q, k, v"] = (batch * tokens, width, 3 * width)
        shapes[f"{modality}, MLP in"] = (batch * tokens, width, 4 * width)
        shapes[f"{modality}, MLP out"] = (batch * tokens, 4 * width, width)
    rates = {}
    for name, shape in shapes.items():
        rates[name] = {}
        for kernel, prepare in KERNELS.items():
            rates[name][kernel] = 2 * math.prod(shape) / cpu_seconds(prepare(*shape), 5)
        columns = "".join(f"{rate / 1e9:16.0f}" for rate in rates[name].values())
        print(f"{name:22s}{' × '.join(map(str, shape)):28s}{columns}")
    return rates["square"]


def compile_blocks(network, flux, modality, batches):
    """Let torch.compile have each block of an encoder, and print what that takes at first."""
    torch.compiler.reset()
    for block in getattr(network, f"{modality}_encoder").modules():
        if getattr(block, "reducible", False):
            block.compile(dynamic=False)
    for batch in batches:
        start = time.perf_counter()
        network.encode(flux[:batch], modality)
        print(f"first call of a batch of {batch}, compiled: {time.perf_counter() - start:.0f} s")


def measure(model, modality, rates, batches, compiled):
    """Print a table of one encoder, for each type in turn."""
    flux = inputs(modality, objects(modality, max(batches)), model.preprocessing[modality])
    few = flux[:4]
    double = deepcopy(getattr(model, f"{modality}_encoder")).double()
    with torch.inference_mode():
        x = get_modality(modality).model_input(few.double(), model.preprocessing[modality])
        expected = double(x)
    del double
    print(f"\n{modality}: {operations(modality) / 1e9:.1f} GFLOP an object")
    names = ("s/object", "GFLOP/s", "of torch's", "of the best", "× torch f32", "× our f32")
    print(f"{'':18s}{'batch':>6s}" + "".join(f"{n:>13s}" for n in names) + f"{'1 - cosine':>13s}")
    ways = {"float32, torch": float("inf"), "float32, ours": products._LARGE}
    if compiled:
        ways["float32, compiled"] = float("inf")
    ways["bfloat16, ours"] = products._LARGE
    if compiled:
        ways["bfloat16, compiled"] = float("inf")
    if int8_works():
        ways["int8, ours"] = products._LARGE
    seconds = {}
    for way, large in ways.items():
        products._LARGE, kept = large, products._LARGE  # from this size on, products are ours
        plain = way in ("float32, torch", "float32, ours")
        network = model if plain else deepcopy(model).compute_in(way.partition(",")[0])
        if way.endswith("compiled"):
            compile_blocks(network, flux, modality, batches)
        error = 1 - torch.cosine_similarity(network.encode(few, modality).double(), expected).min()
        dtype = way.partition(",")[0]
        theirs = rates.get(f"{dtype} torch", math.nan)
        best = max(rate for kernel, rate in rates.items() if kernel.startswith(dtype))
        for batch in batches:
            spent = cpu_seconds(lambda b=batch, m=network: m.encode(flux[:b], modality), 2) / batch
            seconds[way, batch] = spent
            rate = operations(modality) / spent
            print(
                f"{way:18s}{batch:6d}{spent:13.3f}{rate / 1e9:13.0f}{rate / theirs:13.2f}"
                f"{rate / best:13.2f}{seconds['float32, torch', batch] / spent:13.2f}"
                f"{seconds.get(('float32, ours', batch), spent) / spent:13.2f}{error:13.1e}"
            )
        products._LARGE = kept


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--compile", action="store_true", help="torch.compile of the blocks, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_header("torch", "numpy")
    print(f"threads  {options.threads}; times are CPU time divided by it")
    print(f"bfloat16 {'is' if products.bfloat16_pays() else 'is not'} what dtype='auto' takes here")
    rates = matmul_rates(max(options.batches))
    model = make_model()
    for modality in SHAPES:
        measure(model, modality, rates, options.batches, options.compile)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory {peak:.1f} GiB, of which the double-precision comparison is the most")


if __name__ == "__main__":
    main()
