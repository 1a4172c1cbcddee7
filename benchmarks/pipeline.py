"""Files to vectors: how much of the encoder's rate is left end to end, and what memory it takes.

The files are made in the layout of SDSS's. Rates are by the clock, as what overlaps shows in no CPU
time: on a machine that others use, compare within a run only. The full-size model has the published
architecture and weights from a seed. Memory is the largest resident set of ``astroclip embed`` over
a list that names the same files again and again, with a model so small that reading takes all the
time; that of the model comes on top.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from full_size import SMALL, make_model
from header import print_header

import astroclip_astro as aa
from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.inputs import records
from astroclip_astro.surveys.files import read as read_file
from astroclip_astro.weights import save_model

BATCH = 32
COMMAND = "from astroclip_astro.cli.main import main\nif __name__ == '__main__':\n    main()\n"


def write_files(folder, count):
    """Write spectra in the layout of SDSS's lite files; returns their paths (list of str)."""
    rng = np.random.default_rng(0)
    loglam = np.arange(3.58, 3.965, 1e-4).astype(np.float32)
    paths = []
    for fibre in range(count):
        coadd = Table(
            {
                "flux": rng.normal(3, 1, loglam.size).astype(np.float32),
                "loglam": loglam,
                "ivar": np.ones(loglam.size, np.float32),
                "and_mask": np.zeros(loglam.size, np.int32),
                "or_mask": np.zeros(loglam.size, np.int32),
                "wdisp": np.ones(loglam.size, np.float32),
                "sky": np.ones(loglam.size, np.float32),
                "model": np.ones(loglam.size, np.float32),
            }
        )
        about = {"PLATE": 1, "MJD": 55555, "FIBERID": fibre, "PLUG_RA": 150.0, "PLUG_DEC": 2.0}
        about |= {"CLASS": "GALAXY", "Z": 0.1, "ZWARNING": 0}
        tables = (coadd, Table({name: [value] for name, value in about.items()}))
        path = folder / f"spec-0001-55555-{fibre:05d}.fits"
        hdus = [fits.PrimaryHDU(), *map(fits.table_to_hdu, tables)]
        fits.HDUList(hdus).writeto(path)
        paths.append(str(path))
    return paths


def seconds(function):
    """How long a call takes by the clock (float)."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(name, model, paths):
    """Print what reading, adapting and encoding take of a model; returns encoding, s/object."""
    kind, preprocessing = get_modality("spectrum"), model.preprocessing["spectrum"]

    def batches(found):
        return [
            kind.batch(found[i : i + BATCH], preprocessing) for i in range(0, len(found), BATCH)
        ]

    def read():
        return [obj for path in paths for obj in read_file(path)]

    objects = read()
    about = {"preprocessing": model.preprocessing, "survey": "sdss"}
    found = list(records(objects, **about))
    made = batches(found)

    def encode():
        for batch in made:
            model.encode(batch.flux, "spectrum")

    encode()
    spent = {
        "reading": seconds(read),
        "adapting": seconds(lambda: batches(list(records(objects, **about)))),
        "encoding": min(seconds(encode), seconds(encode)),
    }
    del found
    spent["embed(files)"] = seconds(lambda: aa.embed(paths, model=model, batch_size=BATCH))
    encoding = spent["encoding"]
    print(f"\n{name}: {len(paths)} files, {model.compute_dtype}, batches of {BATCH}")
    for step, time_ in spent.items():
        each = time_ / len(paths) * 1e3
        print(f"{step:28s}{each:10.2f} ms/object{time_ / encoding:8.2f} × encoding")
    print(f"rate of embed(files): {encoding / spent['embed(files)']:.2f} of the encoder's")
    return encoding / len(paths)


def run(folder, *arguments):
    """Run ``astroclip embed``; gives seconds by the clock, and the peak of its memory in MiB."""
    script, output = folder / "astroclip.py", folder / "out.parquet"
    script.write_text(COMMAND)
    command = [sys.executable, script, "embed", *arguments, "-o", output, "--overwrite"]
    start = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return time.perf_counter() - start, used.ru_maxrss / 1024


def listed(folder, paths, count):
    """A list that names as many files, the same again and again; its argument (str)."""
    file = folder / "files.txt"
    file.write_text("".join(f"{path}\n" for path in islice(cycle(paths), count)))
    return f"@{file}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--full-size-files", type=int, default=64, help="0 leaves it out")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="none leaves it out")
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 100_000])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    print_header("torch", "astropy", "specutils")
    print(f"threads  {options.threads}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spectra").mkdir()
        paths = write_files(folder / "spectra", options.files)
        few = paths[:1024]
        encoding = measure("bundled model", aa.load_model(), few)

        print(f"\nastroclip embed, bundled model, {len(paths)} files; the start taken off")
        ways = {"one process": ()} | {f"{n} workers": ("--workers", n) for n in options.workers}
        for way, arguments in ways.items():
            start, _ = run(folder, few[0], *arguments)
            spent, _ = run(folder, folder / "spectra", *arguments)
            each = (spent - start) / (len(paths) - 1)
            print(
                f"{way:14s}{each * 1e3:8.2f} ms/object{encoding / each:8.2f} of the encoder's rate"
                f"{start:8.1f} s to start"
            )

        if options.memory:
            print("\nastroclip embed, small model: peak of memory")
            small = folder / "small.safetensors"
            save_model(make_model(SMALL), small, name="small")
        for count in options.memory:
            file = listed(folder, few, count)
            spent, peak = run(folder, file, "--model", small, "--survey", "sdss")
            print(f"{count:9,d} objects{peak:8.0f} MiB{spent:8.0f} s")

        if options.full_size_files:
            model = make_model().compute_in("auto")
            model.name = "full-size"
            measure("full-size model", model, paths[: options.full_size_files])


if __name__ == "__main__":
    main()
