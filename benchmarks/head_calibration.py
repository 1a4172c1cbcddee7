"""Whether the uncertainties of heads hold, on held-out mocks and on real spectra.

Intervals, PIT and CRPS of the heads that ``python -m astroclip_astro.training.mini.heads`` made, on
mocks that neither encoder nor heads nor their calibration have seen; the same of nearest neighbours
that learned from as many mocks and were calibrated alike; and the redshifts of real spectra, by
survey, by S/N and by the quality bit for what is out of the training range.
"""

from pathlib import Path

import click
import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance
from astropy.stats import mad_std
from astropy.table import QTable
from header import print_header
from real_redshifts import HIGHEST_REDSHIFT, PATTERNS, SNR_BINS
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro.adapters.records import SpectrumRecord
from astroclip_astro.inputs import records
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import NeighborsHead, load_head
from astroclip_astro.training.benchmark.morphology import ZOO_LIMIT
from astroclip_astro.training.mini.heads import (
    PROPERTIES,
    observed_embeddings,
    rows_for_heads,
    votes_of,
)


def on_mocks(survey, others, model, heads, neighbours):
    """Tables of the heads, and of neighbours beside."""
    learned, test = rows_for_heads(survey, neighbours)
    spare = np.flatnonzero(others.truth_array["kind"] == b"galaxy")
    truth, others_truth = survey.truth, others.truth
    for modality in model.modalities:
        # The same observations that the heads learned from and were calibrated with; others to ask.
        x, unseen, asked = (
            observed_embeddings(model, mocks, rows, modality, seed=seed)
            for mocks, rows, seed in ((survey, learned, 0), (others, spare, 1), (survey, test, 2))
        )
        for task, columns in (("redshift", ["redshift"]), ("properties", list(PROPERTIES))):
            y = QTable(truth[columns])
            print(f"\n{task} from the {modality}: the head")
            print(load_head(heads / f"{task}-{modality}.safetensors").report(asked, y[test]))
            knn = NeighborsHead().fit(x, y[learned])
            knn.calibrate(unseen, QTable(others_truth[columns])[spare])
            print(f"{task} from the {modality}: k nearest of {len(x)} mocks, calibrated alike")
            print(knn.report(asked, y[test]))
        on_looks(survey, test, asked, load_head(heads / f"morphology-{modality}.safetensors"))


def on_looks(survey, test, embeddings, head):
    """How often the most probable class is right, beside the share of the commonest class."""
    _, votes = votes_of(survey.truth_array[test])
    table, modality = head.predict(embeddings), head.modalities_[0]
    bright = np.asarray(survey.truth["mag_r"])[test] < ZOO_LIMIT
    print(f"morphology from the {modality}: share that is right, and that of the commonest class")
    for question, about in head.questions_.items():
        given = np.stack([np.asarray(votes[f"{question}_{a}"]) for a in about["answers"]], axis=1)
        said = np.array([about["answers"].index(one) for one in table[question]])
        for name, chosen in (("all", given.any(1)), ("bright", given.any(1) & bright)):
            right = (given[np.arange(len(given)), said] > 0)[chosen]
            print(
                f"{question:12s} {name:7s} {chosen.sum():5d}  {right.mean():.3f}  "
                f"{given[chosen].mean(0).max():.3f}"
            )


def on_real_spectra(folder, heads):
    """Redshifts of real galaxies: how good, and how wide the intervals are."""
    paths = sorted(path for pattern in PATTERNS for path in folder.glob(pattern))
    embeddings = aa.embed([p for p in paths if not p.name.startswith("control_")], errors="flag")
    z = embeddings.redshift.values
    usable = embeddings.astroclip.valid.values & (z > 0) & (z < HIGHEST_REDSHIFT)
    embeddings, z = embeddings[usable], z[usable]
    head = load_head(heads / "redshift-spectrum.safetensors")
    table, snr = aa.predict(embeddings, task=head), embeddings.snr.values
    width = (table["redshift_p84"] - table["redshift_p16"]) / 2 / (1 + z)
    survey = embeddings.survey.values
    beyond = (embeddings.quality.values & int(aa.Quality.OUT_OF_TRAINING_RANGE)) > 0
    print(f"\n{len(z)} real galaxies at 0 < z < {HIGHEST_REDSHIFT}; half 68 % interval over 1 + z")
    rows = {"all": np.ones(len(z), bool)}
    for name in np.unique(survey):
        rows[name] = survey == name
        rows[f"{name}, S/N not stated"] = (survey == name) & np.isnan(snr)
        for low, high in ((0, 2), *SNR_BINS):
            rows[f"{name}, S/N {low} to {high}"] = (survey == name) & (snr >= low) & (snr < high)
    rows["out of training range"], rows["within it"] = beyond, ~beyond
    for name, chosen in rows.items():
        if chosen.sum() < 3:
            continue
        report = head.report(embeddings[chosen], QTable({"redshift": z[chosen]})).table[0]
        print(
            f"{name:28s}{chosen.sum():5d}  68 %: {report['68 %']:.3f}  95 %: {report['95 %']:.3f}  "
            f"σ_NMAD {report['sigma_nmad']:.4f}  outliers {report['outliers']:.3f}  "
            f"bias {report['bias']:+.4f}  CRPS {report['crps']:.4f}  "
            f"median width {np.median(width[chosen]):.4f}"
        )
    report = head.calibrate(embeddings, QTable({"redshift": z})).table[0]
    print(
        f"calibrated with them, each half with the other: 68 %: {report['68 %']:.3f}  "
        f"95 %: {report['95 %']:.3f}  CRPS {report['crps']:.4f}"
    )


