"""Draw the figures of the paper anew, for docs/how-it-works.md, with the bundled model and mocks.

What is shown are mocks that the encoders have never seen, and what the nearest of others say of
them. Spectra with hidden parts are filled in by a SpecFormer that is trained here as in the paper:
the bundled one learned otherwise. It and the embeddings are kept in WORK, so that a second run is
quick.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from astropy.table import QTable
from header import print_header
from matplotlib import pyplot as plt
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.embeddings import concat, open_embeddings
from astroclip_astro.plot import (
    cross_modal_sheet,
    embedding_map,
    neighbors_sheet,
    plot_explanation,
    predicted_against_true,
)
from astroclip_astro.plot.style import COLOURS, FLUX_DENSITY
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import FixedRedshift, NeighborsHead, attention, occlusion
from astroclip_astro.training.config import read_config
from astroclip_astro.training.split import held_out
from astroclip_astro.training.trainer import train

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
PROPERTIES = ("log_mass", "log_z", "age", "log_ssfr")
MODALITIES = ("image", "spectrum")
NEIGHBOURS = 64  # of the paper's zero-shot predictions
PAIRS = 100_000  # drawn at random, to compare similarities with
NEAREST = 10


def embedded(mocks, rows, modality, work):
    """Embeddings of mocks, from the file that keeps them if the same model made them."""
    model = aa.load_model()
    kept = work / f"{modality}-{len(rows)}-{rows[0]}-{model.weights_sha256[:16]}.nc"
    if not kept.exists():
        observe = {"spectrum": mocks.spectrum, "image": mocks.cutout}[modality]
        vectors = aa.embed((observe(int(i)) for i in rows), model=model, errors="raise")
        vectors.astroclip.save(kept)
    return open_embeddings(kept)


def masked_modeller(mocks, work, steps):
    """A SpecFormer that is trained to fill in what is hidden, by the settings for laptops."""
    config = read_config("laptop", "specformer")
    source = {"kind": "mocks", "path": str(mocks.path)}
    config = replace(
        config,
        data=replace(config.data, sources=(source,)),
        run=replace(config.run, max_steps=steps),
    )
    out = work / f"specformer-{steps}"
    path = out / f"{config.name}.safetensors"
    if not path.exists():
        path = train("specformer", config, out)
    return aa.load_model(path, device="cpu")


def fill_in(model, observed, seed=0):
    """Hide runs of tokens of spectra (n, L), and let the model put something in their place.

    What it puts where no token is shown that covers a pixel, shape (n, L), NaN elsewhere.
    """
    tokens = model.preprocess(torch.from_numpy(observed.astype(np.float32))[..., None])
    masked = model.mask(tokens, torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        filled = model.head(model.forward_tokens(masked)).numpy()[:, 1:, 2:]
    hidden = (masked == 0).all(-1).numpy()[:, 1:]
    section = model.config["slice_section_length"]
    stride = section - model.config["slice_overlap"]
    total, count, shown = np.zeros((3, *observed.shape))
    for j in range(filled.shape[1]):
        here, gone = slice(j * stride, j * stride + section), hidden[:, j, None]
        total[:, here] += filled[:, j] * gone
        count[:, here] += gone
        shown[:, here] += ~gone
    guess = np.where((count > 0) & (shown == 0), total / np.maximum(count, 1), np.nan)
    scale = np.maximum(observed.std(1, ddof=1, keepdims=True), 0.2)
    return guess * scale + observed.mean(1, keepdims=True)


def masked_spectra(model, mocks, rows, examples):
    """Some spectra with parts hidden, and what fills them; how good it is for all is printed."""
    grid = model.preprocessing["spectrum"].edges
    observed = np.stack([mocks.spectrum(int(i)).flux.value for i in rows])
    truth = mocks.arrays(rows)["spectrum"]
    guess = fill_in(model, observed)
    off = {name: [] for name in ("filled in", "straight line", "observed", "mean")}
    for flux, true, found in zip(observed, truth, guess, strict=True):
        hidden, line = np.isfinite(found), flux.copy()
        for first, last in _runs(hidden):
            # Between the medians of as many pixels as a section has, on either side.
            ends = [flux[max(first - 80, 0) : first], flux[last : last + 80]]
            known = [np.median(end) for end in ends if len(end)]
            line[first:last] = np.linspace(known[0], known[-1], last - first)
        for name, one in zip(off, (found, line, flux, flux.mean()), strict=True):
            off[name].append(np.mean(np.abs(one - true)[hidden]) / true.std())
    print(
        f"{len(rows)} spectra, {np.isfinite(guess).mean():.0%} hidden; mean distance from the "
        "truth there over its standard deviation, median of the spectra: "
        + ", ".join(f"{name} {np.median(values):.3f}" for name, values in off.items())
    )
    figure, axes = plt.subplots(
        len(examples), 1, figsize=(10, 2.6 * len(examples)), sharex=True, layout="constrained"
    )
    for ax, i in zip(axes, examples, strict=True):
        hidden = np.isfinite(guess[i])
        for values, colour, width, label in (
            (np.where(hidden, np.nan, observed[i]), "0.7", 0.4, "shown to it"),
            (truth[i], COLOURS[0], 0.8, "true"),
            (guess[i], COLOURS[1], 1.2, "filled in"),
        ):
            ax.stairs(values, grid, baseline=None, color=colour, linewidth=width, label=label)
        for first, last in _runs(hidden):
            ax.axvspan(grid[first], grid[last], color="0.92", linewidth=0, zorder=0)
        low, high = np.percentile(truth[i], [0, 99.8])
        margin = 0.3 * (high - low)
        ax.set(xlim=grid[[0, -1]], ylim=(low - margin, high + margin))
        name, z = mocks.truth["object_id"][rows[i]], mocks.truth["redshift"][rows[i]]
        ax.set_title(f"{name}   z = {z:.3f}", loc="right", fontsize="small")
    axes[0].legend(loc="upper left", fontsize="small", ncols=3)
    axes[-1].set_xlabel("Observed wavelength in vacuum [Å]")
    figure.supylabel(FLUX_DENSITY, fontsize="small")
    return figure


def _runs(chosen):
    """First and one past the last of each run of True."""
    return np.flatnonzero(np.diff(np.r_[0, chosen, 0])).reshape(-1, 2)


def retrieval(catalog, mocks, names):
    """What two galaxies find by their own kind of data, and what one finds by the other kind."""
    row = {str(name): i for i, name in enumerate(mocks.truth["object_id"])}

    def spectra(name):
        return mocks.spectrum(row[name])

    def images(name):
        return mocks.cutout(row[name])

    same = plt.figure(figsize=(12, 9.5), layout="constrained")
    above, below = same.subfigures(2, 1, height_ratios=(1, 1.05))
    for figure, modality, objects in ((above, "image", images), (below, "spectrum", spectra)):
        k = 5 if modality == "image" else 3
        found = catalog.search(names, k=k, modality=modality, exclude_self=True)
        neighbors_sheet(found, names, objects, figure=figure)
        figure.suptitle(f"{modality} → {modality}", fontweight="bold")
    name = names[0]
    across = [
        catalog.search(catalog.embeddings(one, where=f"object_id = '{name}'")[0], k=3, modality=to)
        for one, to in (MODALITIES, MODALITIES[::-1])
    ]
    cross_modal_sheet(across[0], name, across[1], name, spectra=spectra, images=images)
    return same, plt.gcf()


def predictions(learned, tested, truth, rows, test):
    """Redshift and properties of the nearest, against the truth; R² is printed."""
    z, rest = {}, {}
    for modality in MODALITIES:
        head = NeighborsHead(k=NEIGHBOURS)
        head.fit(learned[modality], QTable(truth[["redshift", *PROPERTIES]])[rows])
        table = head.predict(tested[modality])
        pairs = {
            name: (truth[name][test], table[f"{name}_p50"]) for name in ("redshift", *PROPERTIES)
        }
        scores = {
            name: r2_score(np.asarray(true), np.asarray(said))
            for name, (true, said) in pairs.items()
        }
        print(f"{modality}, R²: " + ", ".join(f"{n} {s:.3f}" for n, s in scores.items()))
        z[f"redshift ({modality})"] = pairs.pop("redshift")
        rest[modality] = pairs
    of_redshift = plt.figure(figsize=(8.5, 6), layout="constrained")
    predicted_against_true(z, figure=of_redshift)
    of_rest = plt.figure(figsize=(13, 11.5), layout="constrained")
    for part, modality in zip(of_rest.subfigures(2, 1), MODALITIES, strict=True):
        predicted_against_true(rest[modality], title=f"from the {modality}", figure=part)
    return of_redshift, of_rest


def similarities(tested, z, seed=0):
    """Cosines of pairs drawn at random, of the nearest, and of one galaxy's image and spectrum."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(len(z), size=(2, PAIRS))
    one, other = one[one != other], other[one != other]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), sharex=True, layout="constrained")
    for ax, (a, b) in zip(
        axes,
        (("image", "image"), ("spectrum", "spectrum"), ("image", "spectrum")),
        strict=True,
    ):
        cosines = tested[a].astroclip.similarity(tested[b]).values
        kinds = {"random pairs": cosines[one, other]}
        if a == b:
            np.fill_diagonal(cosines, -np.inf)
        else:
            kinds["same galaxy"] = cosines.diagonal().copy()
        nearest = np.argsort(-cosines, axis=1)[:, :NEAREST]
        kinds[f"{NEAREST} nearest"] = np.take_along_axis(cosines, nearest, axis=1).ravel()
        for colour, (name, values) in zip(COLOURS, kinds.items(), strict=False):
            ax.hist(
                values, 80, range=(-1, 1), density=True, histtype="step", color=colour, label=name
            )
            low, middle, high = np.percentile(values, [5, 50, 95])
            print(f"{a} and {b}, {name}: cosine {middle:.2f} ({low:.2f} to {high:.2f})")
        ax.set(xlabel="cosine similarity", title=f"{a} and {b}", yticks=[])
        ax.legend(fontsize="x-small", loc="upper left")
        if a == b:
            trend = FixedRedshift().fit(tested[a])
            residual = trend.transform(tested[a]).astroclip.similarity().values
            apart = np.abs(np.log((1 + z[one]) / (1 + z[other])))
            related = [spearmanr(c[one, other], apart).statistic for c in (cosines, residual)]
            print(
                "{}: rank correlation of cosine and |Δ ln(1 + z)| of random pairs {:.2f}, at fixed "
                "redshift {:.2f}".format(a, *related)
            )
            np.fill_diagonal(residual, -np.inf)
            fixed = np.argsort(-residual, axis=1)[:, :NEAREST]
            spread = [
                np.median(np.abs(z[found] - z[first]) / (1 + z[first]))
                for first, found in (
                    (one, other),
                    (np.arange(len(z))[:, None], nearest),
                    (np.arange(len(z))[:, None], fixed),
                )
            ]
            print(
                f"{a}: median |Δz| / (1 + z) of random pairs {spread[0]:.3f}, of the {NEAREST} "
                f"nearest {spread[1]:.3f}, of those at fixed redshift {spread[2]:.3f}"
            )
    return figure


