"""Finding real galaxies by their other modality: pictures of the Legacy Surveys, spectra of SDSS.

DATA is a folder with a table ``pairs.csv`` of columns ``image``, ``spectrum`` and ``z``; the
pictures have 0.1 arcsec per pixel. Intervals are exact ones for a binomial share at 95 %.
"""

from pathlib import Path

import click
from astropy.table import Table
from header import print_header

import astroclip_astro as aa
from astroclip_astro.surveys.legacysurvey import LegacySurveyRGB
from astroclip_astro.training.benchmark.retrieval import retrieval

PIXEL_SCALE = 0.1  # arcsec
FIRST = (1, 3, 5)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False))
@click.option("--model", default=None, help="Name or path; default: the bundled model.")
def main(data, model):
    print_header("torch")
    model, data = aa.load_model(model), Path(data)
    pairs = Table.read(data / "pairs.csv", format="csv")
    here = [(data / p["image"]).exists() and (data / p["spectrum"]).exists() for p in pairs]
    pairs = pairs[here]
    survey = LegacySurveyRGB(pixel_scale=PIXEL_SCALE)
    images = [image for name in pairs["image"] for image in survey.read(data / name)]
    vectors = {
        "image": aa.embed(images, model=model, survey="legacysurvey-rgb", errors="raise"),
        "spectrum": aa.embed([data / name for name in pairs["spectrum"]], model=model),
    }
    vectors = {name: found.to_numpy() for name, found in vectors.items()}
    n = len(pairs)
    print(f"model {model.name}, weights {model.weights_sha256[:16]}; {n} pairs, pool of {n}")
    print(f"{'':20s}" + "".join(f"recall@{k:<16d}" for k in FIRST) + "median rank")
    for asked, kept in (("image", "spectrum"), ("spectrum", "image")):
        found = retrieval(vectors[asked], vectors[kept], pool=n, at=FIRST)
        shown = ""
        for k in FIRST:
            low, high = found.recall_interval[k]
            shown += f"{f'{found.recall[k]:.2f} [{low:.2f}, {high:.2f}]':23s}"
        print(f"{asked + ' → ' + kept:20s}{shown}{found.median_rank:.1f}")
    chance = "".join(f"{k / n:<23.2f}" for k in FIRST)
    print(f"{'chance':20s}{chance}{(n + 1) / 2:.1f}")


if __name__ == "__main__":
    main()
