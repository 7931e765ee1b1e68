"""What was multiplexed in what, as a tree."""

from rich.text import Text
from rich.tree import Tree

from analyzer.commands import source
from analyzer.reports.values import duration, size
from analyzer.store import Store
from analyzer.text import escape_for_terminal

_CONNECTIONS = """
SELECT connection_id, client_address || ':' || client_port, server_address || ':' || server_port,
       coalesce(protocol, transport), bytes_to_server + bytes_to_client, duration_ns, state
FROM connections ORDER BY connection_id
"""
_STREAMS = """
SELECT s.stream_index, s.parent_index, s.protocol, s.protocol_stream_id, s.bytes_to_server + s.bytes_to_client, s.end_reason,
       e.label, e.duration_ns, e.exchanges, s.messages_to_server + s.messages_to_client
FROM streams s
LEFT JOIN (
    SELECT connection_id, stream_index, count(*) AS exchanges, sum(duration_ns)::BIGINT AS duration_ns,
           arg_min(concat_ws(' ', operation, target, '→', status, error_type), first_packet) AS label
    FROM exchanges GROUP BY ALL
) e USING (connection_id, stream_index)
WHERE s.connection_id = ? ORDER BY s.stream_index LIMIT ?
"""
_COUNT = "SELECT count(*) FROM streams WHERE connection_id = ? AND stream_index > 0"


def draw(store: Store, limit: int) -> None:
    """Print every connection with at most ``limit`` of its streams."""
    console = source.console()
    for number, client, server, protocol, payload, lasts, state in store.sql(_CONNECTIONS).fetchall():
        title = f"{number}  {client} → {server}  {protocol}  {size(payload)}  {duration(lasts or 0)}  {state or ''}"
        top = Tree(Text(escape_for_terminal(title.rstrip()), style="bold"))
        rows = store.sql(_STREAMS, [number, limit + 2]).fetchall()
        nodes = {0: top}
        for place, row in enumerate(rows):
            index, parent = row[0], row[1]
            if index == 0:
                if row[8] is not None:
                    top.add(Text(escape_for_terminal(_exchanges(row)), no_wrap=True, overflow="ellipsis"))
                continue
            if place > limit:
                total = store.sql(_COUNT, [number]).fetchall()[0][0]
                top.add(Text(f"… {total - limit:,} more streams", style="dim"))
                break
            label = Text(escape_for_terminal(_stream(row)), no_wrap=True, overflow="ellipsis")
            nodes[index] = nodes.get(parent, top).add(label)
        console.print(top)


def _exchanges(row: tuple[object, ...]) -> str:
    many = f"{row[8]} exchanges, first " if row[8] != 1 else ""
    return f"{many}{row[6]}  {duration(int(str(row[7] or 0)))}"


def _stream(row: tuple[object, ...]) -> str:
    index, _, protocol, name, payload, ended, label, lasts, _, messages = row
    parts = [f":{index}", str(protocol or "not recognised")]
    if name is not None:
        parts.append(f"stream {name}")
    if label is not None:
        parts.append(str(label))
    elif messages:
        parts.append(f"{messages} messages")
    parts.append(size(int(str(payload))))
    if lasts is not None:
        parts.append(duration(int(str(lasts))))
    if ended not in {None, "complete"}:
        parts.append(f"({ended})")
    return "  ".join(parts)
