import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.errors import UnmuxError
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import AnomalyRecord, CaptureRecord, ConnectionRecord, FieldLine, StreamRecord
from analyzer.schema import Masking, Record, capture, conversation, record, time
from analyzer.store import Store, is_store, open_store
from analyzer.text import bytes_to_text

HTTP = [HttpExchangeRecord, HttpFieldSectionRecord, HttpContentRecord]


@record(
    "samples",
    "sample",
    message={
        "message_index": "number",
        "protocol": "'sample'",
        "started_at": "seen_at",
        "text": "name",
        "is_complete": "is_good",
    },
)
class SampleRecord(Record):
    """A column of every type."""

    connection_id: "Annotated[int, capture('the connection')]"
    number: "Annotated[int | None, capture('a number')]" = None
    seen_at: "Annotated[int | None, time('when')]" = None
    ratio: "Annotated[float | None, conversation('a ratio')]" = None
    name: "Annotated[str | None, conversation('a name')]" = None
    target: "Annotated[bytes | None, conversation('a target', Masking.TARGET)]" = None
    secret: "Annotated[str | None, conversation('a secret', Masking.WHOLE)]" = None
    content: "Annotated[bytes | None, conversation('a content', is_content=True)]" = None
    is_good: "Annotated[bool | None, capture('good')]" = None
    lines: "Annotated[list[FieldLine] | None, conversation('lines', Masking.FIELDS)]" = None


@record("singles", "row of one column")
class SingleRecord(Record):
    """One column only."""

    connection_id: "Annotated[int, capture('the connection')]"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(records=[*HTTP, SampleRecord, SingleRecord], mask_key=b"k") as made:
        yield made


def line(name: bytes | None, value: bytes | None, provenance: str = "witnessed") -> FieldLine:
    return FieldLine(name, value, provenance)


def connection(number: int, capture_index: int = 0) -> ConnectionRecord:
    return ConnectionRecord(number, capture_index, "tcp", "10.0.0.1", 40000, "10.0.0.2", 80, "handshake")


def test_every_type_comes_back_as_it_went_in(store: Store) -> None:
    store.add(
        [
            SampleRecord(
                (5 << 40) + 1,
                -(2**63),
                1_700_000_000_123_456_789,
                0.25,
                "naïve\0\x1b",
                b"/caf\xe9?token=1",
                "hidden",
                b"\xff" + b"x" * 100_000,
                True,
                [line(b"a", b"b")],
            ),
            SampleRecord(2, lines=[]),
            SampleRecord(3),
            SingleRecord(4),
        ]
    )
    store.finish()
    masked = r"<masked:[0-9a-f]{8}>"
    assert store.sql(
        "SELECT connection_id, number, epoch_ns(seen_at), ratio, name, is_good, lines FROM samples ORDER BY ALL DESC"
    ).fetchall() == [
        ((5 << 40) + 1, -(2**63), 1_700_000_000_123_456_789, 0.25, "naïve\0\x1b", True, [0]),
        (3, None, None, None, None, None, None),
        (2, None, None, None, None, None, []),
    ]
    assert store.sql(
        f"SELECT regexp_full_match(target, '/caf\\\\xe9\\?token={masked}'), regexp_full_match(secret, '{masked}'), content "
        "FROM samples WHERE number IS NOT NULL"
    ).fetchall() == [(True, True, "\\xff" + "x" * 100_000)]
    assert store.sql("FROM singles").fetchall() == [(4,)]


def test_all_tables_and_views_exist_and_say_what_they_mean_even_when_empty(store: Store) -> None:
    store.finish()
    assert {"captures", "samples", "field_lines", "http_exchanges", "exchanges", "messages", "http_fields"} <= set(store.tables())
    for name in store.tables():
        assert name == "store_metadata" or store.sql(f'SELECT count(*) FROM "{name}"').fetchall() == [(0,)]
    assert store.sql(
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'http_exchanges' AND column_name = 'request_method'"
    ).fetchall() == [("method",)]
    assert store.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'samples'").fetchall() == [("one row per sample",)]


