"""What volunteers are asked: the questions of a decision tree, their answers, and votes on them."""

from collections import Counter

import numpy as np
from astropy.table import Table

from astroclip_astro.errors import InputError

__all__ = ["GALAXY_ZOO", "checked_questions", "vote_columns", "votes_from_labels"]

_FEATURED = ["smooth-or-featured", "featured-or-disk"]
_FACE_ON = ["disk-edge-on", "no"]
_SPIRAL = ["has-spiral-arms", "yes"]

#: The ten questions of Galaxy Zoo DECaLS from data release 5 on, and its decision tree (Walmsley et
#: al. 2022, MNRAS 509, 3966), as used by Parker et al. 2024 (MNRAS 531, 4990), section 5. Columns
#: are named as in the volunteers' catalogue (doi:10.5281/zenodo.4573248).
GALAXY_ZOO = {
    "smooth-or-featured": ["smooth", "featured-or-disk", "artifact"],
    "disk-edge-on": {"answers": ["yes", "no"], "asked_if": _FEATURED},
    "has-spiral-arms": {"answers": ["yes", "no"], "asked_if": _FACE_ON},
    "bar": {"answers": ["strong", "weak", "no"], "asked_if": _FACE_ON},
    "bulge-size": {
        "answers": ["dominant", "large", "moderate", "small", "none"],
        "asked_if": _FACE_ON,
    },
    "how-rounded": {
        "answers": ["round", "in-between", "cigar-shaped"],
        "asked_if": ["smooth-or-featured", "smooth"],
    },
    "edge-on-bulge": {
        "answers": ["boxy", "none", "rounded"],
        "asked_if": ["disk-edge-on", "yes"],
    },
    "spiral-winding": {"answers": ["tight", "medium", "loose"], "asked_if": _SPIRAL},
    "spiral-arm-count": {
        "answers": ["1", "2", "3", "4", "more-than-4", "cant-tell"],
        "asked_if": _SPIRAL,
    },
    "merging": {
        "answers": ["none", "minor-disturbance", "major-disturbance", "merger"],
        "asked_if": ["smooth-or-featured", "smooth", "featured-or-disk"],
    },
}


def votes_from_labels(labels):
    """Turn classes into votes: one for each known class.

    Parameters
    ----------
    labels : dict of array_like
        By question, text of shape (n,), ``""`` where the class is unknown, as
        `astroclip_astro.training.benchmark.morphology.mock_labels` and ``vote_labels`` give it.

    Returns
    -------
    questions : dict of list of str
        The classes of each question, sorted: what `VotesHead` takes.
    votes : astropy.table.Table
        A row per object, columns ``<question>_<answer>``, 1 where that is its class and 0
        elsewhere.

    Raises
    ------
    InputError
        If there are no labels, they are no text, or of different lengths.

    Examples
    --------
    >>> from astroclip_astro.tasks.questions import votes_from_labels
    >>> questions, votes = votes_from_labels({"bar": ["yes", "", "no"]})
    >>> questions
    {'bar': ['no', 'yes']}
    >>> print(votes)
    bar_no bar_yes
    ------ -------
         0       1
         0       0
         1       0
    """
    columns = {question: np.asarray(values) for question, values in labels.items()}
    if not columns:
        raise InputError("no labels: expected {question: text of shape (n,)}")
    n = len(next(iter(columns.values())))
    questions, votes = {}, Table()
    for question, values in columns.items():
        if values.dtype.kind != "U" or values.shape != (n,):
            raise InputError(
                f"labels of {question!r} are {values.dtype} of shape {values.shape}: expected text "
                f"of shape ({n},), '' where the class is unknown"
            )
        questions[question] = [str(answer) for answer in np.unique(values[values != ""])]
        for answer in questions[question]:
            votes[f"{question}_{answer}"] = (values == answer).astype(int)
    return questions, votes


def vote_columns(tree):
    """Name the columns of a table of votes.

    Parameters
    ----------
    tree : dict
        As `checked_questions` returns it.

    Returns
    -------
    list of str
        ``<question>_<answer>`` of all answers, in order.
    """
    return [f"{q}_{answer}" for q, about in tree.items() for answer in about["answers"]]


def checked_questions(questions):
    """Check questions, and bring them to one form.

    Parameters
    ----------
    questions : dict
        As `VotesHead` takes it.

    Returns
    -------
    dict of dict
        By question, its ``answers`` and what it is ``asked_if``, or None.

    Raises
    ------
    InputError
        If it is not of that form, a parent does not come first, or two columns of the predictions
        would have one name.
    """
    if not isinstance(questions, dict) or not questions:
        raise InputError(f"questions is {questions!r}: expected a dict {{question: [answers]}}")
    tree = {}
    for question, about in questions.items():
        about = about if isinstance(about, dict) else {"answers": about}
        answers, after = about.get("answers"), about.get("asked_if")
        if (
            not isinstance(answers, list | tuple)
            or not all(isinstance(text, str) for text in (question, *answers))
            or len(answers) < 2
            or about.keys() - {"answers", "asked_if"}
        ):
            raise InputError(
                f"question {question!r} is {about!r}: expected 'answers', a list of two or more, "
                "all text, and perhaps 'asked_if'; leave a question with a single answer out"
            )
        if after is not None:
            parent, *those = after if after and isinstance(after, list | tuple) else [after]
            known = tree[parent]["answers"] if parent in list(tree) else []
            if not those or any(answer not in known for answer in those):
                raise InputError(
                    f"{question!r} is asked if {after!r}: expected a list of a question that comes "
                    "before it and one or more of the answers to that"
                )
            after = [parent, *dict.fromkeys(those)]
        tree[question] = {"answers": list(answers), "asked_if": after}
    # Each becomes a column of the predictions.
    names = ["object_id", "quality", "reason", *tree, *(f"{q}_asked" for q in tree)]
    clash = [name for name, n in Counter(names + vote_columns(tree)).items() if n > 1]
    if clash:
        raise InputError(f"two columns would be named {clash[0]!r}: rename a question or answer")
    return tree
