"""How far off the model's redshifts of real spectra are, which it was never trained on.

Zero-shot: the redshift of a real galaxy is that of its nearest neighbours among the training
mocks, observed with random depth, coverage, line spread and calibration, as in training. Their
number is the one that serves held-out mocks best. DATA is a folder of spectra of DESI and SDSS as
they were published.
"""

from pathlib import Path

import click
import numpy as np
from astropy import units as u
from header import print_header
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from specutils import Spectrum
from specutils.analysis import snr_derived

import astroclip_astro as aa
from astroclip_astro.adapters.spectrum import spectrum_batch
from astroclip_astro.inputs import records
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.simulate.survey import FLUX_UNIT
from astroclip_astro.tasks.metrics import OUTLIER, bias, outlier_fraction, sigma_nmad
from astroclip_astro.training.benchmark.heads import bootstrap_error
from astroclip_astro.training.mini.heads import observed_embeddings
from astroclip_astro.training.split import held_out

HIGHEST_REDSHIFT, LOWEST_SNR = 0.6, 2
SNR_BINS = ((2, 5), (5, 10), (10, 20), (20, np.inf))
PATTERNS = (
    "desi_andes/coadd-*.fits",
    "desi_native/coadd-*.fits",
    "sdss_spectra/*.fits",
    "pairs_legacyjpg_sdssspec/*.fits",
)
LINES = {"[O II]": 3728.5, "H, K": 3952.0, "Hβ": 4862.7, "[O III]": 5008.2, "Hα": 6564.6}  # vacuum


def read(folder, preprocessing):
    """Real spectra on the model's grid, their S/N, and the grid."""
    paths = sorted(path for pattern in PATTERNS for path in Path(folder).glob(pattern))
    wanted = [path for path in paths if not path.name.startswith("control_")]
    found = [r for path in wanted for r in records(path, preprocessing={"spectrum": preprocessing})]
    batch = spectrum_batch(found, preprocessing)
    edges = preprocessing.edges
    wavelength = (edges[1:] + edges[:-1]) / 2
    snr = np.array(batch.snr, float)
    # Surveys that publish no inverse variance: DER_SNR (Stoehr et al. 2008, ASP 394, 505). Weights
    # of the batch are then 1 where there are data.
    for i in np.flatnonzero(np.isnan(snr)):
        seen = batch.ivar[i].numpy() > 0
        flux = batch.flux[i, seen, 0].numpy() * FLUX_UNIT
        snr[i] = snr_derived(Spectrum(flux=flux, spectral_axis=wavelength[seen] * u.AA))
    return batch, snr, wavelength


def encode(model, flux):
    """Vectors of spectra (n, L, 1), shape (n, feature)."""
    return np.concatenate([model.encode(part, "spectrum").numpy() for part in flux.split(64)])


def observed(model, survey, rows, seed=0):
    """Vectors and redshifts of mocks, observed as in training; contaminants left out."""
    rows = rows[survey.truth_array["kind"][rows] == b"galaxy"]
    found = observed_embeddings(model, survey, rows, "spectrum", seed=seed)
    return found.values, found.redshift.values


def show(name, true, predicted, rows):
    """Print one line of the table."""
    t, p = true[rows], predicted[rows]
    measured = [
        f"{f(t, p):8.4f} ± {bootstrap_error(lambda d, f=f: f(t[d], p[d]), len(t)):6.4f}"
        for f in (sigma_nmad, outlier_fraction, bias)
    ]
    print(f"{name:24s}{len(t):6d} " + " ".join(measured))


