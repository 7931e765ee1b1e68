"""The report ``stalls``: what had to wait, for what, and how long altogether."""

from analyzer.http.semantics import HttpExchangeRecord
from analyzer.records import ConnectionRecord, StalledStreamRecord, StallRecord, StreamRecord

MILLISECOND = 1_000_000


def connection(number=1):
    return ConnectionRecord(number, 0, "tcp", "a", 1, "b", 80, "handshake", protocol="http2", started_at=0, ended_at=10**9)


def stall(index, kind, start, end, stream=None):
    times = {"started_at": start * MILLISECOND, "ended_at": end * MILLISECOND, "duration_ns": (end - start) * MILLISECOND}
    return StallRecord(1, index, "to_client", kind, stream, first_packet=7, **times)


def exchange(stream, stalled, connection_id=1):
    return HttpExchangeRecord(
        connection_id, stream, 0, "2", b"GET", b"http", b"b", b"/big", 200, 0, 1, 2, 10**8, 10**8, 2, stalled,
        end_reason="complete",
    )  # fmt: skip


WAITS = [
    connection(),
    StreamRecord(1, 0, None, 0, "http2"),
    StreamRecord(1, 1, 0, 1, "http2", "1"),
    stall(0, "connection_window", 0, 40),
    stall(1, "stream_window", 0, 40, 1),
    stall(2, "stream_window", 30, 50, 1),
    stall(3, "tcp_window", 60, 61),
    *(StalledStreamRecord(1, index, 1, 40 * MILLISECOND) for index in (0, 1, 2)),
    exchange(1, 50 * MILLISECOND),
]


def test_windows_of_a_stream_and_its_connection_that_close_together_are_one_wait(store_of, section):
    store = store_of(WAITS)
    assert [(row["reason"], row["duration_ns"], row["streams_that_waited"]) for row in section(store, "stalls", "Longest")] == [
        ("window of the connection and :1", 40 * MILLISECOND, ":1"),
        ("window of :1", 20 * MILLISECOND, ":1"),
        ("TCP window of the client", MILLISECOND, None),
    ]
    assert [
        (row["waited_for"], row["waits"], row["total_ns"], row["streams"]) for row in section(store, "stalls", "By connection")
    ] == [
        ("window of the connection and :1", 1, 40 * MILLISECOND, 1),
        ("window of :1", 1, 20 * MILLISECOND, 1),
        ("TCP window of the client", 1, MILLISECOND, None),
    ]


def test_windows_that_are_at_zero_are_listed_and_not_counted(store_of, section):
    shut = StallRecord(1, None, "to_client", "stream_window", 1, started_at=70 * MILLISECOND, first_packet=9)
    store = store_of([*WAITS, shut])
    assert section(store, "stalls", "By connection") == section(store_of(WAITS), "stalls", "By connection")
    assert section(store, "overview", "Stalls") == section(store_of(WAITS), "overview", "Stalls")
    (row,) = section(store, "stalls", "Windows at zero")
    assert (row["stall"], row["window"], row["direction"], row["packet"]) == (1, "window of :1", "to client", 9)
    assert section(store_of([connection(), shut]), "stalls", "In short") == [{"line": "Nothing had to wait."}]


def test_an_exchange_waited_as_long_as_its_row_says_however_many_stalls_there_were(store_of, section):
    store = store_of(WAITS)
    assert [(row["stream"], row["waited_ns"]) for row in section(store, "stalls", "Exchanges")] == [("1:1", 50 * MILLISECOND)]
    assert section(store, "stalls", "In short") == [{"line": None}]


def test_the_overview_counts_time_in_which_several_windows_were_closed_once(store_of, section):
    rows = section(store_of(WAITS), "overview", "Stalls")
    assert [(row["reason"], row["stalls"], row["streams_delayed"], row["total_ns"], row["longest_ns"]) for row in rows] == [
        ("for a window of HTTP/2", 2, 1, 50 * MILLISECOND, 40 * MILLISECOND),
        ("for a TCP window of zero", 1, None, MILLISECOND, MILLISECOND),
    ]


def test_stalls_that_are_short_beside_the_longest_are_counted_and_not_listed(store_of, section):
    rows = [connection(), stall(0, "tcp_window", 0, 30), stall(1, "tcp_window", 40, 41)]
    rows.append(StallRecord(1, 2, "to_client", "tcp_window", started_at=5, ended_at=16_005, duration_ns=16_000))
    store = store_of(rows)
    assert [(row["duration_ns"], row["of_rows"]) for row in section(store, "stalls", "Longest")] == [
        (30 * MILLISECOND, 3),
        (MILLISECOND, 3),
    ]
    assert [row["waits"] for row in section(store, "stalls", "By connection")] == [3]


def test_where_windows_could_not_be_followed_nobody_says_that_nothing_waited(store_of, section):
    rows = [connection(), connection(2), exchange(1, None), exchange(3, None), exchange(1, 0, 2)]
    ((line,),) = [tuple(row.values()) for row in section(store_of(rows), "stalls", "In short")]
    assert line.startswith("Flow-control windows could not be followed in 1 connection,")
    assert line.endswith("whether 2 exchanges waited is not known.")
    assert section(store_of([connection(), exchange(1, 0)]), "stalls", "In short") == [{"line": "Nothing had to wait."}]
