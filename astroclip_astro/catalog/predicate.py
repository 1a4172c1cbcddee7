"""What a ``where`` may say: comparisons of columns, read by a parser and written anew.

Nothing of the text given reaches the engine: it is parsed, what is no comparison is refused, and
the filter is written from the tree. So it can select rows and do nothing else.
"""

from typing import ClassVar

from astroclip_astro.errors import InputError

__all__ = ["KINDS", "predicate", "text_in"]

#: Kinds of columns that can be compared: any numbers, whole ones, text, and true or false.
KINDS = ("number", "integer", "text", "truth")

_COMPARISONS = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
# Parts of nodes that are understood; others change what a node means.
_PARTS = {"this", "expression", "expressions", "low", "high", "is_string", "negate"}
_LONGEST = 10_000  # characters
_DEEPEST = 12  # operations within one another: the engine reads not many more, and not in time
_MOST_TERMS = 50  # of a sum or product: the engine dies of several hundred
_INTEGERS = 2**63


def predicate(where, columns):
    """Turn a condition on columns into a filter that can do nothing but filter.

    Parameters
    ----------
    where : str
        Condition as in SQL: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``BETWEEN``, ``IN``,
        ``LIKE``, ``IS NULL``, ``AND``, ``OR``, ``NOT``, brackets, ``+ - * /`` and, of a column of
        whole numbers with a number, ``&``; text in single quotes. What is unknown (masked, NaN,
        divided by zero) fulfils no comparison, nor its opposite.
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
        if any(token.comments for token in sqlglot.tokenize(where)):
            raise InputError(f"where is {where!r}: it has a comment, expected one condition")
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
        self.depth = 0

    def write(self, node):
        """SQL of a node, and the kind of what it says: "number", "text" or "truth"."""
        name = type(node).__name__
        if name == "Paren":
            return self.write(node.this)
        odd = {part for part, value in node.args.items() if value} - _PARTS
        if name not in self._methods or odd:
            raise self._wrong(f"{node.sql()!r} is no comparison of columns and values")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InputError(
                f"where is nested too deeply: expected at most {_DEEPEST} operations within one "
                "another"
            )
        found = self._methods[name](self, node)
        self.depth -= 1
        return found

    def _wrong(self, reason):
        return InputError(f"where is {self.where!r}: {reason}")

    def _of_kind(self, node, kind):
        sql, found = self._side(node)
        if found != kind:
            raise self._wrong(f"{node.sql()!r} is a {found}, expected a {kind}")
        return sql

    def _side(self, node):
        """What is compared, as `write`; NaN is unknown, as it is larger than any number here."""
        sql, kind = self.write(node)
        if self._is_calculated(node):
            sql = f"nanvl({sql} + 0.0, NULL)"  # which makes 0.0 of -0.0, another number here
        return sql, kind

    def _comparison(self, node):
        left, right = node.this, node.expression
        if {type(left).__name__, type(right).__name__} & _COMPARISONS.keys():
            raise self._wrong("a comparison of a comparison: write 0.1 < z AND z < 0.3")
        sql, kind = self._side(left)
        other = self._of_kind(right, kind)
        sign = _COMPARISONS[type(node).__name__]
        if kind == "truth" and sign not in ("=", "!="):
            raise self._wrong("conditions cannot be compared by size: join them by AND")
        return f"({sql} {sign} {other})", "truth"

    def _joined(self, node):
        """Conditions joined by AND or OR, of which there may be hundreds, without recursion."""
        parts = [self._of_kind(one, "truth") for one in node.flatten(unnest=False)]
        return f"({f' {type(node).__name__.upper()} '.join(parts)})", "truth"

    def _calculation(self, node):
        parts = list(node.flatten(unnest=False))
        if len(parts) > _MOST_TERMS:
            raise InputError(
                f"where has a calculation of {len(parts)} terms, expected at most {_MOST_TERMS}"
            )
        first, *others = (self._double(one) for one in parts)
        sign = _ARITHMETIC[type(node).__name__]
        if sign == "/":  # nothing by zero, nor by -0.0, which the engine takes for another number
            others = [f"NULLIF({other} + 0.0, 0.0)" for other in others]
        return f"({f' {sign} '.join([first, *others])})", "number"

    def _double(self, node):
        """A number as a floating-point one, since integers overflow."""
        value = self._number(node)
        if value is not None:
            return repr(float(value))
        sql, kind = self.write(node)
        if kind != "number":
            raise self._wrong(f"{node.sql()!r} is a {kind}, expected a number")
        return sql if self._is_calculated(node) else f"CAST({sql} AS DOUBLE)"

    def _is_calculated(self, node):
        """Whether a number comes from floating-point arithmetic."""
        name = type(node.unnest()).__name__
        return name in _ARITHMETIC or (name == "Neg" and self._number(node) is None)

    def _number(self, node):
        """The number that is written there, with its sign, or None."""
        node, sign = node.unnest(), 1
        while type(node).__name__ == "Neg":
            node, sign = node.this.unnest(), -sign
        if type(node).__name__ != "Literal" or node.is_string:
            return None
        try:
            value = sign * int(node.this)
        except ValueError:
            value = sign * float(node.this) + 0.0  # no -0.0
        if not -_INTEGERS <= value < _INTEGERS:
            value = sign * float(node.this)
        if abs(value) == float("inf"):
            raise self._wrong(f"{node.this} is larger than any number")
        return value

    def _name(self, node):
        """The column that is meant."""
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
        return name

    def _column(self, node):
        name = self._name(node)
        if self.columns[name] == "integer":  # narrow ones cannot be compared with large numbers
            return f"CAST(`{name}` AS BIGINT)", "number"
        return f"`{name}`", self.columns[name]

    def _literal(self, node):
        if node.is_string:
            return _quoted(node.this), "text"
        return repr(self._number(node)), "number"

    def _neg(self, node):
        value = self._number(node)
        if value is not None:
            return repr(value), "number"
        return f"(0.0 - {self._double(node.this)})", "number"

    def _not(self, node):
        return f"(NOT {self._of_kind(node.this, 'truth')})", "truth"

    def _boolean(self, node):
        return ("TRUE" if node.this else "FALSE"), "truth"

    def _between(self, node):
        sql, kind = self._side(node.this)
        low, high = (self._of_kind(node.args[end], kind) for end in ("low", "high"))
        if kind == "truth":
            raise self._wrong(f"{node.sql()!r} is no range")
        return f"({sql} BETWEEN {low} AND {high})", "truth"

    def _in(self, node):
        sql, kind = self._side(node.this)
        if not node.expressions:
            raise self._wrong(f"{node.sql()!r} has no list of values")
        for value in node.expressions:
            if type(value).__name__ != "Literal" and self._number(value) is None:
                raise self._wrong(f"{value.sql()!r} is no value to be IN a list")
        values = ", ".join(self._of_kind(value, kind) for value in node.expressions)
        return f"({sql} IN ({values}))", "truth"

    def _is(self, node):
        if type(node.expression).__name__ != "Null":
            raise self._wrong(f"{node.sql()!r}: only IS NULL and IS NOT NULL are known")
        return f"({self._side(node.this)[0]} IS NULL)", "truth"

    def _like(self, node):
        if type(node.expression).__name__ != "Literal":
            raise self._wrong(f"{node.sql()!r}: expected LIKE 'a text'")
        text, pattern = (self._of_kind(one, "text") for one in (node.this, node.expression))
        sign = "NOT LIKE" if node.args.get("negate") else "LIKE"
        return f"({text} {sign} {pattern})", "truth"

    def _bitwiseand(self, node):
        """Bits of a column, one by one by division, since the engine has no ``&``."""
        left, right = node.this.unnest(), node.expression.unnest()
        if type(left).__name__ == "Literal":
            left, right = right, left
        bits = self._number(right)
        is_column = type(left).__name__ == "Column" and self.columns[self._name(left)] == "integer"
        if not is_column or not isinstance(bits, int) or bits < 0:
            raise self._wrong(f"{node.sql()!r}: expected a column of whole numbers & a number")
        column = self._column(left)[0]
        found = [
            # Division rounds towards zero, and bits are those of rounding down.
            f"{bit} * abs(({column} / {bit} - CAST({column} % {bit} < 0 AS BIGINT)) % 2)"
            for bit in (2**i for i in range(63))
            if bits & bit
        ]
        return f"({' + '.join(found) or f'0 * {column}'})", "number"

    _methods: ClassVar = {
        **dict.fromkeys(_COMPARISONS, _comparison),
        **dict.fromkeys(_ARITHMETIC, _calculation),
        **dict.fromkeys(("And", "Or"), _joined),
        "Between": _between,
        "BitwiseAnd": _bitwiseand,
        "Boolean": _boolean,
        "Column": _column,
        "In": _in,
        "Is": _is,
        "Like": _like,
        "Literal": _literal,
        "Neg": _neg,
        "Not": _not,
    }


def _quoted(text):
    """Text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
