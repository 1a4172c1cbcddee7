"""The head for votes: what volunteers would answer about a galaxy, question by question."""

import numpy as np
import torch
import zuko
from astropy.table import Table

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import names_of
from astroclip_astro.tasks.network import NetworkHead
from astroclip_astro.tasks.questions import GALAXY_ZOO, checked_questions, vote_columns
from astroclip_astro.tasks.targets import read_targets

__all__ = ["VotesHead"]


class VotesHead(NetworkHead):
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
    discussed_ : list of str
        Those on which an object had several votes: only these tell how far volunteers disagree.

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
        self.questions_ = checked_questions(
            GALAXY_ZOO if self.questions is None else self.questions
        )
        votes = self._votes(X, y, len(x))
        for question, part in zip(self.questions_, self._by_question(votes), strict=True):
            given = np.array(self.questions_[question]["answers"])[part.any(0)]
            if len(given) < 2:
                found = f"one class only, {given[0]}" if len(given) else "no votes"
                raise InputError(
                    f"{question}: {found}: expected votes for at least two answers; leave the "
                    "question out, or add objects about which others were given"
                )
        self.discussed_ = [
            question
            for question, part in zip(self.questions_, self._by_question(votes), strict=True)
            if (part.sum(1) > 1).any()
        ]
        voted = votes.any(1)  # of the others there is nothing to learn, nor to tell when to stop
        self._train(self._loss, self._scale(x)[voted], votes[voted])
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
            each answer, the expected fraction of votes ``<question>_<answer>_fraction`` and, if
            the question is one of `discussed_`, its standard deviation
            ``<question>_<answer>_error``; the most probable answer ``<question>`` (str), and the
            probability ``<question>_asked`` that the question is asked; and ``quality`` and
            ``reason`` why the row is masked. Of plain vectors: the
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
                if question in self.discussed_:
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
        return zuko.nn.MLP(self.n_features_in_, sum(self._sizes()), self.hidden)

    def _loss(self, network, x, votes):
        sizes = self._sizes()
        parts = zip(
            _positive(network(x)).split(sizes, -1), votes.split(sizes, -1), strict=True
        )  # fmt: skip
        return -sum(_log_likelihood(*part) for part in parts).mean()

    def _concentrations(self, X, *, complete=False):
        x = torch.tensor(self._standardised(self._vectors(X, complete=complete))).float()
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
        names = vote_columns(self.questions_)
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

    def _about(self):
        names = ("questions_", "discussed_")
        return super()._about() | {name: getattr(self, name) for name in names}


def _positive(output):
    """Concentrations between 1 and 101 from what a network gives."""
    return 1 + 100 * torch.sigmoid(output)


def _log_likelihood(concentrations, votes):
    """Of votes on one question under a Dirichlet-multinomial distribution, by object."""
    total, cast = concentrations.sum(-1), votes.sum(-1)
    of_all = torch.lgamma(total) + torch.lgamma(cast + 1) - torch.lgamma(total + cast)
    of_each = torch.lgamma(votes + concentrations) - torch.lgamma(concentrations)
    return of_all + (of_each - torch.lgamma(votes + 1)).sum(-1)
