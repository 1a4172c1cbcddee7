"""Fixtures shared by all tests."""

import gc
import os
import sys
import textwrap
from pathlib import Path

# One thread each for two processes on two cores. numba's are set, too, since UMAP gives torch as
# many as numba has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import pytest

# Looking for cycles among all that torch, panel and others have made is worth it less often.
gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of reference data beside the checkout; tests that need it skip where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not (path / "golden").is_dir():
        pytest.skip("needs the reference data folder ../shared")
    return path


@pytest.fixture(scope="session")
def make_toy():
    """Function that builds the same small untrained AstroCLIP every time."""
    import torch

    from astroclip_astro.models import AstroCLIP

    def make():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AstroCLIP(
                spectrum={
                    "input_dim": 402,
                    "slice_section_length": 400,
                    "slice_overlap": 0,
                    "embed_dim": 32,
                    "num_layers": 1,
                    "num_heads": 2,
                },
                image={"embed_dim": 32, "depth": 1, "num_heads": 2, "block_chunks": 1},
                embed_dim=16,
                spectrum_heads=2,
                image_heads=2,
            )
        model.name = "toy"
        return model.eval()

    return make


@pytest.fixture(scope="session")
def sdss_file():
    """Function that writes a made spectrum in the layout of SDSS spec files."""
    import numpy as np
    from astropy.table import Table

    def write(folder, fibre, *, empty=False):
        rng = np.random.default_rng(fibre)
        loglam = np.arange(3.58, 3.965, 1e-4).astype(np.float32)
        coadd = Table(
            {
                "flux": rng.normal(3, 1, loglam.size).astype(np.float32),
                "loglam": loglam,
                "ivar": np.full(loglam.size, 0 if empty else 1, np.float32),
                "and_mask": np.zeros(loglam.size, np.int32),
            }
        )
        path = folder / f"spec-0001-55555-{fibre:04d}.fits"
        coadd.write(path)
        return path

    return write


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution for one test: its metadata, entry points and modules on sys.path."""
    modules_before = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name, points, modules, version="1.0"):
        metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = [f"{point} = {value}" for point, value in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[astroclip_astro]", *lines]))
        for file, source in modules.items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(textwrap.dedent(source))
        return site

    yield install
    for name in set(sys.modules) - modules_before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
