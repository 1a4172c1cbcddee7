"""How much of a mock's looks simple moments of its noisy picture tell: a mark for embeddings.

Gradient boosting on concentration, ellipticity and angular moments of the r-band picture in three
apertures, and on colours, of galaxies as bright as those that the volunteers of Galaxy Zoo saw.
"""

import click
import numpy as np
from header import print_header
from sklearn.ensemble import HistGradientBoostingClassifier

from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.benchmark.morphology import ZOO_LIMIT, mock_labels
from astroclip_astro.training.split import held_out

RADII = (3, 6, 10, 16, 25, 40)  # pixels
APERTURES = (4, 8, 14)  # standard deviation of Gaussian weights, pixels
ROWS, COLUMNS = np.mgrid[:152, :152] - 75.5
DISTANCE, ANGLE = np.hypot(ROWS, COLUMNS), np.arctan2(ROWS, COLUMNS)


def moments(image):
    """Numbers that describe a picture (3, 152, 152)."""
    plane = image[1]
    growth = [plane[radius > DISTANCE].sum() for radius in RADII]
    found = [flux / max(growth[-1], 1e-6) for flux in growth[:-1]]
    for width in APERTURES:
        weighted = plane * np.exp(-0.5 * (DISTANCE / width) ** 2)
        total = weighted.sum()
        xx, yy, xy = (
            (weighted * one).sum() / total for one in (COLUMNS**2, ROWS**2, ROWS * COLUMNS)
        )
        found += [xx + yy, np.hypot(xx - yy, 2 * xy) / (xx + yy)]
        found += [abs((weighted * np.exp(1j * m * ANGLE)).sum() / total) for m in (2, 3, 4)]
    g, r, z = (-2.5 * np.log10(max(band[DISTANCE < 20].sum(), 1e-3)) for band in image)
    return [*found, g - r, r - z, r]


@click.command()
@click.argument("mocks", type=click.Path(exists=True))
@click.option("--n", default=20000, show_default=True, help="Mocks to take.")
def main(mocks, n):
    print_header("scikit-learn")
    survey, rng = MockSurvey.open(mocks), np.random.default_rng(0)
    truth = survey.truth_array[:n]
    rows = np.flatnonzero((truth["kind"] == b"galaxy") & (truth["mag_r"] < ZOO_LIMIT))
    x = []
    for block in np.array_split(rows, max(1, len(rows) // 100)):
        arrays = survey.arrays(block)
        noise = rng.standard_normal(arrays["image"].shape, dtype=np.float32)
        observed = arrays["image"] + arrays["image_sigma"][:, :, None, None] * noise
        x += [moments(one) for one in observed]
    x, truth, test = np.array(x), truth[rows], held_out(n)[rows]
    labels = mock_labels({name: truth[name] for name in truth.dtype.names})
    print(f"{len(rows)} galaxies with r < {ZOO_LIMIT}; accuracy (always the commonest):\n")
    for question, answers in labels.items():
        train, asked = (answers != "") & ~test, (answers != "") & test
        model = HistGradientBoostingClassifier(random_state=0).fit(x[train], answers[train])
        commonest = np.unique(answers[asked], return_counts=True)[1].max() / asked.sum()
        print(
            f"{question:12s}{asked.sum():6d} {model.score(x[asked], answers[asked]):.3f} "
            f"({commonest:.3f})"
        )


if __name__ == "__main__":
    main()
