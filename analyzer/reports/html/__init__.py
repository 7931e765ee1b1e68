"""The waterfall as a page for a browser: one file, which loads nothing and lets nothing run but its own script.

Texts that were captured are data in the page, never markup or code: JSON in which no character can end its element, shown as
text alone. The policy of the page names its script and style by their hashes, so that no other runs, whatever a header said.
"""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analyzer import build
from analyzer.reports import Report, prepare
from analyzer.text import escape_for_terminal, place

if TYPE_CHECKING:
    from analyzer.store import Store

MOST_CONNECTIONS: Final = 100  # and so many units of each: some 10 MB of page at most
MOST_UNITS: Final = 1000
MOST_UNITS_OF_ONE: Final = 20_000
MOST_MESSAGES: Final = 1000  # of a stream
KINDS: Final = ("carrying", "waiting", "queued", "sending", "receiving", "stalled", "missing", "reset", "to_server", "to_client")
_NOT_IN_MARKUP: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}

_CONNECTIONS: Final = """
SELECT
    connection_id, client_address || ':' || client_port, server_address || ':' || server_port, coalesce(c.protocol, transport), state,
    any_value(units), min(b.started),
    greatest(max(greatest(b.ended, list_max(list_transform(phases, lambda each: each.until_ns)))) - min(b.started), 1)
FROM bars b JOIN connections c USING (connection_id) GROUP BY ALL ORDER BY 6 DESC, connection_id
"""
_BARS: Final = """
SELECT connection_id, stream_index, exchange_index, name, status, error_type, end_reason, protocol, started, ended, missing_bytes, stalled_ns, phases
FROM bars ORDER BY started, stream_index, exchange_index
"""

_MESSAGES: Final = f"""
SELECT connection_id, stream_index, direction, epoch_ns(started_at) AS started
FROM messages SEMI JOIN (FROM bars WHERE exchange_index < 0) USING (connection_id, stream_index) WHERE started_at IS NOT NULL AND direction IN ('to_server', 'to_client')
QUALIFY row_number() OVER (PARTITION BY connection_id, stream_index ORDER BY started_at) <= {MOST_MESSAGES}
ORDER BY connection_id, stream_index, started
"""  # noqa: S608  # a number


def data(store: "Store", report: Report) -> dict[str, Any]:
    """What the page shows, as JSON has it; every text is safe to look at. Raises ``duckdb.Error``."""
    is_one = report.variables.get("connection") is not None
    report.variables |= {"most_connections": MOST_CONNECTIONS, "most_units": MOST_UNITS_OF_ONE if is_one else MOST_UNITS}
    prepare(store, report)
    shown: dict[int, dict[str, Any]] = {}
    carrying: dict[tuple[int, int], list[list[int]]] = {}
    for number, client, server, protocol, state, units, first, lasts in store.sql(_CONNECTIONS).fetchall():
        facts = {"place": place(number), "client": client, "server": server, "protocol": protocol, "state": state, "units": units}
        shown[number] = {
            **{name: _safe(value) for name, value in facts.items()},
            "startedMs": first // 1_000_000,
            "lasts": lasts,
            "rows": [],
            "_first": first,
        }
    for connection, stream, index, *texts, started, ended, missing, stalled, phases in store.sql(_BARS).fetchall():
        first = shown[connection]["_first"]
        spans: list[list[int]] = [
            [KINDS.index(each["kind"]), each["from_ns"] - first, each["until_ns"] - first] for each in phases
        ]
        named = [_safe(text) for text in texts]
        shown[connection]["rows"].append(
            [place(connection, stream), index, *named, started - first, ended - first, missing, stalled, spans]
        )
        if index < 0:
            carrying[connection, stream] = spans
    for connection, stream, direction, started in store.sql(_MESSAGES).fetchall():
        at = started - shown[connection]["_first"]
        carrying[connection, stream].append([KINDS.index(direction), at, at])
    for each in shown.values():
        del each["_first"]
    (of_all,) = store.sql("SELECT count(DISTINCT connection_id) FROM units").fetchall()[0]
    captures = [
        _safe(Path(name).name) for (name,) in store.sql("SELECT name FROM captures ORDER BY capture_index LIMIT 20").fetchall()
    ]
    return {"captures": captures, "kinds": KINDS, "ofConnections": of_all, "connections": list(shown.values())}


def page(shown: dict[str, Any]) -> str:
    """The page."""
    style, script = _part("page.css"), _part("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    parts = {
        "POLICY": policy,
        "VERSION": build.VERSION,
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json.dumps(shown, separators=(",", ":")).translate(_NOT_IN_MARKUP),
    }
    text = _part("page.html")
    pieces = text.split("%%")
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _part(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _safe(value: object) -> object:
    return escape_for_terminal(value) if isinstance(value, str) else value
