"""Whether the uncertainties of heads hold, on held-out mocks and on real spectra.

Intervals, PIT and CRPS of the heads that ``python -m astroclip_astro.training.mini.heads`` made, on
mocks that neither encoder nor heads nor their calibration have seen; the same of nearest neighbours
that learned from as many mocks and were calibrated alike; and the redshifts of real spectra, by
survey, by S/N and by the quality bit for what is out of the training range.
"""

from pathlib import Path

import click
import numpy as np
from astropy.table import QTable
from header import print_header
from real_redshifts import HIGHEST_REDSHIFT, PATTERNS, SNR_BINS

import astroclip_astro as aa
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import NeighborsHead, load_head
from astroclip_astro.training.mini.heads import PROPERTIES, observed_embeddings, rows_for_heads


def on_mocks(survey, others, model, heads, neighbours):
    """Tables of the heads, and of neighbours beside."""
    learned, test = rows_for_heads(survey, neighbours)
    spare = np.flatnonzero(others.truth_array["kind"] == b"galaxy")
    truth, others_truth = survey.truth, others.truth
    for modality in model.modalities:
        x, unseen, asked = (
            observed_embeddings(model, mocks, rows, modality, seed=10 + i)
            for i, (mocks, rows) in enumerate(((survey, learned), (others, spare), (survey, test)))
        )
        for task, columns in (("redshift", ["redshift"]), ("properties", list(PROPERTIES))):
            y = QTable(truth[columns])
            print(f"\n{task} from the {modality}: the head")
            print(load_head(heads / f"{task}-{modality}.safetensors").report(asked, y[test]))
            knn = NeighborsHead().fit(x, y[learned])
            knn.calibrate(unseen, QTable(others_truth[columns])[spare])
            print(f"{task} from the {modality}: k nearest of {len(x)} mocks, calibrated alike")
            print(knn.report(asked, y[test]))


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
    on_mocks(MockSurvey.open(mocks), MockSurvey.open(others), model, heads, neighbours)


if __name__ == "__main__":
    main()