def maps(tested, truth, test):
    """The space of images and that of spectra, coloured by what is true of the galaxies."""
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    values = truth[["redshift", "log_mass", "log_ssfr"]][test]
    for part, modality in zip(figure.subfigures(2, 1), MODALITIES, strict=True):
        embedding_map(tested[modality], values, title=f"{modality} embeddings", figure=part)
    return figure


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--learned", default=10_000, help="Mocks that predictions are made from.")
@click.option("--steps", default=700, help="Steps of masked modelling.")
@click.option("--out", default=OUT, type=click.Path(file_okay=False, path_type=Path))
def main(mocks, work, learned, steps, out):
    """Draw figures of the mock survey MOCKS; what takes long is kept in WORK."""
    plt.switch_backend("agg")
    print_header("torch", "umap-learn")
    work.mkdir(parents=True, exist_ok=True)
    mocks = MockSurvey.open(mocks)
    truth, galaxy = mocks.truth, mocks.truth["kind"] == "galaxy"
    aside = held_out(len(mocks))
    rows, test = np.flatnonzero(galaxy & ~aside)[:learned], np.flatnonzero(galaxy & aside)
    print(
        f"{len(test)} galaxies held out; predictions from the {NEIGHBOURS} nearest of {len(rows)}"
    )

    def save(figure, name, dpi=60):
        path = out / f"{name}.jpg"
        figure.savefig(path, dpi=dpi, pil_kwargs={"quality": 82, "optimize": True})
        plt.close("all")
        print(f"→ {path.name}: {path.stat().st_size / 1000:.0f} kB\n")

    model = masked_modeller(mocks, work, steps)
    save(masked_spectra(model, mocks, test[:500], (4, 20)), "masked-spectra", dpi=75)
    image = mocks.cutout(int(test[0]))
    save(
        plot_explanation(image, attention(image), occlusion(image))[0].figure,
        "explained-image",
        dpi=80,
    )
    tested = {m: embedded(mocks, test, m, work) for m in MODALITIES}
    known = {m: embedded(mocks, rows, m, work) for m in MODALITIES}
    z = np.asarray(truth["redshift"][test])
    save(similarities(tested, z), "similarities", dpi=70)
    of_redshift, of_rest = predictions(known, tested, truth, rows, test)
    save(of_rest, "paper-properties")
    save(of_redshift, "paper-redshifts", dpi=80)
    save(maps(tested, truth, test), "paper-maps")
    with TemporaryDirectory() as folder:
        catalog = EmbeddingCatalog.create(f"{folder}/held-out", concat(list(tested.values())))
        first = [test[truth["sample"][test] == sample][0] for sample in ("nearby", "lrg")]
        names = [str(name) for name in truth["object_id"][first]]
        same, across = retrieval(catalog, mocks, names)
        save(across, "retrieval-across")
        save(same, "retrieval-same", dpi=66)


if __name__ == "__main__":
    main()
