"""What a ``where`` may say: comparisons of columns, read by a parser and written anew.

Nothing of the text given reaches the engine: it is parsed, what is no comparison is refused, and
the filter is written from the tree. So it can select rows and do nothing else.
"""

from astroclip_astro.errors import InputError

__all__ = ["KINDS", "predicate", "text_in"]

#: Kinds of columns that can be compared.
KINDS = ("number", "text", "truth")

_COMPARISONS = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
_LONGEST = 10_000  # characters
_INTEGERS = 2**63


def predicate(where, columns):
    """Turn a condition on columns into a filter that can do nothing but filter.

    Parameters
    ----------
    where : str
        Condition as in SQL: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``BETWEEN``, ``IN``,
        ``LIKE``, ``IS NULL``, ``AND``, ``OR``, ``NOT``, brackets, ``+ - * /`` and, between whole
        numbers, ``&``; text in single quotes. A value that is unknown (masked, NaN) fulfils no
        comparison, nor its opposite.
    columns : dict of str
        Kind of each column, one of `KINDS`. Case matters in their names, unless there is no doubt.
        ``z`` means ``redshift`` where there is no column of that name.

    Returns
    -------
    str
        The condition in the dialect of DataFusion.

    Raises
    ------
    InputError
        If it is no condition, names an unknown column, compares numbers with text, or has anything
        else in it.

    Examples
    --------
    >>> from astroclip_astro.catalog.predicate import predicate
    >>> predicate("0.1 < z AND z < 0.3", {"redshift": "number"})
    '((0.1 < `redshift`) AND (`redshift` < 0.3))'
    >>> predicate("1 = 1; DROP TABLE objects", {"redshift": "number"})
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: where is '1 = 1; DROP TABLE objects': expected one condition
    """
    import sqlglot

    if not isinstance(where, str):
        raise InputError(f"where is a {type(where).__name__}, expected text such as '0.1 < z'")
    if len(where) > _LONGEST:
        raise InputError(f"where has {len(where)} characters, expected at most {_LONGEST}")
    try:
        statements = sqlglot.parse(where)
        if len(statements) != 1 or statements[0] is None:
            raise InputError(f"where is {where!r}: expected one condition")
        sql, kind = _Writer(where, columns).write(statements[0])
    except sqlglot.errors.SqlglotError as error:
        about = error.errors[0] if getattr(error, "errors", None) else {}
        at = f" at {about['highlight']!r}" if about.get("highlight") else ""
        raise InputError(f"where is {where!r}, which cannot be read{at}") from error
    except RecursionError as error:
        raise InputError("where is nested too deeply: expected fewer brackets") from error
    if kind != "truth":
        raise InputError(f"where is {where!r}, a {kind}: expected a condition, such as '0.1 < z'")
    return sql


def text_in(column, values):
    """A filter for rows whose text is one of some values.

    Parameters
    ----------
    column : str
        Name of the column.
    values : sequence of str
        At least one.

    Returns
    -------
    str
        The condition in the dialect of DataFusion.

    Raises
    ------
    InputError
        If one of them is no text.

    Examples
    --------
    >>> from astroclip_astro.catalog.predicate import text_in
    >>> text_in("object_id", ["a", "it's"])
    "(`object_id` IN ('a', 'it''s'))"
    """
    odd = [value for value in values if not isinstance(value, str)]
    if odd:
        raise InputError(f"{column} {odd[0]!r} is no text")
    listed = ", ".join(_quoted(str(value)) for value in values)
    return f"(`{column}` IN ({listed}))"


