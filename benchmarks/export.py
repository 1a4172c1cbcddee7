"""Exported full-size encoders beside ours: CPU time, and how near their vectors are.

The architecture is the published one, its weights are drawn from a seed; inputs are the bundled
mocks. "onnxruntime" and "torch.export" run the files that `astroclip export` writes; "OpenVINO",
where it is installed, the ONNX file, in float32 and in bfloat16. Times are CPU time of one thread.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from full_size import SHAPES, inputs, make_model, objects
from header import print_header

from astroclip_astro.export import export


def by_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda flux: torch.from_numpy(session.run(None, {"flux": flux.numpy()})[0])


def by_openvino(path, precision):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.compile_model(path, "CPU", settings)
    return lambda flux: torch.from_numpy(compiled(flux.numpy())[0].copy())


def by_torch(path):
    module = torch.export.load(path).module()
    return torch.inference_mode()(module)


def rounded(model, modality):
    model.compute_in("bfloat16")
    return lambda flux: model.encode(flux, modality)


def measure(model, modality, batches, folder):
    """Print a table of one encoder."""
    files = {suffix: folder / f"{modality}{suffix}" for suffix in (".onnx", ".pt2")}
    for path in files.values():
        checked = export(model, path, modality=modality)
        size = path.stat().st_size / 2**20
        print(f"\n{path.name}: {size:.0f} MiB, differs by {checked['difference']:.1e}", end="")
    ways = {
        "ours": lambda: lambda flux: model.encode(flux, modality),
        "onnxruntime": lambda: by_onnxruntime(files[".onnx"]),
        "torch.export": lambda: by_torch(files[".pt2"]),
    }
    if find_spec("openvino"):
        ways["OpenVINO, f32"] = lambda: by_openvino(files[".onnx"], "f32")
        ways["OpenVINO, bf16"] = lambda: by_openvino(files[".onnx"], "bf16")
    ways["ours, bfloat16"] = lambda: rounded(model, modality)  # the last: weights are lost
    galaxies = objects(modality, max(batches))
    flux = inputs(modality, galaxies, model.preprocessing[modality])
    ours, expected = {}, None
    names = ("s/object", "× ours", "1 - cosine")
    print(f"\n\n{modality:16s}{'batch':>6s}" + "".join(f"{name:>12s}" for name in names))
    for way, make in ways.items():
        run = make()
        run(flux[:1])
        for batch in batches:
            start = time.process_time()
            vectors = run(flux[:batch])
            spent = (time.process_time() - start) / batch
            ours.setdefault(batch, spent)
            if expected is None or len(vectors) > len(expected):
                expected = vectors
            cosine = torch.cosine_similarity(vectors.double(), expected[:batch].double())
            print(
                f"{way:16s}{batch:6d}{spent:12.3f}{spent / ours[batch]:12.2f}"
                f"{1 - cosine.min():12.1e}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    torch.set_num_threads(1)
    packages = ("torch", "onnxruntime", *(["openvino"] if find_spec("openvino") else []))
    print_header(*packages)
    with TemporaryDirectory() as folder:
        for modality in SHAPES:
            measure(make_model(), modality, options.batches, Path(folder))


if __name__ == "__main__":
    main()
