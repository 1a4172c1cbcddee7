"""Real DESI and SDSS spectra and Legacy Survey cutouts through the bundled model."""

import numpy as np
import pytest

import astroclip_astro as aa
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality


@pytest.fixture(scope="module")
def data(shared_dir):
    return shared_dir / "data"


def flagged(embeddings, bit):
    return (embeddings.quality.values & bit) != 0


def is_galaxy(embeddings):
    return ~flagged(embeddings, Quality.NOT_A_GALAXY)


def test_every_desi_galaxy_embeds(data):
    files = [
        *sorted((data / "desi_andes").glob("coadd-*.fits")),
        data / "desi_native" / "coadd-4-80613-thru20210324.fits",
        data / "desi_native" / "coadd-special-dark-27247.fits",
    ]
    found = aa.embed(files)
    galaxies = found[is_galaxy(found)]
    assert len(galaxies) >= 90
    assert galaxies.astroclip.valid.all()
    assert np.isfinite(galaxies.redshift).all()
    assert set(found.survey.values) == {"desi"}


def test_every_sdss_galaxy_embeds(data):
    files = sorted((data / "sdss_spectra").glob("*.fits"))
    files += sorted((data / "pairs_legacyjpg_sdssspec").glob("*.fits"))
    found = aa.embed(files)
    assert len(found) == len(files) >= 30
    assert found.astroclip.valid.all()
    controls = np.array(["control" in path.name for path in files])
    np.testing.assert_array_equal(~is_galaxy(found), controls)


def test_cutouts_embed_or_say_why_not(data):
    files = sorted((data / "legacysurvey_fits").glob("*.fits"))
    found = aa.embed(files)
    for path, row in zip(files, found, strict=True):
        bits = Quality(int(row.quality))
        if "BADPIX" in path.name:
            assert Quality.MISSING_BAND | Quality.NOT_EMBEDDED in bits
            assert np.isnan(row).all()
        elif "1p0" in path.name:
            assert Quality.UNDERSAMPLED | Quality.OUT_OF_TRAINING_RANGE in bits
        else:
            assert Quality.NOT_EMBEDDED not in bits
            assert np.isfinite(row).all()


def test_rows_without_data_are_flagged(data):
    found = aa.embed(data / "desi_native" / "coadd-5-169-thru20210419.fits")
    empty = flagged(found, Quality.NO_DATA)
    assert empty.sum() == 4
    assert np.isnan(found[empty]).all()
    assert np.isfinite(found[~empty]).all()


def test_a_rest_frame_stack_and_pictures_are_refused(data):
    with pytest.raises(InputError, match="rest frame"):
        aa.embed(data / "desi_native" / "stack-LRG.fits")
    picture = next((data / "galaxy10_decals_jpg").glob("*.jpg"))
    with pytest.raises(InputError, match="legacysurvey-rgb"):
        aa.embed(picture)


def test_pictures_embed_when_asked_for(data):
    pytest.importorskip("PIL")
    files = sorted((data / "galaxy10_decals_jpg").glob("class_*.jpg"))[:5]
    found = aa.embed(files, survey="legacysurvey-rgb")
    assert found.astroclip.valid.all()
    assert flagged(found, Quality.OUT_OF_TRAINING_RANGE).all()


def test_one_galaxy_at_two_pixel_scales_embeds_alike(data):
    files = sorted((data / "legacysurvey_fits").glob("decals_J094651*.fits"))
    everything = aa.embed(sorted((data / "legacysurvey_fits").glob("*.fits")))
    valid = everything[everything.astroclip.valid.values]
    pair = aa.embed(files)
    same = float(pair.astroclip.similarity()[0, 1])
    others = pair[0].astroclip.similarity(valid).values.ravel()
    # Itself and its twin come first.
    assert np.sort(others)[-2] <= same + 1e-6


def test_repeat_observations_are_nearer_than_95_percent_of_all_spectra(data):
    files = sorted((data / "sdss_spectra").glob("*.fits"))
    files += sorted((data / "pairs_legacyjpg_sdssspec").glob("*.fits"))
    files += sorted((data / "desi_andes").glob("coadd-*.fits"))
    found = aa.embed(files)
    names = found.object_id.values.tolist()
    similarity = found.astroclip.similarity().values
    for first, second in (
        ("0266-51602-0166", "0266-51630-0174"),
        ("0266-51602-0526", "0266-51630-0525"),
    ):
        for a, b in ((first, second), (second, first)):
            i, j = names.index(a), names.index(b)
            others = np.delete(similarity[i], [i, j])
            assert np.mean(others < similarity[i, j]) >= 0.95, (a, b)