def on_degraded_spectra(folder, heads):
    """Widths of the intervals of the same galaxies, noisier, and fainter and brighter than any."""
    paths = sorted(path for pattern in PATTERNS for path in folder.glob(pattern))
    paths = [path for path in paths if not path.name.startswith("control_")]
    found = records(paths, preprocessing=aa.load_model().preprocessing)
    found = [
        r for r in found if isinstance(r, SpectrumRecord) and 0 < r.redshift < HIGHEST_REDSHIFT
    ]
    head = load_head(heads / "redshift-spectrum.safetensors")
    print(f"\n{len(found)} real galaxies as they are, and the same changed:")
    print(
        "half 68 % interval over 1 + z, median, and the share of galaxies whose interval is wider"
    )
    before = None
    cases = {"as they are": (0, 1)}
    cases |= {f"S/N lower by {factor}": (np.sqrt(factor**2 - 1), 1) for factor in (1.5, 2, 4)}
    cases |= {"flux × 1e4": (0, 1e4), "flux × 1e-4": (0, 1e-4)}
    for name, (noise, scale) in cases.items():
        rng = np.random.default_rng(0)
        embeddings = aa.embed([_changed(r, noise, scale, rng) for r in found], errors="flag")
        beyond = (embeddings.quality.values & int(aa.Quality.OUT_OF_TRAINING_RANGE)) > 0
        table, z = aa.predict(embeddings, task=head), np.array([r.redshift for r in found])
        low, high = (
            np.ma.filled(np.ma.asarray(table[f"redshift_{p}"]), np.nan) for p in ("p16", "p84")
        )
        width = (high - low) / 2 / (1 + z)
        before = width if before is None else before
        inside = np.mean((z >= low) & (z <= high))
        print(
            f"{name:18s} width {np.nanmedian(width):.4f}  wider {np.mean(width > before):.2f}  "
            f"68 %: {inside:.3f}  out of training range {beyond.sum()}"
        )


def _changed(record, noise, scale, rng):
    """A spectrum with more noise, in units of its own, and more flux."""
    # The noise from pixel to pixel, which spectra without uncertainties have as well.
    sigma = mad_std(np.diff(record.flux[record.ivar > 0])) / np.sqrt(2)
    flux = scale * (record.flux + noise * sigma * rng.normal(size=record.flux.shape))
    ivar = record.ivar / scale**2 / (1 + noise**2)
    return Spectrum(
        spectral_axis=(record.edges[1:] + record.edges[:-1]) / 2 * u.AA,
        flux=flux * u.Unit("1e-17 erg / (s cm2 AA)"),
        uncertainty=InverseVariance(ivar) if record.has_uncertainty else None,
        mask=record.ivar <= 0,
    )


@click.command()
@click.argument("mocks", type=click.Path(exists=True))
@click.argument("others", type=click.Path(exists=True))
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("heads", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--neighbours", default=40000, show_default=True, help="Mocks for the neighbours.")
def main(mocks, others, data, heads, neighbours):
    print_header("torch", "scikit-learn", "specutils", "zuko")
    model = aa.load_model()
    print(f"model {model.name}, weights {model.weights_sha256[:16]}")
    on_real_spectra(data, heads)
    on_degraded_spectra(data, heads)
    on_mocks(MockSurvey.open(mocks), MockSurvey.open(others), model, heads, neighbours)


if __name__ == "__main__":
    main()