def draw(worst, batch, wavelength, true, predicted, snr):
    """The worst spectra, with the lines where they are and where the prediction has them."""
    figure = Figure(figsize=(10, 2.4 * len(worst)), layout="constrained")
    for axes, i in zip(figure.subplots(len(worst)), worst, strict=True):
        seen = batch.ivar[i].numpy() > 0
        flux = batch.flux[i, :, 0].numpy()
        smooth = np.convolve(np.where(seen, flux, np.nan), np.ones(7) / 7, "same")
        axes.plot(wavelength, smooth, color="0.3", linewidth=0.6)
        low, high = np.nanpercentile(smooth, [0.5, 99.7])
        axes.set(xlim=(3600, 9824), ylim=(low - 0.1 * (high - low), high + 0.25 * (high - low)))
        for z, colour in ((true[i], "C2"), (predicted[i], "C3")):
            for name, line in LINES.items():
                axes.axvline(line * (1 + z), color=colour, linewidth=0.8, alpha=0.7)
                if colour == "C2" and 3600 < line * (1 + z) < 9824:
                    axes.text(line * (1 + z), high, name, fontsize=7, color=colour)
        axes.set_title(
            f"{batch.survey[i]} {batch.object_id[i]}: z = {true[i]:.4f} (green), "
            f"found {predicted[i]:.4f} (red), S/N {snr[i]:.1f}",
            fontsize=9,
        )
    axes.set_xlabel("wavelength (Å, vacuum)")
    return figure


@click.command()
@click.argument("mocks", type=click.Path(exists=True))
@click.argument("data", type=click.Path(exists=True, file_okay=False))
@click.option("--model", default=None, help="Name or path; default: the bundled model.")
@click.option("--neighbours", default=None, type=int, help="Training mocks; default: all.")
@click.option("--figure", type=click.Path(), help="Draw the worst five here.")
def main(mocks, data, model, neighbours, figure):
    print_header("torch", "scikit-learn", "specutils")
    survey, model = MockSurvey.open(mocks), aa.load_model(model)
    held = held_out(len(survey))
    vectors, redshift = observed(model, survey, np.flatnonzero(~held)[:neighbours])
    tested, wanted = observed(model, survey, np.flatnonzero(held), seed=1)
    scaler = StandardScaler().fit(vectors)

    def predict(vectors_, k):
        knn = KNeighborsRegressor(k, weights="distance").fit(scaler.transform(vectors), redshift)
        return knn.predict(scaler.transform(vectors_))

    on_mocks = {k: sigma_nmad(wanted, predict(tested, k)) for k in (4, 8, 16, 32, 64)}
    k = min(on_mocks, key=on_mocks.get)
    print(f"model {model.name}, weights {model.weights_sha256[:16]}")
    print(f"{len(vectors)} training mocks as neighbours; σ_NMAD of {len(tested)} held-out mocks by")
    print("k: " + ", ".join(f"{n}: {s:.4f}" for n, s in on_mocks.items()) + f"; taken: k = {k}\n")
    batch, snr, wavelength = read(data, model.preprocessing["spectrum"])
    true = np.array(batch.redshift, float)
    predicted = predict(encode(model, batch.flux), k)
    galaxies = (true > 0) & (true < HIGHEST_REDSHIFT)
    kept = galaxies & (snr >= LOWEST_SNR)
    print(
        f"galaxies with z < {HIGHEST_REDSHIFT}, median S/N per pixel of at least {LOWEST_SNR}; "
        f"outliers beyond {OUTLIER} (1 + z)"
    )
    print(f"{'':24s}{'n':>6s} {'σ_NMAD':>17s} {'outliers':>17s} {'bias':>17s}")
    show("all", true, predicted, kept)
    for name in np.unique(batch.survey):
        of = kept & (batch.survey == name)
        show(name, true, predicted, of)
        for low, high in SNR_BINS:
            rows = of & (snr >= low) & (snr < high)
            if rows.any():
                show(f"  S/N {low} to {high}", true, predicted, rows)
    faint = galaxies & ~kept
    show(f"(S/N below {LOWEST_SNR})", true, predicted, faint)
    offset = np.where(kept, np.abs(predicted - true) / (1 + true), -1)
    worst = np.argsort(offset)[::-1][:5]
    print("\nworst five")
    for i in worst:
        print(
            f"  {batch.survey[i]:5s} {batch.object_id[i]:24s} z {true[i]:.4f}, found "
            f"{predicted[i]:.4f}, S/N {snr[i]:.1f}, coverage {batch.coverage[i]:.2f}, "
            f"quality {batch.quality[i]}"
        )
    if figure:
        draw(worst, batch, wavelength, true, predicted, snr).savefig(figure, dpi=110)


if __name__ == "__main__":
    main()
