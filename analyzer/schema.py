"""How a table is declared: once, as a record class whose fields say what they mean.

A record class inherits from :class:`Record` and is decorated with :func:`record`; every field is annotated
``Annotated[type, conversation("…")]`` (or :func:`time`, :func:`capture`) *as a quoted string*, because compiled modules
keep only quoted annotations. Names carry the type: ``*_at`` is a timestamp, ``*_ns`` a duration, ``*_bytes`` a size.
Arrow types, DuckDB types, column comments, the generated views and the table reference all come from here.
"""

import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Record(msgspec.Struct, gc=False):
    """What a row is made from: made and taken apart again in C, several times as fast as a dataclass."""


class Stability(Enum):
    """What loss, reordering or duplication of packets may do to a column."""

    CONVERSATION = "conversation"  # what the peers said: equal or NULL
    TIME = "time"  # equal, NULL or flagged
    CAPTURE = "capture"  # counts, states, indices, quality: free to differ


class Masking(Enum):
    """Secrets that a column may hold."""

    NONE = "none"
    TARGET = "target"  # a request target: well-known query parameters are masked
    AUTHORITY = "authority"  # an authority: a password before the host is masked
    FIELDS = "fields"  # field lines: the values of fields such as authorization are masked
    WHOLE = "whole"  # the value itself is a secret


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a field's annotation says beside its Python type."""

    doc: str
    stability: Stability
    masking: Masking = Masking.NONE
    is_content: bool = False  # contents, limited by whoever hands them over, not by limits.TEXT_BYTES


def conversation(doc: str, masking: Masking = Masking.NONE, *, is_content: bool = False) -> Meaning:
    """A column that says what the peers said."""
    return Meaning(doc, Stability.CONVERSATION, masking, is_content)


def time(doc: str) -> Meaning:
    """A column that says when."""
    return Meaning(doc, Stability.TIME)


def capture(doc: str, *, is_content: bool = False) -> Meaning:
    """A column that depends on how the capture was made."""
    return Meaning(doc, Stability.CAPTURE, is_content=is_content)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, derived from a field of its record."""

    name: str
    python_type: type  # int, bool, float, str, bytes or list (a list of records.FieldLine)
    sql_type: str
    doc: str
    stability: Stability
    masking: Masking
    is_content: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, what a row is, its record class, and how rows appear in the generated views."""

    name: str
    row: str  # "one row per …"
    record: type
    exchange: Mapping[str, str]  # column of the view `exchanges` -> SQL expression over this table
    message: Mapping[str, str]  # column of the view `messages` -> SQL expression over this table
    exchange_where: str = ""  # condition for rows to be in the view `exchanges`, empty where all are
    key: tuple[str, ...] = ()  # the columns that tell its rows apart, where there are such

    @property
    def columns(self) -> list[Column]:
        """The columns in order of declaration."""
        return list(_columns(self.record))


# The columns of the generated views, in OpenTelemetry's words; a table that does not map one shows NULL there.
EXCHANGE_COLUMNS: Mapping[str, str] = {
    "connection_id": "BIGINT",
    "stream_index": "BIGINT",
    "exchange_index": "BIGINT",
    "protocol": "VARCHAR",
    "operation": "VARCHAR",
    "target": "VARCHAR",
    "status": "VARCHAR",
    "error_type": "VARCHAR",
    "started_at": "TIMESTAMP_NS",
    "ended_at": "TIMESTAMP_NS",
    "duration_ns": "BIGINT",
    "time_to_first_byte_ns": "BIGINT",
    "stalled_ns": "BIGINT",
    "request_bytes": "BIGINT",
    "response_bytes": "BIGINT",
    "is_complete": "BOOLEAN",
    "end_reason": "VARCHAR",
    "first_packet": "BIGINT",
    "last_packet": "BIGINT",
}
MESSAGE_COLUMNS: Mapping[str, str] = {
    "connection_id": "BIGINT",
    "stream_index": "BIGINT",
    "message_index": "BIGINT",
    "protocol": "VARCHAR",
    "direction": "VARCHAR",
    "operation": "VARCHAR",
    "started_at": "TIMESTAMP_NS",
    "ended_at": "TIMESTAMP_NS",
    "payload_bytes": "BIGINT",
    "text": "VARCHAR",
    "is_complete": "BOOLEAN",
    "first_packet": "BIGINT",
    "last_packet": "BIGINT",
}


_SQL_TYPES: Mapping[type, str] = {
    int: "BIGINT",
    bool: "BOOLEAN",
    float: "DOUBLE",
    str: "VARCHAR",
    bytes: "VARCHAR",
    list: "BIGINT[]",  # the line_id of each line, see records.FieldLineRecord
}


@functools.cache
def _columns(cls: type[Record]) -> tuple[Column, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_column(name, hints[name]) for name in cls.__struct_fields__)


def _column(name: str, hint: object) -> Column:
    annotated, meaning = typing.get_args(hint)
    plain = annotated
    if isinstance(annotated, types.UnionType):
        (plain,) = [part for part in typing.get_args(annotated) if part is not type(None)]
    plain = typing.get_origin(plain) or plain
    sql_type = "TIMESTAMP_NS" if name.endswith("_at") else _SQL_TYPES[plain]
    return Column(name, plain, sql_type, meaning.doc, meaning.stability, meaning.masking, meaning.is_content)


def record(
    table: str,
    row: str,
    *,
    key: tuple[str, ...] = (),
    exchange: Mapping[str, str] | None = None,
    exchange_where: str = "",
    message: Mapping[str, str] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Declare the decorated class as the record of ``table``, whose rows are one per ``row`` and told apart by ``key``.

    ``exchange`` and ``message`` say how rows appear in the views, ``exchange_where`` which do.
    """

    def declare(cls: type[T]) -> type[T]:
        cls.__table__ = Table(table, row, cls, exchange or {}, message or {}, exchange_where, key)  # type: ignore[attr-defined]  # the one attribute records share
        return cls

    return declare


def table_of(cls: type) -> Table:
    """The table that ``cls`` is the record of. AttributeError when it is not a record."""
    table: Table = cls.__table__  # type: ignore[attr-defined]  # set by `record`
    return table
