"""How good the bundled model is on held-out mocks: zero-shot properties and cross-modal retrieval.

Zero-shot means k nearest neighbours (k = 64, weighted by inverse distance, standardised
embeddings), as in Parker et al. 2024, section 5. The neighbours are training mocks.
"""

import click
import numpy as np
from header import print_header
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

import astroclip_astro as aa
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.alignment import held_out

PROPERTIES = ("redshift", "log_mass", "log_z", "age", "log_ssfr")


def encode(model, survey, index, modality):
    """Vectors of noisy observations (realisation 0) of the chosen mocks."""
    observe = survey.spectrum if modality == "spectrum" else survey.cutout
    found = aa.embed((observe(i) for i in index), model=model, errors="raise", progress=False)
    return found.to_numpy()


@click.command()
@click.argument("mocks", type=click.Path(exists=True))
@click.option("--model", default=None, help="Name or path; default: the bundled model.")
@click.option("--neighbours", default=10_000, show_default=True, help="Training mocks to look in.")
@click.option("--tested", default=2_000, show_default=True, help="Held-out mocks to test on.")
@click.option("--pool", default=1_000, show_default=True, help="Pool of the retrieval test.")
def main(mocks, model, neighbours, tested, pool):
    print_header("torch", "scikit-learn")
    survey = MockSurvey.open(mocks)
    model = aa.load_model(model)
    test = np.flatnonzero(held_out(len(survey)))[:tested]
    train = np.flatnonzero(~held_out(len(survey)))[:neighbours]
    truth = survey.truth
    print(f"model    {model.name}, weights {model.weights_sha256[:16]}")
    print(
        f"kNN k = 64, neighbours: {len(train)} training mocks, tested: {len(test)} held-out mocks\n"
    )
    vectors = {}
    print(f"{'R²':10s}" + "".join(f"{p:>10s}" for p in PROPERTIES))
    for modality in model.modalities:
        a, b = (encode(model, survey, i, modality) for i in (train, test))
        vectors[modality] = b
        scaler = StandardScaler().fit(a)
        scores = []
        for name in PROPERTIES:
            y = np.asarray(getattr(truth[name], "value", truth[name]), float)
            knn = KNeighborsRegressor(64, weights="distance")
            knn.fit(scaler.transform(a), y[train])
            scores.append(r2_score(y[test], knn.predict(scaler.transform(b))))
        print(f"{modality:10s}" + "".join(f"{s:10.3f}" for s in scores))
    image, spectrum = (
        vectors[m][:pool] / np.linalg.norm(vectors[m][:pool], axis=1, keepdims=True)
        for m in ("image", "spectrum")
    )
    similarity = image @ spectrum.T
    print(f"\n{'retrieval in a pool of ' + str(pool):34s} top 1   top 10   top 1 %   median rank")
    for name, s in (("image → spectrum", similarity), ("spectrum → image", similarity.T)):
        rank = (s > np.diag(s)[:, None]).sum(1)
        shares = [np.mean(rank < n) for n in (1, 10, pool // 100)]
        print(
            f"{name:34s}" + "".join(f"{s:7.3f} " for s in shares) + f"{np.median(rank) + 1:12.0f}"
        )


if __name__ == "__main__":
    main()
