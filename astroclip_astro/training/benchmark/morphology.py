"""Classes of galaxies by their looks: from volunteers' votes, or from what a mock is made of."""

import numpy as np

from astroclip_astro.errors import InputError

__all__ = ["ZOO_LIMIT", "mock_labels", "vote_labels"]

#: Galaxies fainter than this in r were not shown to the volunteers (Walmsley et al. 2022, MNRAS
#: 509, 3966). They also chose Petrosian radii above 3 arcsec, which hardly any brighter mock lacks.
ZOO_LIMIT = 17.77

# Questions of Galaxy Zoo DECaLS (Walmsley et al. 2022, MNRAS 509, 3966) by the paper's names.
_QUESTIONS = {
    "smooth-or-featured": "smooth",
    "disk-edge-on": "edge-on",
    "has-spiral-arms": "spiral",
    "bar": "bar",
    "bulge-size": "bulge size",
    "how-rounded": "how rounded",
    "edge-on-bulge": "edge-on bulge",
    "spiral-winding": "winding",
    "spiral-arm-count": "arm count",
    "merging": "merging",
}

# Where classes of mocks begin: choices. The bulge fractions split the mocks' discs about evenly.
_BULGE_DOMINATED = 0.5
_EDGE_ON = 0.35
_BULGE_SIZES = {"small": 0.0, "moderate": 0.15, "large": 0.3}


def vote_labels(table, *, minimum_votes=34):
    """Turn volunteers' votes into the class that most of them chose.

    Parameters
    ----------
    table : astropy.table.Table
        With columns as the catalogues of Galaxy Zoo DECaLS name them: ``{question}_total-votes``
        and ``{question}_{answer}_fraction``, e.g. ``bar_strong_fraction``.
    minimum_votes : int
        A galaxy has a class only where more volunteers than this answered the question.

    Returns
    -------
    dict of numpy.ndarray
        By question, text of shape (n,), ``""`` where the class is unknown. The questions that the
        paper has carry the paper's names.

    Raises
    ------
    InputError
        If there is no such column, or a question has fractions but no number of votes.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.training.benchmark.morphology import vote_labels
    >>> table = Table({
    ...     "disk-edge-on_total-votes": [50, 50, 34],
    ...     "disk-edge-on_yes_fraction": [0.8, 0.1, 1.0],
    ...     "disk-edge-on_no_fraction": [0.2, 0.9, 0.0]})
    >>> vote_labels(table)
    {'edge-on': array(['yes', 'no', ''], dtype='<U3')}
    """
    answers = {}
    for name in table.colnames:
        if name.endswith("_fraction") and name.count("_") == 2:
            question, answer, _ = name.split("_")
            answers.setdefault(question, {})[answer] = np.ma.filled(
                np.ma.asarray(table[name], float), np.nan
            )
    if not answers:
        raise InputError(
            f"no votes among the columns {', '.join(table.colnames)}: expected "
            "{question}_{answer}_fraction and {question}_total-votes"
        )
    labels = {}
    for question, fractions in answers.items():
        if f"{question}_total-votes" not in table.colnames:
            raise InputError(f"column {question}_total-votes is missing beside its fractions")
        votes = np.ma.filled(np.ma.asarray(table[f"{question}_total-votes"]), 0)
        stacked = np.stack(list(fractions.values()))
        decided = (votes > minimum_votes) & np.isfinite(stacked).all(0)
        winner = np.where(np.isfinite(stacked), stacked, 0).argmax(0)
        chosen = np.array(list(fractions))[winner]
        labels[_QUESTIONS.get(question, question)] = np.where(decided, chosen, "")
    return labels


def mock_labels(truth):
    """Classes of simulated galaxies from what they are made of.

    Like volunteers, it asks of a disc only what can be seen of it. Edge-on, arms, bar and bulge
    are asked of discs (less than half of the light in the bulge), the last three of those that
    are not edge-on (axis ratio of 0.35 or more), and the number of arms of spirals.

    Parameters
    ----------
    truth : mapping of numpy.ndarray
        Columns of the mocks' truth, shape (n,): ``bulge_to_total``, ``axis_ratio``, ``n_arms``,
        ``bar_fraction``. NaN where the object is no galaxy.

    Returns
    -------
    dict of numpy.ndarray
        By question, text of shape (n,), ``""`` where it is not asked; only the questions whose
        columns are there.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.morphology import mock_labels
    >>> labels = mock_labels({"bulge_to_total": np.array([0.9, 0.2, 0.1]),
    ...                       "axis_ratio": np.array([0.8, 0.2, 0.9])})
    >>> labels["smooth"], labels["edge-on"], labels["bulge size"]
    (array(['smooth', 'disc', 'disc'], dtype='<U6'), array(['', 'yes', 'no'], dtype='<U3'),
     array(['', '', 'small'], dtype='<U8'))
    """
    columns = {
        name: np.asarray(getattr(truth[name], "value", truth[name]), float)
        for name in ("bulge_to_total", "axis_ratio", "n_arms", "bar_fraction")
        if name in getattr(truth, "colnames", truth)
    }
    if not {"bulge_to_total", "axis_ratio"} <= columns.keys():
        return {}
    bulge, ratio = columns["bulge_to_total"], columns["axis_ratio"]
    galaxy = np.isfinite(bulge) & np.isfinite(ratio)
    disc = galaxy & (bulge < _BULGE_DOMINATED)
    seen = disc & (ratio >= _EDGE_ON)

    def label(asked, answer):
        return np.where(asked, answer, "")

    sizes = np.searchsorted(list(_BULGE_SIZES.values()), bulge, side="right") - 1
    labels = {
        "smooth": label(galaxy, np.where(disc, "disc", "smooth")),
        "edge-on": label(disc, np.where(ratio < _EDGE_ON, "yes", "no")),
        "bulge size": label(seen, np.array(list(_BULGE_SIZES))[sizes]),
    }
    if "n_arms" in columns:
        arms = columns["n_arms"]
        labels["spiral"] = label(seen, np.where(arms > 0, "yes", "no"))
        text = np.nan_to_num(arms).astype(int).astype(str)
        labels["arm count"] = label(seen & (arms > 0), text)
    if "bar_fraction" in columns:
        labels["bar"] = label(seen, np.where(columns["bar_fraction"] > 0, "yes", "no"))
    return labels
