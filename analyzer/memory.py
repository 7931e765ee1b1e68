"""The memory that a run may take, apportioned: every limit that is for all connections together follows from one figure.

Limits for one connection are in ``limits`` and do not depend on it, so that rows do not. What is left of the figure beside the
program itself is divided; whoever reaches its share gives something up, which a row says.
"""

import re
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.errors import UsageError

_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,3})?) ?([kKMGT]i?B)")
_UNITS: Final = {
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "kiB": 1 << 10,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_MOST: Final = 1 << 50  # above every memory there is; multiples of it still fit 64 bits


class Memory:
    """What a run may take, in bytes, and the shares of those who take it."""

    def __init__(self, size: i64 = limits.MEMORY_BYTES) -> None:
        """Apportion ``size`` bytes, of at least ``limits.LEAST_MEMORY_BYTES``."""
        left = size - limits.MEMORY_FIXED_BYTES
        self.size = size
        self.held_bytes = left // 8  # TCP segments behind holes: then the connection that adds gives up its holes
        self.content_bytes = left // 8  # contents, decoders and what rows carry of them: then the oldest are given up
        # of one connection at most, whatever the others take: 200 usual ones
        self.connection_content_bytes = min(limits.CONTENT_CONNECTION_BYTES, self.content_bytes // 4)
        # open connections with all that dissectors keep of them, the largest share as there is nothing to give up but the
        # connections that were used longest ago: about 2 KB each without bytes, 6 to 9 KB with a protocol
        self.connection_bytes = left * 5 // 16
        self.key_bytes = left // 16  # TLS secrets, about 1 KB a connection: then no further ones are taken
        self.fragment_bytes = min(limits.FRAGMENT_BYTES, left // 16)  # of datagrams that wait for the rest
        self.line_bytes = min(
            limits.DISTINCT_LINE_BYTES, left // 16
        )  # field lines that have numbers: then they are numbered afresh
        self.load_bytes = min(limits.LOAD_BYTES, left // 4)  # DuckDB's buffers while loading
        self.wide_load_bytes = left // 4  # the same with wide rows: a content of CONTENT_KEPT_BYTES is up to 64 MB of text
        self.query_bytes = size // 2  # DuckDB's buffers while querying, when all else is over; beyond them it spills to disk


def memory_of(size: str | int | None) -> Memory:
    """The memory that a text such as ``512MB`` or ``2GiB``, or a number of bytes, stands for; None is the default.

    Raises UsageError where it is no size, or too little to work with.
    """
    if size is None:
        return Memory()
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise UsageError(f"--memory takes a size such as 512MB or 2GB, not {size!r}")
        number = int(float(match.group(1)) * _UNITS[match.group(2)])
    else:
        number = size
    if number < limits.LEAST_MEMORY_BYTES:
        raise UsageError(f"--memory: required at least {limits.LEAST_MEMORY_BYTES // 10**6}MB, found {size}")
    return Memory(min(number, _MOST))