def test_field_lines_are_stored_once_and_the_view_puts_them_back_in_order(store: Store) -> None:
    accept, again, date = line(b"accept", b"*/*", "static"), line(b"accept", b"*/*", "static"), line(b"date", b"Mon")
    store.add(
        [
            HttpFieldSectionRecord(1, 3, 0, "request", "header", [date, accept, accept]),
            HttpFieldSectionRecord(
                1, 3, 0, "response", "header", [again, line(None, None, "unknown"), line(b"x", None, "unknown")]
            ),
            HttpFieldSectionRecord(1, 3, 0, "response", "trailer", []),
        ]
    )
    store.finish()
    assert store.sql("SELECT side, section, position, name, value, provenance FROM http_fields ORDER BY ALL").fetchall() == [
        ("request", "header", 0, "date", "Mon", "witnessed"),
        ("request", "header", 1, "accept", "*/*", "static"),
        ("request", "header", 2, "accept", "*/*", "static"),
        ("response", "header", 0, "accept", "*/*", "static"),
        ("response", "header", 1, None, None, "unknown"),
        ("response", "header", 2, "x", None, "unknown"),
    ]
    assert store.sql("SELECT count(*) FROM field_lines").fetchall() == [(4,)]
    assert store.sql("SELECT * FROM http_fields").columns == [
        "connection_id",
        "stream_index",
        "exchange_index",
        "side",
        "section",
        "position",
        "name",
        "value",
        "provenance",
    ]


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 11), max_size=6), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_numbering_lines_afresh_at_its_limit_changes_no_field(sections: list[list[int]], distinct: int) -> None:
    shared = [line(b"name-%d" % (i % 7), b"value-%d" % (i % 5)) for i in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DISTINCT_LINES", distinct)
        patch.setattr(limits, "INSERT_BYTES", 500)
        with Store(records=HTTP) as first, Store(records=HTTP) as second:  # the same line objects in two stores
            for store in (first, second):
                for number, section in enumerate(sections):
                    lines = [shared[i] for i in section]
                    store.add([HttpFieldSectionRecord(1, number, 0, "request", "header", lines)])
            for store in (first, second):
                store.finish()
                found = store.sql("SELECT stream_index, position, name, value FROM http_fields ORDER BY 1, 2").fetchall()
                assert found == [
                    (number, position, f"name-{i % 7}", f"value-{i % 5}")
                    for number, section in enumerate(sections)
                    for position, i in enumerate(section)
                ]


def test_the_same_rows_give_the_same_tables_whatever_was_stored_before() -> None:
    shared = [line(b"a", b"%d" % i) for i in range(5)]
    found = []
    for _ in range(2):
        with Store(records=HTTP) as store:
            store.add([HttpFieldSectionRecord(1, 1, 0, "request", "header", list(shared))])
            store.finish()
            found.append(
                (store.sql("FROM field_lines").fetchall(), store.sql("SELECT fields FROM http_field_sections").fetchall())
            )
    assert found[0] == found[1]
    assert found[0][1] == [([0, 1, 2, 3, 4],)]


def test_secrets_are_masked_unless_they_are_asked_for() -> None:
    secret = "dXNlcjpwYXNz"
    rows = [
        HttpExchangeRecord(1, 1, target=b"/a?access_token=" + secret.encode()),
        HttpFieldSectionRecord(1, 1, 0, "request", "header", [line(b"authorization", b"Basic " + secret.encode())]),
    ]
    for show in (False, True):
        with Store(records=HTTP, show_secrets=show) as store:
            store.add(list(rows))
            store.finish()
            (target,) = store.sql("SELECT target FROM http_exchanges").fetchall()[0]
            (value,) = store.sql("SELECT value FROM http_fields").fetchall()[0]
            assert (secret in target, secret in value) == (show, show)
            assert value.startswith("Basic ")
            assert show or target.removeprefix("/a?access_token=") == value.removeprefix("Basic ")


def test_the_views_of_all_protocols_take_their_rows_from_every_table_that_maps(store: Store) -> None:
    store.add(
        [
            HttpExchangeRecord(7, 3, 1, "2", b"GET", b"https", b"example.com", b"/x", 404, 100, end_reason="complete"),
            SampleRecord(8, 5, 1_700_000_000_000_000_000, name="hello", is_good=True),
        ]
    )
    store.finish()
    assert store.sql(
        "SELECT connection_id, stream_index, exchange_index, protocol, operation, target, status, epoch_ns(started_at), is_complete, "
        "request_bytes FROM exchanges"
    ).fetchall() == [(7, 3, 1, "http/2", "GET", "example.com/x", "404", 100, True, None)]
    assert store.sql(
        "SELECT connection_id, stream_index, message_index, protocol, text, is_complete, payload_bytes FROM messages"
    ).fetchall() == [(8, None, 5, "sample", "hello", True, None)]


def test_a_value_that_does_not_fit_its_column_is_null_and_counted(store: Store) -> None:
    store.add([SampleRecord(1, 2**63), SampleRecord(2, 7), SampleRecord(3, "x"), SampleRecord(4, name="lone \ud800 surrogate")])  # type: ignore[arg-type]
    store.finish()
    assert store.sql("SELECT connection_id, number, name FROM samples ORDER BY 1").fetchall() == [
        (1, None, None),
        (2, 7, None),
        (3, None, None),
        (4, None, "lone \\ud800 surrogate"),
    ]
    assert store.sql("SELECT kind, required, occurrences FROM anomalies").fetchall() == [
        ("not_stored", "a value of the type of samples.number", 2)
    ]


def test_a_row_that_no_dissector_declared_is_a_bug() -> None:
    with Store() as store, pytest.raises(TypeError, match="SampleRecord"):
        store.add([SampleRecord(1)])


def test_what_was_captured_never_becomes_sql(store: Store) -> None:
    hostile = b"'); DROP TABLE captures; --"
    store.add(
        [
            HttpExchangeRecord(1, 1, request_method=hostile, target=b'"' + hostile),
            CaptureRecord(0, hostile.decode()),
            HttpFieldSectionRecord(1, 1, 0, hostile.decode(), "header", [line(hostile, hostile, hostile.decode())]),
        ]
    )
    store.finish()
    assert store.sql("SELECT name FROM captures").fetchall() == [(hostile.decode(),)]
    assert store.sql("SELECT name FROM http_fields WHERE side = ?", [hostile.decode()]).fetchall() == [(hostile.decode(),)]


def test_sql_sees_the_rows_so_far_while_more_are_added(store: Store) -> None:
    store.add([SingleRecord(1)])
    assert store.sql("FROM singles").fetchall() == [(1,)]
    store.add([SingleRecord(2)])
    assert store.sql("SELECT count(*) FROM singles WHERE connection_id = $number", {"number": 2}).fetchall() == [(1,)]
    store.finish()
    assert store.sql("SELECT count(*) FROM singles").fetchall() == [(2,)]
    with pytest.raises(UnmuxError, match="finished"):
        store.add([SingleRecord(3)])
    with pytest.raises(duckdb.Error):
        store.sql("SELECT nothing")


def test_rows_of_any_size_and_number_keep_their_order(store: Store) -> None:
    for start in range(0, 50_000, 7):
        store.add([StreamRecord(1, i, protocol_stream_id=str(i)) for i in range(start, min(start + 7, 50_000))])
    store.add([HttpContentRecord(1, i, 0, "response", b"%d" % i * 1_000_000, True, True) for i in range(10)])
    store.finish()
    assert store.sql("SELECT stream_index FROM streams").fetchall() == [(i,) for i in range(50_000)]
    assert store.sql("SELECT bool_and(length(content) = 1000000) FROM http_contents").fetchall() == [(True,)]


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_rows_wider_than_the_memory_of_the_database_are_all_stored(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    sizes = [64 << 10] * 600 + [10 << 20]
    with Store(path, records=HTTP) as store:
        store.add([HttpContentRecord(1, i, 0, "response", b"\xff" * size, True, True) for i, size in enumerate(sizes)])
        store.finish()
    with open_store(path) as store:
        query = "SELECT length(content) // 4, count(*) FROM http_contents GROUP BY ALL ORDER BY ALL"
        assert store.sql(query).fetchall() == [(64 << 10, 600), (10 << 20, 1)]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.binary(max_size=20) | st.none(), min_size=1, max_size=200))
