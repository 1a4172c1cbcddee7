"""Zero-shot and few-shot heads on frozen embeddings, and the measures of how good they are.

Zero-shot is the k nearest neighbours of Parker et al. 2024, section 5: weighted by inverse
distance, k = 64, standardised embeddings. Few-shot is a multilayer perceptron on the same.
"""

import warnings
from math import nan

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from astroclip_astro.errors import InputError

__all__ = [
    "HEADS",
    "accuracy",
    "bootstrap_error",
    "classify",
    "known",
    "r2",
    "regress",
]

#: What each head is, for the tables' captions; {k} is the number of neighbours.
HEADS = {
    "kNN": "k nearest neighbours, k = {k}, weights 1/distance, standardised embeddings",
    "MLP": "perceptron with two hidden layers of 64 (ReLU, Adam 1e-3, batches of at most 200, "
    "stopped early on a tenth of the training objects), standardised embeddings",
}

# Of the perceptron; a tenth of fewer objects says nothing about when to stop.
_HIDDEN = (64, 64)
_FEWEST = 20


def known(values):
    """Which values are known.

    Parameters
    ----------
    values : array_like
        Numbers, booleans or text, possibly masked, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool: neither masked, nor NaN or infinite, nor empty text.

    Examples
    --------
    >>> from astroclip_astro.training.benchmark.heads import known
    >>> known([1.0, float("nan")]), known(["spiral", ""])
    (array([ True, False]), array([ True, False]))
    """
    mask, values = np.ma.getmaskarray(values), np.asarray(np.ma.getdata(values))
    if values.dtype.kind == "f":
        return np.isfinite(values) & ~mask
    if values.dtype.kind in "US":
        return (values != values.dtype.type()) & ~mask
    if values.dtype.kind in "biu":
        return ~mask
    raise InputError(f"values of type {values.dtype}: expected numbers, booleans or text")


def regress(train, values, test, *, head="kNN", k=64, seed=0):
    """Predict a number for test objects from the embeddings of training objects.

    Parameters
    ----------
    train : numpy.ndarray
        Embeddings to learn from, shape (n, feature), finite.
    values : numpy.ndarray
        What is to be learnt, shape (n,). Objects whose value is not `known` are left out.
    test : numpy.ndarray
        Embeddings to predict for, shape (m, feature), finite.
    head : {"kNN", "MLP"}
        See `HEADS`.
    k : int
        Number of neighbours.
    seed : int
        Of the perceptron.

    Returns
    -------
    numpy.ndarray
        Predictions, shape (m,), float64.

    Raises
    ------
    InputError
        If an embedding is not finite, or too few training objects are left: fewer than `k`, or
        than 20 for a perceptron.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.heads import regress
    >>> x = np.linspace(0, 1, 50)[:, None]
    >>> regress(x, 3 * x[:, 0], np.array([[0.5]]), k=2)
    array([1.5])
    """
    train, values, test = _prepared(train, values, test, head, k)
    values = values.astype(float)
    if head == "kNN":
        return KNeighborsRegressor(k, weights="distance").fit(train, values).predict(test)
    scaler = StandardScaler().fit(values[:, None])
    model = MLPRegressor(
        hidden_layer_sizes=_HIDDEN, early_stopping=True, max_iter=500, random_state=seed
    )
    _fit(model, train, scaler.transform(values[:, None])[:, 0])
    return scaler.inverse_transform(model.predict(test)[:, None])[:, 0]


