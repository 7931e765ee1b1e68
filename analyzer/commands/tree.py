"""What was multiplexed in what, as a tree."""

from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from analyzer.commands import output, source
from analyzer.errors import UnmuxError, UsageError
from analyzer.reports.layout import NARROWEST
from analyzer.reports.values import duration, shortened, size
from analyzer.store import Store
from analyzer.text import escape_for_terminal, parse_part, place

_UNNAMED = {"no request": "(request not captured)", "unmatched": "(request not matched)"}  # by how the exchange ended
_CONNECTIONS = """
SELECT connection_id, client_address || ':' || client_port || ' → ' || server_address || ':' || server_port,
       coalesce(protocol, transport || if(bytes_to_server + bytes_to_client > 0, ', not recognised', ', no data')),
       bytes_to_server + bytes_to_client, duration_ns, state, missing_bytes_to_server + missing_bytes_to_client,
       EXISTS (FROM anomalies a WHERE a.connection_id = c.connection_id AND a.stream_index = 0 AND kind = 'framing_lost'),
       (SELECT any_value(not_decrypted_reason) FROM tls_handshakes t WHERE t.connection_id = c.connection_id AND NOT is_decrypted)
FROM connections c WHERE $one IS NULL OR connection_id = $one ORDER BY connection_id LIMIT $connections
"""
# the streams, and the exchanges of streams that carry several, as HTTP/1 does: (kind, index, parent) and what there is to say
_STREAMS = """
WITH exchanged AS (
    SELECT connection_id, stream_index, count(*) AS exchanges, min(exchange_index) AS only
    FROM exchanges WHERE connection_id IN (SELECT unnest($shown)) GROUP BY ALL
),
leaves AS (
    SELECT s.connection_id, s.stream_index, s.parent_index, NULL AS exchange_index, s.protocol, s.protocol_stream_id,
           s.bytes_to_server + s.bytes_to_client AS payload_bytes, s.end_reason, e.operation, e.target, e.status,
           e.error_type, e.duration_ns, s.messages_to_server, s.messages_to_client, s.missing_bytes,
           EXISTS (
               FROM anomalies a WHERE a.connection_id = s.connection_id AND a.stream_index = s.stream_index AND kind = 'framing_lost'
           ) AS is_lost, s.started_at, s.protocol = p.protocol AS is_plain
    FROM streams s
    LEFT JOIN streams p ON p.connection_id = s.connection_id AND p.stream_index = s.parent_index
    LEFT JOIN exchanged x ON x.connection_id = s.connection_id AND x.stream_index = s.stream_index AND x.exchanges = 1
    LEFT JOIN exchanges e ON e.connection_id = s.connection_id AND e.stream_index = x.stream_index AND e.exchange_index = x.only
    WHERE s.stream_index > 0 AND s.connection_id IN (SELECT unnest($shown))
    UNION ALL
    SELECT e.connection_id, e.stream_index, NULL, e.exchange_index, NULL, NULL,
           coalesce(request_bytes, 0) + coalesce(response_bytes, 0), end_reason, operation, target, status,
           error_type, duration_ns, 0, 0, 0, false, started_at, true
    FROM exchanges e JOIN exchanged x USING (connection_id, stream_index) WHERE x.exchanges > 1 OR stream_index = 0
)
SELECT * EXCLUDE (started_at), count(*) OVER (PARTITION BY connection_id) AS leaves
FROM leaves
QUALIFY row_number() OVER (PARTITION BY connection_id ORDER BY stream_index = 0 DESC, stream_index, exchange_index NULLS FIRST) <= $streams
ORDER BY connection_id, stream_index, exchange_index NULLS FIRST
"""


def with_connection(given: list[str]) -> tuple[list[str], int | None]:
    """The sources, and the connection that the last argument names, if it is none. UsageError for a stream."""
    *sources, last = given
    named = parse_part(last)
    if not sources or named is None or Path(last).exists():
        return given, None
    if named[1] is not None:
        raise UsageError(f"{last}: is a stream; tree takes a connection, such as {place(named[0])}")
    return sources, named[0]


_DECRYPTED = "SELECT count(*) FROM tls_handshakes WHERE is_decrypted AND connection_id IN (SELECT unnest($shown))"


