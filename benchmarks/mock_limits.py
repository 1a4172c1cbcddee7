"""How much of a mock's redshift and properties its noise-free photometry and shape tell at all.

Gradient boosting on the truth table: the most that a model of images (or of fibre spectra, given
the redshift) could reach on the same mocks with the same question.
"""

import click
import numpy as np
from header import print_header
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import r2_score

from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.split import held_out

MAGNITUDES = ("mag_g", "mag_r", "mag_z")
SHAPE = ("r_half", "bulge_to_total", "axis_ratio", "bulge_axis_ratio", "n_knots")
FIBRE = ("redshift", "fibre_mag_r", "g_r", "r_z")
PROPERTIES = ("log_mass", "log_z", "age", "log_ssfr")


@click.command()
@click.argument("mocks", type=click.Path(exists=True))
def main(mocks):
    print_header("scikit-learn")
    survey = MockSurvey.open(mocks)
    table = survey.truth_array
    truth = {name: table[name] for name in table.dtype.names}
    truth["fibre_mag_r"] = truth["mag_r"] - 2.5 * np.log10(truth["fibre_fraction"])
    truth["g_r"] = truth["mag_g"] - truth["mag_r"]
    truth["r_z"] = truth["mag_r"] - truth["mag_z"]
    test = held_out(len(survey))
    galaxy = table["kind"] == b"galaxy"
    train, test = galaxy & ~test, galaxy & test
    print(f"{train.sum()} galaxies to learn from, {test.sum()} held out: R²\n")
    for known, columns in (
        ("magnitudes", MAGNITUDES),
        ("magnitudes and shape", MAGNITUDES + SHAPE),
        ("redshift, fibre magnitude, colours", FIBRE),
    ):
        x = np.stack([truth[name] for name in columns], axis=1)
        scores = {}
        for name in ("redshift", *PROPERTIES):
            if name not in columns:
                model = HistGradientBoostingRegressor(random_state=0)
                predicted = model.fit(x[train], truth[name][train]).predict(x[test])
                scores[name] = r2_score(truth[name][test], predicted)
        scores["mean of four"] = np.mean([scores[name] for name in PROPERTIES])
        print(f"{known:36s}" + "   ".join(f"{n} {s:.3f}" for n, s in scores.items()))


if __name__ == "__main__":
    main()
