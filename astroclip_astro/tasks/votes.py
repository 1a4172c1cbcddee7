"""The head for votes: what volunteers would answer about a galaxy, question by question."""

from collections import Counter

import numpy as np
import torch
import zuko
from astropy.table import Table
from sklearn.preprocessing import StandardScaler

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import Head, names_of
from astroclip_astro.tasks.network import fit_network, load_tensors, state_arrays
from astroclip_astro.tasks.targets import read_targets

__all__ = ["GALAXY_ZOO", "VotesHead", "votes_from_labels"]

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
    >>> from astroclip_astro.tasks.votes import votes_from_labels
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


class VotesHead(Head):
    """Perceptron that says which fractions of volunteers would give each answer.

    Parameters
    ----------
    questions : dict, optional
        The answers to each question, ``{question: [answer, ...]}``. A question that is not asked
        about every object is ``{"answers": [answer, ...], "asked_if": [parent, answer, ...]}``:
        it is asked after any of these answers to the question `parent`, which comes before it. By
        default `GALAXY_ZOO`.
    hidden : tuple of int
        Widths of the hidden layers.
    max_epochs, patience : int
        Training ends when a held-out tenth has not improved for `patience` passes, or after
        `max_epochs`.
    seed : int
        Of the initial weights, the order, and who is held out.

    Attributes
    ----------
    questions_ : dict
        The questions that were learned, each with ``answers`` and ``asked_if`` (or None).

    Notes
    -----
    The votes on each question are distributed as Dirichlet-multinomial, independently of other
    questions (Walmsley et al. 2022, MNRAS 509, 3966, after the binomial of Walmsley et al. 2020,
    MNRAS 491, 1554). A question without votes has likelihood one and teaches nothing: so the
    decision tree is honoured. The concentrations are 1 + 100 sigmoid(x), as in their code,
    https://github.com/mwalmsley/zoobot: none is below 1, where densities diverge at the edges.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.tasks import VotesHead
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 2))
    >>> yes = rng.binomial(40, np.where(x[:, 0] > 0, 0.8, 0.3))
    >>> head = VotesHead({"bar": ["yes", "no"]}, max_epochs=100)
    >>> head = head.fit(x, {"bar_yes": yes, "bar_no": 40 - yes})
    >>> head.predict(np.array([[1.0, 0.0], [-1.0, 0.0]])).round(1)
    array([[0.8, 0.2],
           [0.3, 0.7]])
    """

    kind = "votes"
    _learned = ("x_mean_", "x_scale_")

    def __init__(self, questions=None, hidden=(64, 64), max_epochs=300, patience=20, seed=0):
        self.questions = questions
        self.hidden = hidden
        self.max_epochs = max_epochs
        self.patience = patience
        self.seed = seed

    def fit(self, X, y):
        """Learn.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings, each with a vector, or plain vectors of shape (n, feature).
        y : astropy.table.Table, dict of array_like or structured numpy.ndarray
            Numbers of votes, a row per object, in columns ``<question>_<answer>``; 0 where nobody
            was asked. Other columns are left alone.

        Returns
        -------
        VotesHead
            Itself.

        Raises
        ------
        InputError
            If `questions` is not as described, a column is missing, votes are negative, masked,
            not finite or no numbers, all votes on a question are for one answer, an object has no
            vector, X and y have different lengths, or there are votes on fewer than 20 objects.
        """
        x = self._start(X)
        self.questions_ = _checked(GALAXY_ZOO if self.questions is None else self.questions)
        votes = self._votes(X, y, len(x))
        for question, part in zip(self.questions_, self._by_question(votes), strict=True):
            given = np.array(self.questions_[question]["answers"])[part.any(0)]
            if len(given) < 2:
                found = f"one class only, {given[0]}" if len(given) else "no votes"
                raise InputError(
                    f"{question}: {found}: expected votes for at least two answers; leave the "
                    "question out, or add objects about which others were given"
                )
        scaler = StandardScaler().fit(x)
        self.x_mean_, self.x_scale_ = scaler.mean_, scaler.scale_
        voted = votes.any(1)  # of the others there is nothing to learn, nor to tell when to stop
        x, votes = self._standardised(x)[voted], torch.tensor(votes[voted]).float()
        self.network_ = fit_network(
            self._network(), self._loss, (x, votes),
            max_epochs=self.max_epochs, patience=self.patience, seed=self.seed,
        )  # fmt: skip
        return self

    def predict(self, X):
        """Predict.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings of the same model, or plain vectors.

        Returns
        -------
        astropy.table.QTable or numpy.ndarray
            Of embeddings: a row per object, in order, with ``object_id``; of each question, for
            each answer, the expected fraction of votes ``<question>_<answer>_fraction`` and its
            standard deviation ``<question>_<answer>_error``, the most probable answer
            ``<question>`` (str), and the probability ``<question>_asked`` that the question is
            asked; and ``quality`` and ``reason`` why the row is masked. Of plain vectors: the
            fractions, shape (n, answer), float64.

        Raises
        ------
        ProvenanceError
            If they are of another model than those learned from.

        Notes
        -----
        Mean and variance of a Dirichlet distribution with concentrations a of sum A are m = a / A
        and m (1 - m) / (A + 1) (Kotz, Balakrishnan & Johnson 2000, Continuous Multivariate
        Distributions, chapter 49). A question is asked with the product of the expected fractions
        of the answers that lead to it.
        """
        concentrations = self._by_question(self._concentrations(X))
        totals = [part.sum(1, keepdims=True) for part in concentrations]
        fractions = [part / total for part, total in zip(concentrations, totals, strict=True)]
        if names_of(X) is None:
            return np.concatenate(fractions, axis=1)
        columns = {}
        for (question, about), fraction, total in zip(
            self.questions_.items(), fractions, totals, strict=True
        ):
            error = np.sqrt(fraction * (1 - fraction) / (total + 1))
            for i, answer in enumerate(about["answers"]):
                columns[f"{question}_{answer}_fraction"] = fraction[:, i]
                columns[f"{question}_{answer}_error"] = error[:, i]
            columns[question] = np.array(about["answers"])[fraction.argmax(1)]
            asked = np.ones(len(fraction))
            if about["asked_if"]:
                parent, *after = about["asked_if"]
                leading = sum(columns[f"{parent}_{answer}_fraction"] for answer in after)
                asked = columns[f"{parent}_asked"] * leading
            columns[f"{question}_asked"] = asked
        return self._answer(X, columns)

    def score(self, X, y):
        """How often the most probable answer has the most votes.

        Parameters
        ----------
        X : xarray.DataArray, astropy.table.Table or numpy.ndarray
            Embeddings, each with a vector, or plain vectors.
        y : astropy.table.Table, dict of array_like or structured numpy.ndarray
            Numbers of votes, as in `fit`.

        Returns
        -------
        float
            Mean accuracy of the questions, each over the objects that have votes on it; where
            several answers have equally many, each is right.

        Raises
        ------
        InputError
            If there are no votes, or as `fit` does.
        """
        found = self._concentrations(X, complete=True)
        votes = self._votes(X, y, len(found))
        accuracies = []
        for part, given in zip(self._by_question(found), self._by_question(votes), strict=True):
            right = given[np.arange(len(given)), part.argmax(1)] == given.max(1)
            if given.any():
                accuracies.append(right[given.any(1)].mean())
        if not accuracies:
            raise InputError("y has no votes: expected some to compare with")
        return float(np.mean(accuracies))

    def _sizes(self):
        return [len(about["answers"]) for about in self.questions_.values()]

    def _by_question(self, values):
        """Columns of all answers (n, answer), as a list of those to each question."""
        return np.split(values, np.cumsum(self._sizes())[:-1], axis=1)

    def _network(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return zuko.nn.MLP(self.n_features_in_, sum(self._sizes()), self.hidden)

    def _loss(self, network, x, votes):
        sizes = self._sizes()
        parts = zip(
            _positive(network(x)).split(sizes, -1), votes.split(sizes, -1), strict=True
        )  # fmt: skip
        return -sum(_log_likelihood(*part) for part in parts).mean()

    def _standardised(self, x):
        return torch.tensor((x - self.x_mean_) / self.x_scale_).float()

    def _concentrations(self, X, *, complete=False):
        x = self._standardised(self._vectors(X, complete=complete))
        with torch.no_grad():
            return _positive(self.network_(x)).double().numpy()

    def _votes(self, X, y, n):
        """Votes for all answers, shape (n, answer), float64."""
        if y is None:
            raise InputError("requires y to be passed, but the target y is None")
        try:
            table = Table(y, copy=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"y is a {type(y).__name__}: expected a table with a column <question>_<answer> "
                "for each answer"
            ) from error
        names = _columns(self.questions_)
        missing = [name for name in names if name not in table.colnames]
        if missing:
            raise InputError(
                f"y has no column {', '.join(missing)}: expected the number of votes for each "
                "answer, by the names in `questions`"
            )
        if len(table) != n:
            raise InputError(
                f"X has {n} objects and y {len(table)}: inconsistent numbers of samples"
            )
        try:
            votes, *_ = read_targets(table[names], names_of(X))
        except InputError as error:
            raise InputError(f"{error} (votes are 0 where nobody was asked)") from error
        if (votes < 0).any():
            row, column = np.argwhere(votes < 0)[0]
            raise InputError(
                f"row {row} of y has {votes[row, column]:g} votes in {names[column]}: expected 0 "
                "or more"
            )
        return votes

    def _arrays(self):
        return super()._arrays() | state_arrays(self.network_)

    def _about(self):
        return super()._about() | {"questions_": self.questions_}

    def _restore(self, arrays, about):
        super()._restore(arrays, about)
        self.network_ = load_tensors(self._network(), arrays)


def _positive(output):
    """Concentrations between 1 and 101 from what a network gives."""
    return 1 + 100 * torch.sigmoid(output)


def _log_likelihood(concentrations, votes):
    """Of votes on one question under a Dirichlet-multinomial distribution, by object."""
    total, cast = concentrations.sum(-1), votes.sum(-1)
    of_all = torch.lgamma(total) + torch.lgamma(cast + 1) - torch.lgamma(total + cast)
    of_each = torch.lgamma(votes + concentrations) - torch.lgamma(concentrations)
    return of_all + (of_each - torch.lgamma(votes + 1)).sum(-1)


def _columns(tree):
    """Names of the columns of votes."""
    return [f"{q}_{answer}" for q, about in tree.items() for answer in about["answers"]]


def _checked(questions):
    """Questions, each with its answers and what it is asked after."""
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
    clash = [name for name, n in Counter(names + _columns(tree)).items() if n > 1]
    if clash:
        raise InputError(f"two columns would be named {clash[0]!r}: rename a question or answer")
    return tree