def draw(store: Store, one: int | None, connections: int, streams: int, *, is_kept: bool = False) -> None:
    """Print at most so many connections, or ``one`` whole, each with at most so many of its streams and exchanges.

    ``is_kept`` says that the tables were made before, with keys that they do not hold. UnmuxError when there is no connection ``one``.
    """
    console = source.console()
    with output.duckdb_errors():
        rows = store.sql(_CONNECTIONS, {"one": one, "connections": connections}).fetchall()
        total = store.sql("SELECT count(*) FROM connections").fetchall()[0][0]
        shown = [row[0] for row in rows]
        limit = streams if one is None else 1 << 62
        leaves = store.sql(_STREAMS, {"shown": shown, "streams": limit}).fetchall() if shown else []
        needs_keys = is_kept and store.sql(_DECRYPTED, {"shown": shown}).fetchall() != [(0,)]
    if one is not None and not rows:
        raise UnmuxError(f"there is no connection {place(one)}; `unmux report connections` lists them")
    inside: dict[int, list[tuple[object, ...]]] = {}
    for leaf in leaves:
        inside.setdefault(leaf[0], []).append(leaf)
    for number, ends, protocol, payload, lasts, state, missing, is_lost, sealed in rows:
        title = Text(f"{place(number)}  ", style="bold")
        title.append(f"{ends}  {protocol}  {size(payload)}  {duration(lasts or 0)}  {state or ''}".rstrip())
        lacks = _lacking(missing, is_lost=is_lost) or (f"not decrypted: {sealed}" if sealed else "")
        console.print(_tree(title, lacks, inside.get(number, []), console.width), soft_wrap=True)
    if one is None and total > len(rows):
        console.print(
            f"… and {total - len(rows):,} more connections: --connections {total} shows them all", style="dim", soft_wrap=True
        )
    if needs_keys:
        console.print(
            "the store keeps no keys: `unmux follow` shows what is inside TLS with --keylog FILE", style="dim", soft_wrap=True
        )


def _lacking(missing: int, *, is_lost: bool) -> str:
    """What a stream lacks: bytes that were not captured, and those behind them that could not be read."""
    lacks = [f"{size(missing)} not captured"] if missing else []
    lacks += ["not all read after that" if missing else "not all read"] if is_lost else []
    return ", ".join(lacks)


def _tree(title: Text, lacks: str, leaves: list[tuple[object, ...]], width: int) -> Tree:
    top = Tree(title)
    if lacks:
        top.add(Text(escape_for_terminal(lacks), "yellow"))
    nodes: dict[object, tuple[Tree, int]] = {0: (top, 0)}
    for leaf in leaves:
        _, stream_index, parent_index, exchange_index, *_ = leaf
        parent, depth = nodes.get(stream_index if parent_index is None else parent_index, (top, 0))
        node = parent.add(_label(leaf, width - 4 * (depth + 1)))
        lacks = _lacking(int(str(leaf[-4])), is_lost=bool(leaf[-3]))
        if lacks:
            node.add(Text(lacks, "yellow"))
        if exchange_index is None:
            nodes[stream_index] = (node, depth + 1)
    if leaves:
        left_out = int(str(leaves[0][-1])) - len(leaves)
        if left_out:
            top.add(
                Text(f"… and {left_out:,} more: unmux tree SOURCE {place(int(str(leaves[0][0])))} shows them all", style="dim")
            )
    return top


def _label(leaf: tuple[object, ...], width: int) -> Text:
    """What a line says; the target gives way where it is narrow."""
    _, index, _, exchange, protocol, name, payload, ended, operation, target, status, error, lasts, *rest_of_it = leaf
    sent, received, _, _, plain, _ = rest_of_it
    request = escape_for_terminal(" ".join(str(part) for part in (operation, target) if part is not None))
    if exchange is not None and not request:
        request = _UNNAMED.get(str(ended), "(request not readable)")
    label = Text(no_wrap=True)
    if exchange is not None:
        label.append(f":{index}.{exchange}  ", "bold")
    else:
        label.append(f":{index}  ", "bold")
        if not (plain and request):
            label.append(f"{protocol or 'not recognised'}  ", "cyan")
        if name is not None:
            label.append(escape_for_terminal(f"stream {name}  "))
    after = []
    if status is not None:
        after.append(f"→ {status}")
    if (sent or received) and not (plain and request):
        after.append(f"{sent:,} message{'' if sent == 1 else 's'} →, {received:,} ←")
    after.append(size(int(str(payload))))
    if lasts is not None:
        after.append(duration(int(str(lasts))))
    if ended not in {None, "complete", "fin"}:
        after.append(f"({str(ended).replace('_', ' ')}{f' {error}' if ended == 'reset' and error else ''})")
    rest = escape_for_terminal("  ".join(after))
    if request:
        room = max(width - label.cell_len - len(rest) - 2, NARROWEST)
        label.append(shortened("exchange", request, room) + "  ")
    label.append(rest, "red" if error is not None else "")
    return label