def test_any_bytes_from_the_wire_can_be_stored(values: list[bytes | None]) -> None:
    with Store(records=HTTP) as store:
        store.add([HttpExchangeRecord(1, i, request_method=value) for i, value in enumerate(values)])
        store.finish()
        found = store.sql("SELECT request_method FROM http_exchanges ORDER BY stream_index").fetchall()
        assert found == [(None if value is None else bytes_to_text(value),) for value in values]


def test_a_closed_store_leaves_no_objects_to_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        with Store(records=HTTP) as store:
            store.add([HttpFieldSectionRecord(1, 1, 0, "request", "header", [line(b"collectable", b"x")])])
            store.finish()
        del store
        gc.collect(0)
        assert not [found for found in gc.get_objects() if type(found).__name__ in ("LineNumbers", "TableWriter")]
    finally:
        gc.enable()


def test_metadata_says_with_what_the_store_was_made(tmp_path: Path) -> None:
    with Store(str(tmp_path / "a.duckdb"), options={"content": "hash"}) as store:
        store.add([AnomalyRecord(kind="x")])
    with open_store(str(tmp_path / "a.duckdb")) as store:
        facts = dict(store.sql("SELECT key, value FROM store_metadata").fetchall())
    assert facts["option_content"] == "hash"
    assert facts["schema_version"] == "1"
    assert facts["is_complete"] == "false"
    assert {"unmux_version", "duckdb_version", "build"} <= facts.keys()


