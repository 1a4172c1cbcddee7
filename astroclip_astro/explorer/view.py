"""What a page is looking at, and the same as the query of its address: a permalink."""

import base64
import binascii
import math
from dataclasses import dataclass, fields, replace
from urllib.parse import parse_qsl, urlencode

import numpy as np

from astroclip_astro.errors import InputError

__all__ = ["LONGEST", "Dropped", "View", "checked_window"]

#: Most characters of a query, and of what somebody types.
LONGEST = 16_384

_MOST_CORNERS = 64  # of an outline
# Links have as many digits as tell such places apart.
_FARTHEST, _FINEST = 1e6, 1e-9  # from the middle of a map; of what is seen of it


@dataclass(frozen=True)
class Dropped:
    """The vector of an object that is not in the catalog.

    Parameters
    ----------
    modality : str
        What it is a vector of.
    vector : tuple of float
        Its numbers, as float16 has them.
    redshift : float
        Of the object, or NaN.
    """

    modality: str
    vector: tuple
    redshift: float = math.nan

    def __str__(self):
        numbers = base64.urlsafe_b64encode(np.asarray(self.vector, "<f2").tobytes()).decode()
        return f"{self.modality} {self.redshift:.6g} {numbers}"

    @classmethod
    def parse(cls, text):
        """Read it back from text.

        Parameters
        ----------
        text : str
            As ``str`` wrote it.

        Returns
        -------
        Dropped

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            modality, redshift, numbers = text.split(" ")
            vector = np.frombuffer(base64.b64decode(numbers, b"-_", validate=True), "<f2")
            found = cls(modality, tuple(vector.astype(float).tolist()), float(redshift))
        except (ValueError, binascii.Error) as error:
            raise InputError("the link has a damaged vector: drop the file again") from error
        if not vector.size or not np.isfinite(vector).all() or not vector.any():
            raise InputError("the link has a vector without a direction: drop the file again")
        return found


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page is looking at.

    Parameters
    ----------
    map : str
        Modality of the vectors that the map is of; "" for the first there is.
    colour : str
        Column that points are coloured by; "" for how many there are.
    object : str
        ``object_id`` of what is looked at; "" for nothing.
    dropped : Dropped, optional
        What is looked at, if it is not in the catalog.
    where : str
        Condition on columns; "" for none.
    fixed : bool
        Whether neighbours are those at fixed redshift.
    outline : tuple of tuple of float
        Corners on the map of what is selected; () for everything.
    window : tuple of float
        Lower and upper limits of x and of y of the map; () for all of it.

    Examples
    --------
    >>> from astroclip_astro.explorer.view import View
    >>> view = View(object="mock-7", where="z < 0.3")
    >>> view.query
    'object=mock-7&where=z+%3C+0.3'
    >>> View.parse(view.query) == view
    True
    """

    map: str = ""
    colour: str = ""
    object: str = ""
    dropped: Dropped | None = None
    where: str = ""
    fixed: bool = False
    outline: tuple = ()
    window: tuple = ()

    @property
    def query(self):
        """As the query of an address, without the question mark (str)."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        text = {}
        for name, value in given.items():
            if name == "fixed":
                text[name] = "1" if value else ""
            elif name == "outline":
                text[name] = " ".join(f"{x:.9g},{y:.9g}" for x, y in value)
            elif name == "window":
                text[name] = " ".join(f"{limit:.12g}" for limit in value)
            else:
                text[name] = "" if value is None else str(value)
        return urlencode({name: value for name, value in text.items() if value}, safe=",")

    @classmethod
    def parse(cls, query):
        """Read the query of an address.

        Parameters
        ----------
        query : str
            With or without the question mark; what else is in it is ignored.

        Returns
        -------
        View

        Raises
        ------
        InputError
            If it is too long, or a part of it makes no sense.
        """
        if len(query) > LONGEST:
            raise InputError(f"the link is of {len(query)} characters: expected {LONGEST} at most")
        given = dict(parse_qsl(query.removeprefix("?")))
        known = {one.name for one in fields(cls)}
        found = {name: text for name, text in given.items() if name in known}
        if "fixed" in found:
            found["fixed"] = found["fixed"] == "1"
        if "dropped" in found:
            found["dropped"] = Dropped.parse(found["dropped"])
        if "outline" in found:
            found["outline"] = tuple(
                _numbers(corner.split(","), 2, "outline") for corner in found["outline"].split()
            )
            if not 3 <= len(found["outline"]) <= _MOST_CORNERS:
                raise InputError(
                    f"the outline in the link has {len(found['outline'])} corners: expected 3 to "
                    f"{_MOST_CORNERS}"
                )
        if "window" in found:
            found["window"] = checked_window(_numbers(found["window"].split(), 4, "window"))
        return cls(**found)

    def within(self, xs, ys):
        """The same view with another outline, of no more corners than a link has room for.

        Parameters
        ----------
        xs, ys : sequence of float
            Of its corners.

        Returns
        -------
        View
            Without an outline if it has less than three.
        """
        corners = list(zip(map(float, xs), map(float, ys), strict=True))
        step = -(-len(corners) // _MOST_CORNERS) or 1
        corners = corners[::step]
        return replace(self, outline=tuple(corners) if len(corners) > 2 else ())


def checked_window(window):
    """Refuse a part of the map that cannot be drawn.

    Parameters
    ----------
    window : sequence of float
        Lower and upper limits of x and of y.

    Returns
    -------
    tuple of float
        The same.

    Raises
    ------
    InputError
        If it is empty, or so small or large that numbers no longer tell places in it apart.
    """
    for low, high in (window[:2], window[2:]):
        farthest = max(abs(low), abs(high))
        if not (farthest <= _FARTHEST and high - low > _FINEST * max(farthest, 1)):
            raise InputError("there is nothing to be seen in this part of the map")
    return tuple(window)


def _numbers(parts, count, name):
    try:
        numbers = tuple(map(float, parts))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"the {name} in the link is damaged: expected numbers")
    return numbers
