"""Embedding and searching a HATS catalog on a cluster of two workers, one of which is killed.

MOCKS is a survey of ``python -m astroclip_astro.simulate``. The rows of the catalog point at its
spectra; beyond its size they are further observations of the same galaxies, at other places. What
is found is compared with what the exact engine finds in the same rows as an embedding catalog.
"""

import logging
import os
import resource
import signal
import warnings
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from time import perf_counter, sleep

import click
import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord
from header import print_header
from pyarrow import parquet

import astroclip_astro as aa
from astroclip_astro.catalog.hats import embed_hats, read_hats, search_hats
from astroclip_astro.simulate import MockSurvey

PARTITIONS = 12
QUERIES = (1, 100, 1000)
CONE = (SkyCoord(150 * u.deg, 2 * u.deg), 30 * u.deg)
SAMPLE = 128  # spectra that the shares of the time are measured with


@lru_cache(maxsize=1)
def opened(mocks):
    return MockSurvey.open(mocks)


def spectra(mocks, rows):
    """What the rows point at; for workers, each of which opens the survey once."""
    survey = opened(mocks)
    return (
        survey.spectrum(int(i), int(n))
        for i, n in zip(rows["mock"], rows["observation"], strict=True)
    )


def write_catalog(survey, rows, path):
    """A HATS catalog of so many rows, all over the sky."""
    import lsdb

    rng, number = np.random.default_rng(0), np.arange(rows)
    mock = number % len(survey)
    table = pd.DataFrame(
        {
            "object_id": [f"galaxy-{i}" for i in number],
            "ra": rng.uniform(0, 360, rows),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, rows))),
            "mock": mock,
            "observation": number // len(survey),
            "mag_r": survey.truth_array["mag_r"][mock].astype(float),
        }
    )
    most = max(rows // PARTITIONS * 2, 8)
    catalog = lsdb.from_dataframe(table, catalog_name="mocks", partition_rows=most)
    catalog.write_catalog(path, as_collection=False, progress_bar=False)
    return catalog.npartitions


def shares(survey, model):
    """Where the time of one process goes, of spectra like those of the catalog."""
    objects = [survey.spectrum(i) for i in range(4)]
    aa.embed(objects)  # what is only done once
    start = perf_counter()
    objects = [survey.spectrum(i % len(survey), i // len(survey)) for i in range(SAMPLE)]
    made = perf_counter() - start
    calls, encode = [], model.encode

    def timed(*arguments):
        start = perf_counter()
        found = encode(*arguments)
        calls.append(perf_counter() - start)
        return found

    model.encode = timed
    start = perf_counter()
    aa.embed(objects, model=model)
    whole = perf_counter() - start
    del model.encode
    parts = {
        "reading and observing the mocks": made,
        "embed(), without the network": whole - sum(calls),
        "the network": sum(calls),
    }
    for name, seconds in parts.items():
        print(f"  {name:34s}{seconds / SAMPLE * 1000:8.2f} ms{seconds / (made + whole):8.0%}")


def killing(client, after):
    """Kill a worker in a while; returns its process and the timer."""
    pid = min(client.run(os.getpid).values())
    timer = Timer(after, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return pid, timer


def recovered(client, pid):
    """Wait until another worker has taken the place of one that was killed."""
    while True:
        with suppress(OSError):  # it is being lost just now
            pids = set(client.run(os.getpid).values())
            if len(pids) == 2 and pid not in pids:
                client.run(import_module, search_hats.__module__)
                client.run(import_module, "lsdb")
                return
        sleep(0.2)


def peak(client):
    """Largest resident memory of a worker so far, MB."""
    kilobytes = client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return max(kilobytes.values()) / 1000


def agreement(found, expected):
    """How many ids differ, place by place, and how far scores are apart."""
    differing = int((found["object_id"] != expected["object_id"]).sum())
    return differing, float(np.abs(found["score"] - expected["score"]).max())


def run(survey, mocks, rows, k, client, folder):
    objects = partial(spectra, mocks)
    catalog, hats = folder / "mocks", folder / "hats"
    partitions = write_catalog(survey, rows, catalog)
    arguments = {"modality": "spectrum", "columns": ["mag_r"], "client": client}
    start = perf_counter()
    embed_hats(catalog, hats, objects, **arguments)
    whole = perf_counter() - start
    print(f"{rows} rows in {partitions} partitions embedded in {whole:.1f} s, ", end="")
    print(f"{whole / rows * 1000:.2f} ms a row; memory of a worker {peak(client):.0f} MB")

    exact = read_hats(hats, folder / "lance")
    files = sorted(hats.rglob("Npix=*.parquet"))
    before = [parquet.read_table(file, partitioning=None) for file in files[:2]]
    for file in [*files[:2], hats / "hats.properties"]:
        file.unlink()
    pid, timer = killing(client, whole / len(files) / 2)
    embed_hats(catalog, hats, objects, **arguments)
    died = not timer.is_alive()
    timer.join()
    recovered(client, pid)
    again = [parquet.read_table(file, partitioning=None) for file in files[:2]]
    same = again == before
    print(f"two partitions again, a worker killed meanwhile: {died}; all as before: {same}\n")

    bright = f"mag_r < {np.median(survey.truth_array['mag_r']):.2f}"
    names = exact.table(columns=["object_id"])["object_id"]
    picked = np.random.default_rng(1).permutation(names)[: max(QUERIES)].tolist()
    print(f"top {k}; s on the cluster, and as a multiple of the exact engine's in one process")
    print(
        f"{'rows':10s}{'queries':>8s}{'ids differ':>11s}{'scores':>10s}{'s':>8s}{'×':>7s}", end=""
    )
    print(f"{'killed':>9s}{'ids differ':>11s}{'scores':>10s}{'×':>7s}")
    for name, conditions in (("all", {}), ("half", {"where": bright}), ("cone", {"cone": CONE})):
        for n in QUERIES:
            query = exact.stored(picked[:n])
            start = perf_counter()
            expected = exact.search(query, k, engine="exact", **conditions)
            alone = perf_counter() - start
            start = perf_counter()
            found = search_hats(hats, query, k, modality="spectrum", client=client, **conditions)
            took = perf_counter() - start
            differing, apart = agreement(found, expected)
            print(
                f"{name:10s}{n:8d}{differing:11d}{apart:10.1e}{took:8.2f}{took / alone:7.1f}",
                end="",
            )
            pid, timer = killing(client, took / 3)
            start = perf_counter()
            found = search_hats(hats, query, k, modality="spectrum", client=client, **conditions)
            took, died = perf_counter() - start, not timer.is_alive()
            differing, apart = agreement(found, expected)
            timer.join()
            recovered(client, pid)
            print(f"{died!s:>9s}{differing:11d}{apart:10.1e}{took / alone:7.1f}")
    print(f"\nmemory of a worker at most {peak(client):.0f} MB since it was started")


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False, resolve_path=True))
@click.option("--rows", default=200_000, show_default=True, help="Objects to embed.")
@click.option("--k", default=10, show_default=True, help="Neighbours to find.")
def main(mocks, rows, k):
    import dask
    from dask.distributed import Client, LocalCluster

    # LSDB 0.11 with pandas 3.1.
    warnings.simplefilter("ignore", DeprecationWarning)
    # A LocalCluster gives up a worker that is missing so long after it was killed, also if it is
    # missing because it was killed once more.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
    print_header("lsdb", "dask", "pylance", "torch")
    survey = MockSurvey.open(mocks)
    print(f"one process, {SAMPLE} spectra, time of each:")
    shares(survey, aa.load_model(device="cpu"))
    print()
    with (
        TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="4GB",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        run(survey, mocks, rows, k, client, Path(folder))


if __name__ == "__main__":
    # Workers import what they run, from a module of a name.
    from hats_search import main as named_main

    named_main()