def test_a_query_is_exported_to_parquet(store: Store, tmp_path: Path) -> None:
    store.add([SampleRecord(1, 2, 3, name="x", lines=[line(b"a", b"b")])])
    store.finish()
    store.export_parquet("SELECT number, seen_at, lines FROM samples", tmp_path / "it's.parquet")
    with duckdb.connect() as other:
        path = str(tmp_path / "it's.parquet")
        assert other.execute("SELECT number, epoch_ns(seen_at), lines FROM read_parquet(?)", [path]).fetchall() == [(2, 3, [0])]


def fill(path: str, number: int, **options: bool) -> None:
    with Store(path, records=HTTP, mask_key=b"k", **options) as store:  # type: ignore[arg-type]
        index = store.next_capture_index()
        store.add(
            [
                CaptureRecord(index, f"{number}.pcap"),
                connection((index << 40) + number, index),
                HttpExchangeRecord((index << 40) + number, 1, 0, "1.1", b"GET", target=b"/?token=x"),
                HttpFieldSectionRecord(
                    (index << 40) + number, 1, 0, "request", "header", [line(b"n", b"%d" % number), line(b"s", b"s")]
                ),
            ]
        )
        store.finish()


def contents(path: str) -> list[tuple[object, ...]]:
    with open_store(path, HTTP) as store:
        assert store.sql("SELECT count(*) FROM exchanges").fetchall() == store.sql("SELECT count(*) FROM captures").fetchall()
        assert store.sql("SELECT count(DISTINCT target) FROM http_exchanges").fetchall() == [(1,)]
        assert store.sql("SELECT DISTINCT value FROM store_metadata WHERE key = 'schema_version'").fetchall() == [("1",)]
        return store.sql("""
            SELECT capture_index, connection_id % (1::BIGINT << 40), captures.name, list(value ORDER BY position)
            FROM captures JOIN connections USING (capture_index) JOIN http_fields USING (connection_id)
            GROUP BY ALL ORDER BY ALL
        """).fetchall()


