"""Rates of the full-size encoders beside those of plain matrix products, and their precision.

The architecture is the published one, its weights are drawn from a seed. Operations are those of
the published network, also where ours spares some of them. "torch" leaves all products to torch's
own layers, in float32 by MKL; "oneDNN" is the library that ours calls where it is faster.
"""

import argparse
import resource
import time
from copy import deepcopy

import torch
from full_size import SHAPES, inputs, make_model, objects, operations
from header import print_header
from torch.nn import functional as F

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.models import products

def cpu_seconds(function, repeats):
    """Shortest CPU time of a call, divided among the threads."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times) / torch.get_num_threads()


KERNELS = {
    "float32 torch": (torch.float32, F.linear),
    "float32 oneDNN": (torch.float32, products._onednn),
    "bfloat16 torch": (torch.bfloat16, F.linear),
}


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
        for kernel, (dtype, product) in KERNELS.items():
            rows, inner, columns = shape
            one = torch.randn(rows, inner, dtype=dtype)
            two = torch.randn(columns, inner, dtype=dtype)
            spent = cpu_seconds(lambda f=product, x=one, w=two: f(x, w), 5)
            rates[name][kernel] = 2 * rows * inner * columns / spent
        columns = "".join(f"{rate / 1e9:16.0f}" for rate in rates[name].values())
        print(f"{name:22s}{' × '.join(map(str, shape)):28s}{columns}")
    return rates["square"]


def measure(model, modality, rates, batches):
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
    reduced = deepcopy(model).compute_in("bfloat16")
    ways = {
        "float32, torch": (model, float("inf")),
        "float32, ours": (model, products._LARGE),
        "bfloat16, ours": (reduced, products._LARGE),
    }
    seconds = {}
    for way, (network, large) in ways.items():
        products._LARGE, kept = large, products._LARGE  # from this size on, products are ours
        error = 1 - torch.cosine_similarity(network.encode(few, modality).double(), expected).min()
        dtype = way.partition(",")[0]
        theirs = rates[f"{dtype} torch"]
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
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_header("torch", "numpy")
    print(f"threads  {options.threads}; times are CPU time divided by it")
    print(f"bfloat16 {'is' if products.bfloat16_pays() else 'is not'} what dtype='auto' takes here")
    rates = matmul_rates(max(options.batches))
    model = make_model()
    for modality in SHAPES:
        measure(model, modality, rates, options.batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory {peak:.1f} GiB, of which the double-precision comparison is the most")


if __name__ == "__main__":
    main()
