"""Rates of a GPU: matrix products, both full-size encoders beside them, and embed() end to end.

The architecture is the published one, its weights are drawn from a seed. Utilisation is the
network's operations per second over those of the fastest square product of the same type, measured
in the same run. Needs a CUDA card: ``python benchmarks/gpu.py``. With ``--device cpu --small`` a
small network goes through the same lines in seconds, uncompiled, which shows that they run.
"""

import argparse
import resource
import time
from contextlib import contextmanager
from copy import deepcopy

import torch
from full_size import SHAPES, SMALL, inputs, make_model, objects, operations
from header import print_header

import astroclip_astro as aa

# Products that are measured: their type, and whether TF32 may stand in for float32.
PRODUCTS = {
    "float32": (torch.float32, False),
    "float32 (TF32)": (torch.float32, True),
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
}

# Networks that are measured: type of the products, and how they are compiled, if they are.
WAYS = {
    "float32": ("float32", None),
    "float32 (TF32)": ("float32 (TF32)", None),
    "bfloat16": ("bfloat16", None),
    "bfloat16, compiled": ("bfloat16", {}),
    "bfloat16, CUDA graphs": ("bfloat16", {"mode": "reduce-overhead"}),
}


@contextmanager
def tf32(allowed):
    """Let TF32 stand in for float32, or not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    yield
    torch.set_float32_matmul_precision(before)


def seconds(function, device, repeats=5):
    """Shortest time of a call, until the device has done what it was given."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        wait()
        start = time.perf_counter()
        function()
        wait()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peaks(device, sides):
    """Operations per second of the fastest square product, by type; prints all."""
    print("\nmatrix products, TFLOP/s" + "".join(f"{side:>10d}²" for side in sides))
    fastest = {}
    for name, (dtype, tf) in PRODUCTS.items():
        rates = []
        for side in sides:
            one, two = torch.randn(2, side, side, device=device).to(dtype)
            with tf32(tf):
                rates.append(2 * side**3 / seconds(lambda x=one, y=two: x @ y, device))
        print(f"{name:24s}" + "".join(f"{rate / 1e12:11.3f}" for rate in rates))
        fastest[name] = max(rates)
    return fastest


def in_double_precision(model, modality, flux):
    """Vectors of a few objects, computed in float64 on the CPU."""
    double = deepcopy(model).cpu().double()
    with torch.inference_mode():
        return double.encode(flux.cpu().double(), modality)


def encoder_table(model, modality, rates, options):
    """Print a table of one encoder; returns objects per second of the largest batch, by way."""
    device, shapes = model.device, SMALL if options.small else SHAPES
    galaxies = objects(modality, min(60, max(options.batches)))
    found = inputs(modality, galaxies, model.preprocessing[modality])
    flux = found.repeat(-(-max(options.batches) // len(found)), *[1] * (found.ndim - 1)).to(device)
    expected = in_double_precision(model, modality, flux[:4])
    per_object = operations(modality, shapes)
    print(f"\n{modality}: {per_object / 1e9:.3g} GFLOP an object")
    names = ("objects/s", "TFLOP/s", "utilisation", "first call, s", "1 - cosine")
    print(f"{'':24s}{'batch':>6s}" + "".join(f"{name:>15s}" for name in names))
    last = {}
    for way, (kind, compiled) in WAYS.items():
        dtype, tf = PRODUCTS[kind]
        network = deepcopy(model).compute_in(dtype)
        if compiled is not None:
            compiled = {"backend": "eager"} if options.small else compiled
            getattr(network, f"{modality}_encoder").compile(dynamic=False, **compiled)
        with tf32(tf):
            for batch in options.batches:
                few = flux[:batch]
                start = time.perf_counter()
                vectors = network.encode(few, modality)
                first = time.perf_counter() - start
                count = min(4, batch)
                error = 1 - torch.cosine_similarity(vectors[:count].double(), expected[:count])
                last[way] = batch / seconds(lambda n=network, x=few: n.encode(x, modality), device)
                rate = last[way] * per_object
                print(
                    f"{way:24s}{batch:6d}{last[way]:15.1f}{rate / 1e12:15.3f}"
                    f"{rate / rates[kind]:15.2f}{first:15.2f}{error.max():15.1e}"
                )
        torch.compiler.reset()  # what was compiled is kept, and so is its memory
    return last


def end_to_end(model, modality, encoder_rates, options):
    """Print how many objects in memory embed() takes per second, beside the encoder alone."""
    batch = max(options.batches)
    galaxies = objects(modality, 2 * batch if options.small else 8 * batch)
    for dtype in ("float32", "bfloat16"):
        network = deepcopy(model).compute_in(dtype)

        def run(network=network):
            aa.embed(galaxies, model=network, batch_size=batch, progress=False)

        with tf32(False):
            rate = len(galaxies) / seconds(run, model.device, repeats=2)
        ratio = rate / encoder_rates[dtype]
        print(f"{modality:12s}{dtype:12s}{len(galaxies):10d}{batch:8d}{rate:14.1f}{ratio:14.2f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 8 32 128; small: 1 3")
    parser.add_argument("--small", action="store_true", help="a small network, uncompiled")
    options = parser.parse_args()
    options.batches = options.batches or ([1, 3] if options.small else [1, 8, 32, 128])
    device = options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA card here; --device cpu --small runs the same lines")
    print_header("torch", "numpy")
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        torch.cuda.set_device(device)
        print(
            f"device   {card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    else:
        print(f"device   {device}, {torch.get_num_threads()} threads")
    model = make_model(SMALL if options.small else SHAPES).to(device)
    rates = peaks(device, [256, 512] if options.small else [4096, 8192])
    auto = deepcopy(model).compute_in("auto").provenance["dtype"]
    print(f"\ndtype='auto' is {auto} here")
    with_encoder = {m: encoder_table(model, m, rates, options) for m in SHAPES}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    print("\nembed() of objects in memory" + " " * 4 + "batch     objects/s  × the encoder")
    for modality, encoder_rates in with_encoder.items():
        end_to_end(model, modality, encoder_rates, options)
    if device.type == "cuda":
        peak, where = torch.cuda.max_memory_allocated(device), "on the card in embed()"
    else:
        peak, where = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10, "of the process"
    print(f"\npeak memory {where} {peak / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