@pytest.mark.parametrize("name", ["out.duckdb", "out/", "it's [a] fol*der?/"])
def test_a_store_is_refused_replaced_or_appended_to_as_asked(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    fill(path, 1)
    assert is_store(path)
    assert contents(path) == [(0, 1, "1.pcap", ["1", "s"])]
    with pytest.raises(UnmuxError, match="exists already; --append adds to it, --force replaces it"):
        fill(path, 2)
    fill(path, 2, append=True)
    fill(path, 3, append=True)
    assert contents(path) == [(0, 1, "1.pcap", ["1", "s"]), (1, 2, "2.pcap", ["2", "s"]), (2, 3, "3.pcap", ["3", "s"])]
    fill(path, 4, force=True)
    assert contents(path) == [(0, 4, "4.pcap", ["4", "s"])]
    assert [entry.name for entry in tmp_path.iterdir()] == [name.rstrip("/")]
    assert not list(tmp_path.rglob("*.partial*"))


@pytest.mark.parametrize("replaces", [False, True])
def test_only_files_that_the_store_itself_named_are_ever_removed_from_its_folder(tmp_path: Path, replaces: bool) -> None:
    path = f"{tmp_path}/out/"
    fill(path, 1)
    own = [tmp_path / "out" / name for name in ("mine/notes.parquet", "captures/notes.parquet", "captures/0009.parquet")]
    outside = tmp_path / "outside.parquet"
    own[0].parent.mkdir()
    for file in [*own, outside]:
        file.write_text("the user's own")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    if replaces:  # a manifest written by somebody else
        manifest["tables"] |= {"..": ["../outside.parquet"], "captures": ["captures/../../outside.parquet", 1], "mine": None}
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    fill(path, 2, append=not replaces, force=replaces)
    assert [file.read_text() for file in [*own, outside]] == ["the user's own"] * 4
    assert [row[2] for row in contents(path)] == (["2.pcap"] if replaces else ["1.pcap", "2.pcap"])


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_appending_to_what_is_not_there_makes_it(tmp_path: Path, name: str) -> None:
    fill(f"{tmp_path}/{name}", 1, append=True)
    assert contents(f"{tmp_path}/{name}") == [(0, 1, "1.pcap", ["1", "s"])]


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_a_store_that_gets_no_rows_before_a_fault_leaves_no_trace_and_no_damage(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(KeyError), Store(path, records=HTTP):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    fill(path, 1)
    for options in ({"append": True}, {"force": True}):
        with pytest.raises(KeyError), Store(path, records=HTTP, **options):
            raise KeyError
        assert contents(path) == [(0, 1, "1.pcap", ["1", "s"])]


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_what_was_added_before_an_interrupt_is_stored(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"

    def interrupted() -> None:
        with Store(path, records=HTTP) as store:
            store.add([connection(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with open_store(path) as store:
        assert store.sql("SELECT connection_id FROM connections").fetchall() == [(1,)]
        assert store.sql("SELECT value FROM store_metadata WHERE key = 'is_complete'").fetchall() == [("false",)]


@pytest.mark.parametrize(("name", "append"), [("x.pcap", True), ("x.pcap", False), ("captures/", True), ("captures", False)])
def test_what_is_not_a_store_is_never_written_over(tmp_path: Path, name: str, append: bool) -> None:
    (tmp_path / "captures").mkdir()
    (tmp_path / "captures" / "a.pcap").write_bytes(b"\xd4\xc3\xb2\xa1")
    (tmp_path / "x.pcap").write_bytes(b"\xd4\xc3\xb2\xa1 and so on")
    assert not is_store(f"{tmp_path}/{name}")
    with pytest.raises(UnmuxError, match="left as it is"):
        Store(f"{tmp_path}/{name}", append=append, force=not append)
    assert (tmp_path / "x.pcap").read_bytes() == b"\xd4\xc3\xb2\xa1 and so on"
    assert [entry.name for entry in (tmp_path / "captures").iterdir()] == ["a.pcap"]


def test_two_runs_with_one_output_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "out.duckdb"
    late = Store(str(path))
    late.add([CaptureRecord(0, "one.pcap")])
    path.write_bytes(b"of another run, that was faster")
    with pytest.raises(
        UnmuxError, match=r"out\.duckdb: came into being meanwhile; what was written is in .*out\.duckdb\.partial"
    ):
        late.finish()
    late.close()
    assert path.read_bytes() == b"of another run, that was faster"
    with open_store(f"{path}.partial") as left:
        assert left.sql("SELECT count(*) FROM captures").fetchall() == [(1,)]


def test_a_partial_file_of_a_killed_run_is_not_lost_silently(tmp_path: Path) -> None:
    path = tmp_path / "out.duckdb"
    (tmp_path / "out.duckdb.partial").write_bytes(b"rows of hours")
    with pytest.raises(UnmuxError, match="partial: left by a run that was cut off"):
        fill(str(path), 1)
    fill(str(path), 1, force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.duckdb"]


@pytest.mark.parametrize("name", ["out.duckdb", "out.duckdb.partial", "out.duckdb.partial.wal"])
def test_links_to_what_is_not_there_are_not_written_through(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnmuxError, match=name):
        fill(f"{tmp_path}/out.duckdb", 1)
    if name != "out.duckdb":
        fill(f"{tmp_path}/out.duckdb", 1, force=True)
        fill(f"{tmp_path}/out.duckdb", 2, append=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.duckdb"]


def test_a_folder_with_links_in_it_is_neither_written_to_nor_emptied(tmp_path: Path) -> None:
    path = f"{tmp_path}/out/"
    fill(path, 1)
    (tmp_path / "out" / "connections").rename(tmp_path / "elsewhere")
    (tmp_path / "out" / "connections").symlink_to(tmp_path / "elsewhere")
    for choice in ("append", "force"):
        with pytest.raises(UnmuxError, match="connections: is a link"):
            fill(path, 2, **{choice: True})
    assert contents(path) == [(0, 1, "1.pcap", ["1", "s"])]
    assert [entry.name for entry in (tmp_path / "elsewhere").iterdir()] == ["0000.parquet"]


def test_what_is_written_beside_the_files_of_a_folder_replaces_links(tmp_path: Path) -> None:
    path = f"{tmp_path}/out/"
    fill(path, 1)
    mine = tmp_path / "mine"
    mine.write_bytes(b"precious")
    for name in ("0001.partial", "tmp_0001.partial", "0001.parquet"):
        (tmp_path / "out" / "connections" / name).symlink_to(mine)
    fill(path, 2, append=True)
    assert len(contents(path)) == 2
    assert mine.read_bytes() == b"precious"


def test_places_that_cannot_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path in ("nowhere/out.duckdb", "nowhere/out/", "file/"):
        with pytest.raises(UnmuxError, match=path.rstrip("/")):
            Store(f"{tmp_path}/{path}")
    for path in ("nowhere.duckdb", "file", "empty"):
        with pytest.raises(UnmuxError, match=path):
            open_store(f"{tmp_path}/{path}")
    assert not is_store(f"{tmp_path}/nowhere")


def test_a_database_of_something_else_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE mine AS SELECT 1 AS number")
    before = path.read_bytes()
    for call in (lambda: Store(str(path), append=True), lambda: open_store(str(path))):
        with pytest.raises(UnmuxError, match="required a store of unmux with schema version 1, found no table store_metadata"):
            call()
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_tables_of_another_version_are_not_appended_to(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    fill(path, 1)

    @record("http_contents", "content, in a later version")
    class LaterRecord(Record):
        """Other columns under the same name."""

        connection_id: "Annotated[int, capture('the connection')]"

    with pytest.raises(UnmuxError, match="table http_contents has other columns"):
        Store(path, append=True, records=[LaterRecord])
    with pytest.raises(UnmuxError, match="table http_contents has other columns"):
        open_store(path, [LaterRecord])
    with pytest.MonkeyPatch.context() as patch:
        for module in ("definitions", "places"):
            patch.setattr(f"analyzer.store.{module}.SCHEMA_VERSION", "2")
        for call in (lambda: Store(path, append=True, records=HTTP), lambda: open_store(path, HTTP)):
            with pytest.raises(UnmuxError, match=r"required a store of unmux with schema version 2, found '1'"):
                call()
    assert contents(path) == [(0, 1, "1.pcap", ["1", "s"])]


@pytest.mark.parametrize(
    "damage",
    [
        {"tables": {"captures": ["captures/../../secret.parquet"]}},
        {"tables": {"captures": ["/etc/passwd"]}},
        {"tables": {'captures" AS SELECT 1; --': []}},
        {"tables": None},
    ],
)
def test_a_manifest_cannot_reach_outside_its_folder_or_run_statements(
    tmp_path: Path, damage: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill("out/", 1)
    manifest = json.loads(Path("out/manifest.json").read_text())
    Path("out/manifest.json").write_text(json.dumps(manifest | damage))
    with pytest.raises(UnmuxError, match=r"manifest\.json"):
        open_store("out/")
    assert not Path("written").exists()


@pytest.mark.parametrize("name", ["out.duckdb", "out/"])
def test_what_each_run_was_made_with_is_told_apart(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    for number, content in ((1, "none"), (2, "hash"), (3, "hash")):
        with Store(path, append=True, records=HTTP, options={"content": content}) as store:
            store.add([CaptureRecord(store.next_capture_index(), f"{number}.pcap")])
            store.finish(complete=number != 2)
    with open_store(path) as store:
        facts = store.sql("""
            SELECT first_capture_index, value FROM store_metadata WHERE key IN ('is_complete', 'option_content')
            ORDER BY first_capture_index, key
        """).fetchall()
    assert facts == [(0, "true"), (0, "none"), (1, "false"), (1, "hash"), (2, "true"), (2, "hash")]


def test_views_of_a_manifest_are_not_believed(tmp_path: Path) -> None:
    fill(f"{tmp_path}/out/", 1)
    file = tmp_path / "out" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"views": {"exchanges": "SELECT 1; COPY (SELECT 1) TO 'written'"}}))
    assert contents(f"{tmp_path}/out/") == [(0, 1, "1.pcap", ["1", "s"])]


def test_views_and_macros_that_somebody_put_into_a_file_cannot_read_files(tmp_path: Path) -> None:
    path = str(tmp_path / "out.duckdb")
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    fill(path, 1)
    with duckdb.connect(path) as other:
        other.execute(f"CREATE OR REPLACE VIEW exchanges AS SELECT content AS target FROM read_text('{secret}')")
    with open_store(path, HTTP) as store:  # the views are those of the declarations, and the user's own SQL may do as it likes
        assert store.sql("SELECT target LIKE '/?token=%' FROM exchanges").fetchall() == [(True,)]
        assert store.sql(f"SELECT content FROM read_text('{secret}')").fetchall() == [("hidden",)]
        store.sql(f"COPY (FROM exchanges) TO '{tmp_path / 'mine.csv'}'")
    assert "token" in (tmp_path / "mine.csv").read_text()
    for statement in (
        f"CREATE VIEW more AS FROM read_text('{secret}')",
        f"CREATE MACRO upper(a) AS (SELECT content FROM read_text('{secret}'))",
        f"CREATE MACRO more() AS TABLE FROM read_text('{secret}')",
    ):
        fill(path, 1, force=True)
        with duckdb.connect(path) as other:
            other.execute(statement)
        query = (
            "SELECT upper(name) FROM captures" if "upper" in statement else "FROM more()" if "TABLE" in statement else "FROM more"
        )
        with open_store(path, HTTP) as store:
            assert store.sql("SELECT place(connection_id, stream_index) FROM exchanges").fetchall() == [("1:1",)]
            with pytest.raises(duckdb.Error, match="disabled by configuration"):
                store.sql(query).fetchall()
    fill(path, 1, force=True)
    with duckdb.connect(path) as other:
        other.execute(f"DROP TABLE captures; CREATE VIEW captures AS FROM read_text('{secret}')")
    with pytest.raises(UnmuxError, match="found a view captures instead of the table"):
        open_store(path)


def test_no_name_in_a_query_is_a_variable_of_the_program(store: Store) -> None:
    store.finish()
    frame = duckdb.sql("SELECT 1 AS number")
    with pytest.raises(duckdb.Error, match="Table with name frame does not exist"):
        store.sql("FROM frame")
    frame.close()


def test_an_open_store_can_be_read_by_others_and_not_changed(tmp_path: Path) -> None:
    path = f"{tmp_path}/out.duckdb"
    fill(path, 1)
    with open_store(path) as first, open_store(path) as second:
        assert first.tables() == second.tables()
        with pytest.raises(duckdb.Error, match="read-only"):
            first.sql("DELETE FROM captures")


def test_a_temporary_store_is_gone_when_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for finished in (True, False):
        with Store(records=HTTP) as store:
            store.add([connection(1)])
            assert list(tmp_path.iterdir()) != []
            if finished:
                store.finish()
        assert list(tmp_path.iterdir()) == []


def test_a_store_opened_anew_meanwhile_holds_the_same_rows(tmp_path):
    path = tmp_path / "out.duckdb"
    with Store(str(path)) as store:
        for batch in range(5):
            store.add([AnomalyRecord(kind=f"{batch}", packet=number) for number in range(1000)])
            store.sql("SELECT 1")
            store._loader.place.reopen()
        assert store.sql("SELECT count(*), sum(packet) FROM anomalies").fetchall() == [(5000, 5 * 499_500)]
        store.finish()
        assert store.sql("SELECT count(*), count(DISTINCT kind) FROM anomalies").fetchall() == [(5000, 5)]
