"""Download of published checkpoints from Hugging Face, verified against what the hub states."""

import os
from pathlib import Path

from astropy.config import get_cache_dir

from astroclip_astro.errors import OfflineError, WeightsError
from astroclip_astro.weights.layout import file_sha256

__all__ = ["cache_dir", "download"]

_SUFFIXES = (".ckpt", ".pt", ".pth")


def cache_dir():
    """Folder of converted weights.

    Returns
    -------
    pathlib.Path
        ``$ASTROCLIP_CACHE`` if set, else ``astroclip_astro`` in astropy's cache; it may not exist
        yet.
    """
    given = os.environ.get("ASTROCLIP_CACHE")
    return Path(given) if given else Path(get_cache_dir()) / "astroclip_astro"


def download(repo, revision=None):
    """Fetch the checkpoint of a repository, or find it in the hub's own cache.

    Parameters
    ----------
    repo : str
        Name on the hub, e.g. ``"polymathic-ai/astroclip"``.
    revision : str, optional
        Branch, tag or commit; the default branch by default.

    Returns
    -------
    path : pathlib.Path
        The file in the hub's cache.
    sha256 : str
        Its SHA-256, equal to what the hub states.
    commit : str
        The commit that it is from.

    Raises
    ------
    OfflineError
        If the hub cannot be reached.
    WeightsError
        If the repository or revision does not exist or needs a login, if it does not hold exactly
        one checkpoint, or if the file is not the one that the hub states; such a file is removed.
    """
    import httpx2
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    where = f"{repo} at {revision or 'its default revision'} on {constants.ENDPOINT}"
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        files = [f for f in info.siblings if f.rfilename.endswith(_SUFFIXES)]
        if len(files) != 1 or not files[0].lfs:
            raise WeightsError(
                f"{where} holds {len(files)} checkpoints ({', '.join(_SUFFIXES)}), expected one "
                "with a SHA-256: download the right one yourself and pass its path"
            )
        (file,) = files
        path = Path(hf_hub_download(repo, file.rfilename, revision=info.sha))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise WeightsError(
            f"{where} cannot be had (HTTP {status}): check its name and revision; a gated "
            "repository needs a login (hf auth login)"
        ) from error
    except (OSError, httpx2.HTTPError) as error:
        raise OfflineError(
            f"{where} cannot be reached ({type(error).__name__}: {error}). Without a network, pass "
            "the path of a checkpoint that you copied here, or use the bundled 'astroclip-mini'"
        ) from error
    found = file_sha256(path)
    if found != file.lfs.sha256:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"{file.rfilename} of {where} has SHA-256 {found}, but the hub states "
            f"{file.lfs.sha256}: it is damaged or was tampered with, and was removed; try again"
        )
    return path, found, info.sha