def classify(train, labels, test, *, head="kNN", k=64, seed=0):
    """Predict a class for test objects from the embeddings of training objects.

    Parameters
    ----------
    train : numpy.ndarray
        Embeddings to learn from, shape (n, feature), finite.
    labels : numpy.ndarray
        Their classes, shape (n,): text, booleans or integers. Objects whose class is not `known`
        are left out, and so are classes of a single object.
    test : numpy.ndarray
        Embeddings to predict for, shape (m, feature), finite.
    head : {"kNN", "MLP"}
        See `HEADS`.
    k : int
        Number of neighbours.
    seed : int
        Of the perceptron.

    Returns
    -------
    numpy.ndarray
        Predicted classes, shape (m,), of the type of `labels`.

    Raises
    ------
    InputError
        If an embedding is not finite, or too few training objects are left: fewer than `k`, or for
        a perceptron fewer than 20 or than 10 per class.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.heads import classify
    >>> x = np.linspace(0, 1, 50)[:, None]
    >>> classify(x, np.where(x[:, 0] > 0.5, "disc", "smooth"), np.array([[0.1], [0.9]]), k=3)
    array(['smooth', 'disc'], dtype='<U6')
    """
    train, labels, test = _prepared(train, labels, test, head, k)
    classes, members = np.unique(labels, return_counts=True)
    kept = np.isin(labels, classes[members > 1])
    train, labels = train[kept], labels[kept]
    n_classes = (members > 1).sum()
    if len(train) < (k if head == "kNN" else max(_FEWEST, 10 * n_classes)):
        raise InputError(
            f"{len(train)} training objects for {n_classes} classes of more than one object: "
            "expected at least k, and 10 per class for an MLP"
        )
    if n_classes == 1:
        return np.full(len(test), labels[0])
    if head == "kNN":
        return KNeighborsClassifier(k, weights="distance").fit(train, labels).predict(test)
    model = MLPClassifier(
        hidden_layer_sizes=_HIDDEN, early_stopping=True, max_iter=500, random_state=seed
    )
    return _fit(model, train, labels).predict(test)


def _prepared(train, values, test, head, k):
    """Known training objects, and embeddings standardised by them."""
    if head not in HEADS:
        raise ValueError(f"head is {head!r}, expected one of {', '.join(HEADS)}")
    for name, vectors in (("train", train), ("test", test)):
        if not np.isfinite(vectors).all():
            raise InputError(f"{name} embeddings are not finite: leave out what is not embedded")
    usable = known(values)
    needed = k if head == "kNN" else _FEWEST
    if usable.sum() < needed:
        raise InputError(
            f"{usable.sum()} training objects of {len(usable)} have a known value: expected at "
            f"least {needed} for {head}; take more objects" + (" or a smaller k" * (head == "kNN"))
        )
    scaler = StandardScaler().fit(np.asarray(train, np.float64)[usable])
    values = np.asarray(np.ma.getdata(values))[usable]
    return scaler.transform(np.asarray(train)[usable]), values, scaler.transform(np.asarray(test))


def _fit(model, x, y):
    with warnings.catch_warnings():
        # Reaching max_iter is no fault: the weights of the best validation score are kept.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def r2(true, predicted):
    """Coefficient of determination, over what is known of both.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Shape (n,); entries where either is NaN are left out.

    Returns
    -------
    float
        `sklearn.metrics.r2_score`; NaN with fewer than two objects.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.heads import r2
    >>> r2(np.array([1.0, 2.0, 3.0, np.nan]), np.array([1.0, 2.0, 3.0, 0.0]))
    1.0
    """
    both = np.isfinite(true) & np.isfinite(predicted)
    return float(r2_score(true[both], predicted[both])) if both.sum() > 1 else nan


def accuracy(true, predicted):
    """Fraction of the objects of known class that are put in it.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Shape (n,); entries where either is not `known` are left out.

    Returns
    -------
    float
        `sklearn.metrics.accuracy_score`; NaN without objects.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.heads import accuracy
    >>> accuracy(np.array(["a", "b", ""]), np.array(["a", "a", "a"]))
    0.5
    """
    both = known(true) & known(predicted)
    return float(accuracy_score(true[both], predicted[both])) if both.any() else nan


def bootstrap_error(statistic, n, *, n_resamples=200, seed=0):
    """Standard error of a statistic of n objects, by drawing them again with replacement.

    Parameters
    ----------
    statistic : callable
        Takes the indices of the objects drawn, shape (n,), int, and returns a float.
    n : int
        Number of objects.
    n_resamples : int
        How often they are drawn.
    seed : int
        Decides which.

    Returns
    -------
    float
        Standard deviation over the resamples in which the statistic is finite; NaN with fewer
        than two objects.

    Notes
    -----
    Only test objects are drawn again: the error is that of the test, not of the training.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.heads import bootstrap_error
    >>> x = np.random.default_rng(0).normal(size=400)
    >>> round(bootstrap_error(lambda drawn: x[drawn].mean(), 400), 2)
    0.05
    """
    if n < 2:
        return nan
    with warnings.catch_warnings():
        # Where all resamples agree, the error is 0, and that is right.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        drawn = bootstrap(
            (np.arange(n),),
            statistic,
            n_resamples=n_resamples,
            batch=1,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    drawn = drawn[np.isfinite(drawn)]
    return float(drawn.std(ddof=1)) if drawn.size > 1 else nan
