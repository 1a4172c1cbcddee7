"""Checks of task heads: scikit-learn's manners, and answers for every object."""

import inspect
import textwrap
from contextlib import contextmanager

import numpy as np
from astropy.table import Table
from sklearn.base import clone

from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.errors import InputError
from astroclip_astro.tasks import Head, load_head
from astroclip_astro.testing.check import NotApplicable, check, require
from astroclip_astro.testing.plugin import factory_loads

__all__ = ["CHECKS"]

_OBJECTS, _FEATURES = 64, 8


@check(
    fix="Let __init__ name its parameters, give each a default, and store them as they are, under "
    "their names, and nothing else: validate them in fit."
)
def constructor_only_stores(subject):
    """The constructor needs no arguments, and stores its parameters unchanged, and only those."""
    cls = _class(subject)
    parameters = inspect.signature(cls).parameters
    for name, parameter in parameters.items():
        plain = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        require(plain, f"its constructor takes *{name}, which has no name for each parameter")
        require(parameter.default is not parameter.empty, f"parameter {name} has no default")
    head = cls()
    for name, parameter in parameters.items():
        require(hasattr(head, name), f"parameter {name} is not stored")
        stored = getattr(head, name)
        given = parameter.default
        require(stored is given, f"parameter {name} is {given!r} and is stored as {stored!r}")
    others = set(vars(head)) - set(parameters)
    require(not others, f"its constructor sets {', '.join(sorted(others))} as well")
    return cls


@check(
    fix="Subclass sklearn.base.BaseEstimator (as astroclip_astro.tasks.Head does) or let "
    "get_params, set_params and the constructor agree on the names."
)
def parameters_can_be_got_and_set(subject):
    """get_params gives what the constructor takes, set_params changes it, clone copies it."""
    cls = subject.needs(constructor_only_stores)
    head = cls()
    if not hasattr(head, "get_params"):
        raise NotApplicable("it has no get_params: it cannot be cloned or searched for parameters")
    expected = set(inspect.signature(cls).parameters)
    found = set(head.get_params(deep=False))
    require(found == expected, f"get_params gives {sorted(found)}, not {sorted(expected)}")
    for name in expected:
        marker = object()
        require(head.set_params(**{name: marker}) is head, "set_params does not return the head")
        got = head.get_params(deep=False)[name]
        require(got is marker, f"set_params does not change {name}")
    copied = clone(cls()).get_params(deep=False)
    require(set(copied) == expected, "clone loses parameters")


@check(
    fix="Call sklearn.utils.validation.check_is_fitted(self) at the beginning of predict (the "
    "subclasses of astroclip_astro.tasks.Head do)."
)
def predict_before_fit_raises(subject):
    """A head that has not been fitted refuses to predict."""
    head = subject.needs(constructor_only_stores)()
    X, _ = _data(subject)
    try:
        answer = _ask(head)(X)
    except Exception:
        return
    require(False, f"predict returned a {type(answer).__name__} before fit was called")


@check(
    fix="End fit with `return self`, and end the names of all that it learns in an underscore "
    "(vectors_); it may set nothing else."
)
def fit_returns_itself(subject):
    """What fit returns is the head, and what it sets are attributes that end in an underscore."""
    head = subject.needs(constructor_only_stores)()
    before = dict(vars(head))
    returned = _fitted(subject, head)
    require(returned is head, f"fit returned {returned!r}, expected the head itself")
    after = vars(head)
    changed = [name for name in before if after.get(name, before) is not before[name]]
    require(not changed, f"fit changes the parameters {', '.join(changed)}")
    learned = set(after) - set(before)
    odd = sorted(name for name in learned if not name.endswith("_") and name[0] != "_")
    require(not odd, f"fit sets {', '.join(odd)}")
    require(learned, "fit sets nothing: what has it learned?")
    return head


@check(
    fix="Let predict return one row for each object in order: an array for an array, a table for "
    "embeddings; no NaN for an object that has a vector."
)
def predicts(subject):
    """There is one finite prediction for each object."""
    X, head = _asked(subject)
    with _may_need_an_example(subject):
        answer = _ask(head)(X)
    numbers = _numbers(answer)
    require(len(answer) == len(X), f"{len(X)} objects have {len(answer)} predictions")
    require(numbers.size > 0, f"predict returned no numbers but {answer!r}")
    lost = int((~np.isfinite(numbers)).any(axis=1).sum())
    require(not lost, f"{lost} of {len(X)} predictions are not finite")
    return numbers


