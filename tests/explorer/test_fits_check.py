"""Files that are not what their headers say, told without reading their data."""

from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits

from astroclip_astro.errors import InputError
from astroclip_astro.explorer.fits_check import check_fits

LARGEST = 1 << 20


@pytest.fixture(scope="module")
def content():
    """A file of each kind of HDU."""
    rng = np.random.default_rng(1)
    columns = [
        fits.Column("flux", "E", array=rng.normal(size=300)),
        fits.Column("flags", "11X", array=rng.random((300, 11)) > 0.5),
        fits.Column(
            "many", "PE()", array=np.array([np.ones(i % 5, "f4") for i in range(300)], "O")
        ),
    ]
    text = [fits.Column("name", "A8", array=["NGC 5227", "M 51"], ascii=True)]
    image = rng.integers(0, 99, (40, 50)).astype(">i2")
    hdus = [
        fits.PrimaryHDU(image),
        fits.BinTableHDU.from_columns(columns),
        fits.CompImageHDU(image, compression_type="RICE_1"),
        fits.TableHDU.from_columns(text),
    ]
    return written(hdus)


def written(hdus):
    file = BytesIO()
    fits.HDUList(hdus).writeto(file)
    return file.getvalue()


@pytest.fixture
def check(tmp_path):
    def check(content):
        path = tmp_path / "galaxy.fits"
        path.write_bytes(content)
        check_fits(path, LARGEST)

    return check


def edited(content, keyword, value, hdu=0):
    """Change a card of a header in place, where it is."""
    starts = [0, *(i for i in range(2880, len(content), 2880) if content[i:].startswith(b"XTENS"))]
    at = content.index(f"{keyword:8}=".encode(), starts[hdu])
    return content[:at] + f"{keyword:8}= {value:>20}".ljust(80).encode() + content[at + 80 :]


def refused(check, content):
    with pytest.raises(InputError, match=r"^galaxy\.fits: ") as caught:
        check(content)
    return str(caught.value)


def test_good_file_passes(check, content):
    check(content)
    check(written([fits.PrimaryHDU()]))
    check(written([fits.PrimaryHDU(header=fits.Header({"HISTORY": "NAXIS = 4096"}))]))


def test_file_that_was_cut_off_anywhere(check, content):
    with fits.open(BytesIO(content)) as hdulist:
        infos = [hdu.fileinfo() for hdu in hdulist]
        sizes = [hdu.filebytes() for hdu in hdulist]
    whole = {0, *np.cumsum(sizes).tolist()}
    places = {
        *np.linspace(1, len(content) - 3000, 12).astype(int).tolist(),
        *(info["hdrLoc"] + 1000 for info in infos),
        *(info["datLoc"] + 10 for info in infos),
    }
    assert len(places - whole) == 20
    for place in places:
        refused(check, content[:place])


@pytest.mark.parametrize("seed", range(50))
def test_what_is_random_behind_a_header_is_refused_or_harmless(check, content, seed):
    rng = np.random.default_rng(seed)
    start = int(rng.choice([9, 80, 400, 2880, len(content)]))
    noise = rng.bytes(int(rng.integers(1, 9000)))
    assert refused(check, content[:start] + noise)
    # Some bytes of a good file changed: nothing but the package's own error may come of it.
    damaged = np.frombuffer(content, np.uint8).copy()
    damaged[rng.integers(0, 6000, 8)] = rng.integers(32, 127, 8)
    with suppress(InputError):
        check(damaged.tobytes())