class _Writer:
    """Writes a parsed condition anew: a method for each kind of node, and none for any other."""

    def __init__(self, where, columns):
        self.where = where
        self.columns = columns

    def write(self, node):
        """SQL of a node, and the kind of what it says."""
        name = type(node).__name__
        if node.comments:
            raise self._wrong("it has a comment")
        if name in _COMPARISONS:
            return self._comparison(_COMPARISONS[name], node.this, node.expression)
        if name in ("And", "Or"):
            return self._joined(node)
        if name in _ARITHMETIC:
            return self._calculation(_ARITHMETIC[name], node)
        method = getattr(self, f"_{name.lower()}", None)
        if method is None:
            raise self._wrong(f"{node.sql()!r} is no comparison of columns and values")
        return method(node)

    def _wrong(self, reason):
        return InputError(f"where is {self.where!r}: {reason}")

    def _of_kind(self, node, kind):
        sql, found = self.write(node)
        if found != kind:
            raise self._wrong(f"{node.sql()!r} is a {found}, expected a {kind}")
        return sql

    def _comparison(self, sign, left, right):
        if {type(left).__name__, type(right).__name__} & _COMPARISONS.keys():
            raise self._wrong("a comparison of a comparison: write 0.1 < z AND z < 0.3")
        sql, kind = self.write(left)
        other = self._of_kind(right, kind)
        if kind == "truth" and sign not in ("=", "!="):
            raise self._wrong("conditions cannot be compared by size: join them by AND")
        return f"({sql} {sign} {other})", "truth"

    def _joined(self, node):
        """Conditions joined by AND or OR, of which there may be hundreds, without recursion."""
        parts = [self._of_kind(one, "truth") for one in node.flatten(unnest=False)]
        return f"({f' {type(node).__name__.upper()} '.join(parts)})", "truth"

    def _calculation(self, sign, node):
        # As floating-point numbers, since integers overflow; and nothing by zero, since NaN is
        # larger than any number here.
        left, right = (
            f"CAST({self._of_kind(one, 'number')} AS DOUBLE)"
            for one in (node.this, node.expression)
        )
        return f"({left} {sign} {f'NULLIF({right}, 0.0)' if sign == '/' else right})", "number"

    def _column(self, node):
        name = node.name
        if len(node.parts) != 1:
            raise self._wrong(f"{node.sql()!r} is no name of a column")
        if name not in self.columns:
            alike = [one for one in self.columns if one.lower() == name.lower()]
            if name == "z" and not alike and "redshift" in self.columns:
                alike = ["redshift"]
            if len(alike) != 1:
                known = ", ".join(self.columns)
                quotes = " (text goes in single quotes)" if node.this.quoted else ""
                raise self._wrong(f"there is no column {name!r}{quotes}; there are {known}")
            (name,) = alike
        return f"`{name}`", self.columns[name]

    def _literal(self, node):
        if node.is_string:
            return _quoted(node.this), "text"
        try:
            value = int(node.this)
        except ValueError:
            value = float(node.this)
        if abs(value) >= _INTEGERS:
            value = float(value)
        if abs(value) == float("inf"):
            raise self._wrong(f"{node.this} is larger than any number")
        return repr(value), "number"

    def _neg(self, node):
        return f"(-{self._of_kind(node.this, 'number')})", "number"

    def _paren(self, node):
        return self.write(node.this)

    def _not(self, node):
        return f"(NOT {self._of_kind(node.this, 'truth')})", "truth"

    def _boolean(self, node):
        return ("TRUE" if node.this else "FALSE"), "truth"

    def _between(self, node):
        sql, kind = self.write(node.this)
        low, high = (self._of_kind(node.args[end], kind) for end in ("low", "high"))
        if kind == "truth" or node.args.get("symmetric"):
            raise self._wrong(f"{node.sql()!r} is no range")
        return f"({sql} BETWEEN {low} AND {high})", "truth"

    def _in(self, node):
        sql, kind = self.write(node.this)
        if not node.expressions:
            raise self._wrong(f"{node.sql()!r} has no list of values")
        for value in node.expressions:
            if type(value).__name__ not in ("Literal", "Neg"):
                raise self._wrong(f"{value.sql()!r} is no value to be IN a list")
        values = ", ".join(self._of_kind(value, kind) for value in node.expressions)
        return f"({sql} IN ({values}))", "truth"

    def _is(self, node):
        if type(node.expression).__name__ != "Null":
            raise self._wrong(f"{node.sql()!r}: only IS NULL and IS NOT NULL are known")
        return f"({self.write(node.this)[0]} IS NULL)", "truth"

    def _like(self, node):
        if type(node.expression).__name__ != "Literal":
            raise self._wrong(f"{node.sql()!r}: expected LIKE 'a text'")
        text, pattern = (self._of_kind(one, "text") for one in (node.this, node.expression))
        return f"({text} LIKE {pattern})", "truth"

    def _bitwiseand(self, node):
        left, right = (
            f"CAST({self._of_kind(one, 'number')} AS BIGINT)"
            for one in (node.this, node.expression)
        )
        return f"({left} & {right})", "number"


def _quoted(text):
    """Text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
