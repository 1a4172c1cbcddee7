"""A small survey for shipping: some galaxies of a large one, compressed.

``python -m astroclip_astro.simulate.bundle MOCKS`` makes the one that comes with the package.
"""

from pathlib import Path

import click
import h5py
import numpy as np

from astroclip_astro.simulate.survey import MockSurvey

__all__ = ["bundle"]


def bundle(survey, rows, path):
    """Write some galaxies of a survey as a survey of its own.

    Parameters
    ----------
    survey : MockSurvey
        Where they come from.
    rows : sequence of int
        Which galaxies.
    path : path-like
        Folder to write into, made if absent.

    Returns
    -------
    MockSurvey
        The small survey. Its galaxies keep their names and so their noise; their noiseless data are
        rounded to half precision, a thousandth of the flux.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    parts = [survey.arrays(slice(row, row + 1)) for row in rows]
    with h5py.File(path / "shard-00000.h5", "w") as file:
        file.attrs["seed"] = survey.seed
        file.attrs["recipe_hash"] = survey.recipe_hash
        for name in parts[0]:
            stacked = np.concatenate([part[name] for part in parts]).astype(np.float16)
            file.create_dataset(
                name, data=stacked, chunks=(1, *stacked.shape[1:]), compression=9, shuffle=True
            )
        file["truth"] = survey.truth_array[list(rows)]
    return MockSurvey.open(path)


@click.command()
@click.argument("mocks", type=click.Path(exists=True, file_okay=False))
@click.option("--n", default=40, show_default=True, help="Galaxies to take.")
def main(mocks, n):
    """Bundle N galaxies of the survey MOCKS that the bundled model was not trained on.

    They are the first galaxies held out whose spectrum has a median S/N per pixel above 2.

    Example: python -m astroclip_astro.simulate.bundle mocks/
    """
    from astroclip_astro.training.split import held_out

    survey = MockSurvey.open(mocks)
    truth = survey.truth
    wanted = held_out(len(survey)) & (truth["snr_spectrum"] > 2) & (truth["kind"] == "galaxy")
    small = bundle(survey, np.flatnonzero(wanted)[:n], Path(__file__).with_name("data"))
    click.echo(repr(small))


if __name__ == "__main__":
    main()