@pytest.mark.parametrize(
    ("keyword", "value", "hdu", "message"),
    [
        ("NAXIS1", "1000000000", 0, "HDU 0 is an array of 80000000000 bytes"),
        ("NAXIS1", "10000000000000", 0, "galaxy.fits"),
        ("NAXIS1", "9" * 19, 0, "galaxy.fits"),
        ("NAXIS2", "1000000000", 1, "HDU 1 is an array of"),
        ("NAXIS1", "0", 1, "columns of HDU 1 are wider than its rows"),
        ("NAXIS1", "-50", 0, "expected whole numbers"),
        ("NAXIS1", "5.0E1", 0, "galaxy.fits"),
        ("NAXIS1", "T", 0, "expected whole numbers"),
        ("NAXIS1", "'fifty   '", 0, "galaxy.fits"),
        ("NAXIS", "999999999", 0, "NAXIS is over 999"),
        ("NAXIS", "+1000", 0, "NAXIS is over 999"),
        ("NAXIS", "-1", 0, "galaxy.fits"),
        ("NAXIS", "3", 1, "galaxy.fits"),
        ("NAXIS", "1", 1, "columns of HDU 1"),
        ("BITPIX", "7", 0, "HDU 0 has BITPIX 7"),
        ("PCOUNT", "10000000000000", 1, "HDU 1 should end at byte"),
        ("PCOUNT", "-2000", 1, "negative PCOUNT"),
        ("GCOUNT", "1000000", 1, "HDU 1 should end at byte"),
        ("GCOUNT", "0", 1, "no GCOUNT"),
        ("TFIELDS", "100000", 1, "TFIELDS is over 999"),
        ("TFIELDS", "4", 1, "galaxy.fits"),
        ("TFORM1", "'1000000000000E'", 1, "galaxy.fits"),
        ("TFORM1", "'100000E '", 1, "columns of HDU 1 are wider than its rows"),
        ("ZNAXIS1", "1000000000", 2, "HDU 2, decompressed with those before it, is an array of"),
        ("ZTILE1", "1000000000", 2, "HDU 2, decompressed with those before it, is an array of"),
        ("ZNAXIS2", "-40", 2, "expected whole numbers"),
        ("ZBITPIX", "1000000000", 2, "HDU 2 has ZBITPIX"),
        ("SIMPLE", "F", 0, "neither an image nor a table"),
        ("XTENSION", "'FOREIGN '", 1, "neither an image nor a table"),
    ],
)
def test_absurd_header(check, content, keyword, value, hdu, message):
    assert message in refused(check, edited(content, keyword, value, hdu))


def test_axis_without_length_hides_no_long_one(check, content):
    bomb = edited(edited(content, "NAXIS1", "0"), "NAXIS2", "10000000000000")
    assert "HDU 0 is an array of" in refused(check, bomb)


def test_random_groups(check):
    header = fits.Header([("SIMPLE", True), ("BITPIX", 16), ("NAXIS", 2), ("NAXIS1", 0)])
    header.update(NAXIS2=2, GROUPS=True, PCOUNT=1, GCOUNT=1)
    content = header.tostring().encode() + bytes(2880)
    assert "neither an image nor a table" in refused(check, content)


def test_compressed_image_that_would_be_large(check):
    hdus = [fits.CompImageHDU(np.zeros((1024, 1024), "f4"), compression_type="GZIP_2")]
    content = written([fits.PrimaryHDU(), *hdus])
    assert 200 * len(content) > 4 * LARGEST
    assert "HDU 1, decompressed with those before it, is an array of 4194304" in refused(
        check, content
    )
    small = [fits.CompImageHDU(np.zeros((512, 512), "f4")) for _ in range(2)]
    assert "HDU 2, decompressed with those before it" in refused(
        check, written([fits.PrimaryHDU(), *small])
    )
    check(written([fits.PrimaryHDU(), small[0]]))


def test_what_is_not_ascii(check, content):
    assert "HDU 0 holds something that is not printable ASCII" in refused(
        check, content[:400] + b"COMMENT \x1b[31m caf\xe9".ljust(80) + content[480:]
    )


def test_many_hdus(check):
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU() for _ in range(200))]
    assert "more than 200 HDUs" in refused(check, written(hdus))
    check(written(hdus[:200]))


def test_what_comes_after_the_last_hdu(check, content):
    assert "Header missing END card" in refused(check, content + b"MZ\x90" * 960)
    assert "comes something that is no HDU" in refused(check, content + bytes(2880))
    assert "no blocks of 2880" in refused(check, content + b"\0")