@check(fix="Let predict look at each object alone, and draw random numbers from a fixed seed.")
def predicts_each_object_alone(subject):
    """Predictions stay the same when asked again, in another order, and for fewer objects."""
    X, head = _asked(subject)
    first = subject.needs(predicts)
    some = _numbers(_ask(head)(X[::-2]))
    require(some.shape[1:] == first.shape[1:], "predictions for fewer objects have other columns")
    close = np.allclose(some, first[::-2], rtol=1e-3, atol=1e-5)
    require(close, "an object's prediction depends on what else is asked")


@check(
    fix="Name in _learned the arrays that fit leaves, set kind to the entry's name, and extend "
    "_about and _restore for the rest; see astroclip_astro.tasks.base.Head."
)
def saves_and_loads(subject):
    """A head that was saved and loaded predicts the same."""
    X, head = _asked(subject)
    if not isinstance(head, Head):
        raise NotApplicable("it is no astroclip_astro.tasks.Head, which has save")
    if not subject.entry.fitted:
        name = subject.entry.name
        require(head.kind == name, f"its kind is {head.kind!r}, and it is registered as {name!r}")
    expected = subject.needs(predicts)
    path = subject.folder / "head.safetensors"
    head.save(path)
    again = _numbers(_ask(load_head(path))(X))
    require(np.allclose(again, expected, atol=1e-6), "it predicts something else")


def _class(subject):
    factory = subject.needs(factory_loads)
    if subject.entry.fitted:
        raise NotApplicable("it is a fitted head")
    require(inspect.isclass(factory), f"its factory is {factory!r}, expected a class")
    require(callable(getattr(factory, "fit", None)), "it has no fit")
    _ask(factory)
    return factory


def _ask(head):
    """The method that answers: predict, or of what turns embeddings into others, transform."""
    found = getattr(head, "predict", None) or getattr(head, "transform", None)
    require(callable(found), "it has no predict")
    return found


def _data(subject):
    """What to learn from: the example, or vectors of which the first number is to be predicted."""
    if subject.example is not None:
        return subject.example
    x = np.random.default_rng(0).normal(size=(_OBJECTS, _FEATURES))
    return x, np.exp(x[:, 0] / 4)  # positive, as redshifts and masses are


def _fitted(subject, head):
    X, y = _data(subject)
    fit = head.fit
    with _may_need_an_example(subject):
        return fit(X) if len(inspect.signature(fit).parameters) == 1 else fit(X, y)


@contextmanager
def _may_need_an_example(subject):
    """A head may refuse made data, such as one that learns from tables of votes."""
    try:
        yield
    except InputError as error:
        if subject.example is not None:
            raise
        raise NotApplicable(
            "no example: give parametrize_with_checks(…, example=(X, y)), as it refuses the made "
            f"data: {textwrap.shorten(str(error), 150, placeholder=' …')}"
        ) from error


def _asked(subject):
    """Objects, and the head to ask about them."""
    if not subject.entry.fitted:
        return _data(subject)[0], subject.needs(fit_returns_itself)
    modality = "spectrum"
    head = subject.needs(factory_loads)(modality)
    if subject.example is not None:
        return subject.example[0], head
    if not isinstance(head, Head):
        raise NotApplicable("no example: give parametrize_with_checks(…, example=(X, None))")
    return _embeddings(head, modality), head


def _embeddings(head, modality):
    """Made embeddings that pass for those that a head was fitted on."""
    n = _OBJECTS
    x = np.random.default_rng(0).normal(size=(n, head.n_features_in_)).astype(np.float32)
    if not head.provenance_:
        return x
    columns = {"object_id": [f"object-{i}" for i in range(n)], "modality": [modality] * n}
    columns |= {"survey": [""] * n, "quality": np.zeros(n, int)}
    columns |= {name: np.zeros(n) for name in ("ra", "dec", "redshift", "coverage", "snr")}
    return make_embeddings(x, columns, head.provenance_)


def _numbers(answer):
    """All numbers of an answer, shape (object, number)."""
    if isinstance(answer, Table):
        columns = [
            np.ma.filled(np.ma.asarray(getattr(answer[name], "value", answer[name]), float), np.nan)
            for name in answer.colnames
            if answer[name].dtype.kind in "fiu" and name != "quality"
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(answer), 0))
    array = np.asarray(answer)
    require(array.ndim > 0, f"predict returned {answer!r}, expected one value per object")
    if array.dtype.kind not in "fiub":  # classes by name: any is as good as a finite number
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    return array.reshape(len(array), -1).astype(float)


CHECKS = (
    constructor_only_stores,
    parameters_can_be_got_and_set,
    predict_before_fit_raises,
    fit_returns_itself,
    predicts,
    predicts_each_object_alone,
    saves_and_loads,
)
