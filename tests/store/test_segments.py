"""Segments: rows that others query while more come, kept as far as they are wanted."""

import duckdb
import pytest

from analyzer.errors import UnmuxError
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.records import ConnectionRecord, FieldLine, StreamRecord
from analyzer.store import open_store
from analyzer.store.segments import MERGED_FILES, Retention, SegmentStore

RECORDS = Http1Dissector.records


def connection(number, **other):
    return ConnectionRecord(
        connection_id=number,
        capture_index=0,
        transport="tcp",
        client_address="10.0.0.1",
        client_port=number % 65536,
        server_address="10.0.0.2",
        server_port=80,
        role_evidence="handshake",
        **other,
    )


def section(number, name):
    return HttpFieldSectionRecord(number, 0, 0, "request", "header", [FieldLine(name, b"v", "witnessed")])


@pytest.fixture
def segments(tmp_path):
    made = []

    def make(**options):
        store = SegmentStore(f"{tmp_path}/live/", records=RECORDS, **options)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


def ask(folder, sql):
    with open_store(f"{folder}/live/", RECORDS) as store:
        return store.sql(sql).fetchall()


def ask_manifest(folder, sql):
    with duckdb.connect() as other:
        return other.execute(f"{sql} FROM '{folder}/live/manifest.json'").fetchall()[0]


def files(folder, table):
    return sorted(file.name for file in (folder / "live" / table).iterdir())


def test_rows_are_there_when_a_segment_is_sealed_and_what_is_open_is_replaced(segments, tmp_path):
    store = segments()
    store.add([connection(1)])
    store.seal([connection(2), StreamRecord(2, 0)], 1.0)
    store.wait()
    assert ask(tmp_path, "SELECT connection_id FROM connections ORDER BY 1") == [(1,), (2,)]
    assert ask(tmp_path, "SELECT count(*) FROM streams") == [(1,)]
    assert ask(tmp_path, "SELECT count(*) FROM http_exchanges") == [(0,)]
    store.add([connection(2, close_reason="fin")])
    store.seal([], 2.0)
    store.wait()
    assert ask(tmp_path, "SELECT connection_id, close_reason FROM connections ORDER BY 1") == [(1, None), (2, "fin")]
    assert ask(tmp_path, "SELECT count(*) FROM streams") == [(0,)]
    assert ask(tmp_path, "SELECT value FROM store_metadata WHERE key = 'is_complete'") == [("false",)]
    store.finish(3.0)
    assert ask(tmp_path, "SELECT value FROM store_metadata WHERE key = 'is_complete'") == [("true",)]
    (named,) = ask_manifest(tmp_path, "SELECT tables.connections")
    assert not [name for name in named if "open" in name]


def test_a_store_that_is_open_for_reading_sees_what_has_come_since(segments, tmp_path):
    store = segments()
    store.seal([], 1.0)
    store.wait()
    with open_store(f"{tmp_path}/live/", RECORDS) as reading:
        assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(0,)]
        for number in range(3):
            store.add([connection(number)])
            store.seal([connection(100 + number)], 2.0 + 100 * number)
        store.wait()
        assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(4,)]
        assert reading.sql(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'connections' AND column_name = 'client_port'"
        ).fetchall() == [("port of the end that opened it",)]


def test_queries_of_one_moment_do_not_see_what_comes_meanwhile(segments, tmp_path):
    store = segments()
    store.seal([connection(1)], 1.0)
    store.wait()
    with open_store(f"{tmp_path}/live/", RECORDS) as reading:
        with reading.at_one_moment():
            assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(1,)]
            store.seal([connection(1), connection(2)], 2.0)
            store.wait()
            with reading.at_one_moment():
                assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(1,)]
            assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(1,)]
        assert reading.sql("SELECT count(*) FROM connections").fetchall() == [(2,)]


def test_what_the_manifest_does_not_name_any_more_stays_for_a_while(segments, tmp_path):
    store = segments()
    for now in (1.0, 2.0, 30.0, 31.0):
        store.seal([connection(1)], now)
        store.wait()
    left = [name for name in files(tmp_path, "connections") if name.startswith("open")]
    assert len(left) == 3  # the latest, and two that were replaced a moment ago


def test_who_reads_when_the_last_row_is_written_goes_on_reading(segments, tmp_path):
    store = segments()
    store.add([connection(1)])
    store.seal([connection(2)], 1.0)
    store.wait()
    with open_store(f"{tmp_path}/live/", RECORDS) as reading:
        begun = reading.sql("SELECT connection_id FROM connections ORDER BY 1")
        with reading.at_one_moment():
            store.add([connection(2)])
            store.finish(2.0)
            assert begun.fetchall() == [(1,), (2,)]
            assert reading.sql("SELECT connection_id FROM connections ORDER BY 1").fetchall() == [(1,), (2,)]
            assert reading.sql("SELECT value FROM store_metadata WHERE key = 'is_complete'").fetchall() == [("false",)]


@pytest.mark.parametrize("option", ["append", "force"])
def test_who_adds_to_a_folder_removes_what_was_left_there_after_a_while(segments, tmp_path, option):
    store = segments()
    for now in (1.0, 2.0):
        store.seal([connection(1)], now)
    store.finish(2.5)
    left = {name for name in files(tmp_path, "connections") if name.startswith("open")}
    assert len(left) == 2
    (tmp_path / "live" / "connections" / "mine.parquet").touch()
    again = segments(**{option: True})
    for now, stays in ((100.0, True), (109.0, True), (110.0, False)):
        again.add([connection(3)])
        again.seal([], now)
        again.wait()
        assert left.issubset(files(tmp_path, "connections")) is stays
        assert left.isdisjoint(files(tmp_path, "connections")) is not stays
    assert "mine.parquet" in files(tmp_path, "connections")


def test_many_small_files_become_few(segments, tmp_path):
    store = segments()
    count = MERGED_FILES * MERGED_FILES + 3
    for number in range(count):
        store.add([connection(number)])
        store.seal([], 100.0 * number)
    store.finish(1e6)
    assert ask(tmp_path, "SELECT count(*), count(DISTINCT connection_id) FROM connections") == [(count, count)]
    assert len(files(tmp_path, "connections")) == 5  # an empty one, one of all, and the last three


def test_a_folder_may_have_characters_in_its_name_that_have_a_meaning_in_patterns(tmp_path):
    store = SegmentStore(f"{tmp_path}/[a]*?/", records=RECORDS)
    for number in range(MERGED_FILES):
        store.add([connection(number)])
        store.seal([], float(number))
    store.finish(100.0)
    store.close()
    with open_store(f"{tmp_path}/[a]*?/", RECORDS) as seen:
        assert seen.sql("SELECT count(*) FROM connections").fetchall() == [(MERGED_FILES,)]


@pytest.mark.parametrize(
    ("retention", "least", "most"),
    [(Retention(seconds=40), 40, 60), (Retention(rows=200), 30, 80), (Retention(size=200_000), 1, 100)],
)
def test_old_rows_are_given_up_with_the_field_lines_that_only_they_refer_to(segments, tmp_path, retention, least, most):
    store = segments(retention=retention)
    for number in range(120):
        store.add([connection(number), section(number, b"always"), section(number, b"name%d" % number)])
        store.seal([], float(number))
    store.wait()
    ((kept, first, last),) = ask(tmp_path, "SELECT count(*), min(connection_id), max(connection_id) FROM connections")
    assert last == 119
    assert kept == 120 - first  # the latest
    assert least <= kept <= most
    fields = ask(tmp_path, "SELECT connection_id, name FROM http_fields ORDER BY 1, 2")
    assert fields == sorted((number, name) for number in range(first, 120) for name in ("always", f"name{number}"))
    assert ask(tmp_path, "SELECT count(*) FROM field_lines")[0][0] < 2 * kept + 20


@pytest.mark.parametrize("retention", [Retention(rows=200), Retention(size=40_000)])
def test_a_burst_of_more_than_is_kept_stays_until_half_of_that_came_after_it(segments, tmp_path, retention):
    store = segments(retention=retention)
    burst = range(5000)

    def kept():
        store.wait()
        return ask(tmp_path, "SELECT count(*), count(*) FILTER (connection_id < 5000) FROM connections")[0]

    store.add([connection(number) for number in burst])
    store.seal([], 1.0)
    for number in range(3):
        store.add([connection(5000 + number)])
        store.seal([], 2.0 + number)
        assert kept() == (5001 + number, 5000)
    for number in range(3, 150):
        store.add([connection(5000 + number)])
        store.seal([], 2.0 + number)
    total, of_burst = kept()
    assert (of_burst, 1 <= total <= 150) == (0, True)
    store.add([connection(number) for number in burst])
    store.finish(1000.0)
    assert kept()[1] == 5000


@pytest.mark.parametrize("retention", [Retention(seconds=16), Retention(rows=80), Retention(size=60_000)])
def test_an_exchange_that_goes_on_or_ended_later_has_its_field_lines(segments, tmp_path, retention):
    store = segments(retention=retention)
    exchange = HttpExchangeRecord(1000, 0)
    store.add([section(1000, b"long")])
    for number in range(80):
        store.add([connection(number), section(number, b"name%d" % number)])
        if number == 30:
            store.add([exchange])
        store.seal([exchange] if number < 30 else [], float(number))
        if number in (0, 29, 30, 31):
            store.wait()
            assert ask(tmp_path, "SELECT name FROM http_fields SEMI JOIN http_exchanges USING (connection_id)") == [("long",)]
            assert ask(tmp_path, "SELECT count(*) - count(DISTINCT line_id) FROM field_lines") == [(0,)]
            assert ask(tmp_path, "SELECT min(connection_id) > 0 FROM connections") == [(number > 0,)]
    store.wait()
    assert ask(tmp_path, "SELECT count(*) FROM http_exchanges") == [(0,)]
    assert ask(tmp_path, "SELECT count(*) FROM http_fields WHERE connection_id = 1000") == [(0,)]


def test_a_killed_one_is_added_to(segments, tmp_path):
    store = segments()
    store.add([connection(1), section(1, b"first")])
    store.seal([connection(5)], 1.0)
    store.wait()  # and no more of it
    with pytest.raises(UnmuxError, match="--append adds to it"):
        segments()
    again = segments(append=True)
    assert again.next_capture_index() == 1
    again.add([connection(2), section(2, b"second")])
    again.finish(2.0)
    assert ask(tmp_path, "SELECT connection_id FROM connections ORDER BY 1") == [(1,), (2,), (5,)]  # one was open
    assert ask(tmp_path, "SELECT connection_id, name FROM http_fields ORDER BY 1") == [(1, "first"), (2, "second")]
    complete = ask(tmp_path, "SELECT first_capture_index, value FROM store_metadata WHERE key = 'is_complete' ORDER BY 1")
    assert complete == [(0, "false"), (1, "true")]
    replaced = segments(force=True)
    replaced.add([connection(3)])
    replaced.finish(3.0)
    assert ask(tmp_path, "SELECT connection_id FROM connections") == [(3,)]


def test_rows_that_are_appended_to_are_kept_as_long_as_new_ones(segments, tmp_path):
    first = segments()
    first.add([connection(1)])
    first.finish(1.0)
    again = segments(append=True, retention=Retention(seconds=40))

    def kept(now):
        again.seal([], now)
        again.wait()
        return ask(tmp_path, "SELECT count(*) FROM connections")

    assert kept(1_000_000.0) == [(1,)]
    again.add([connection(2)])
    assert kept(1_000_039.0) == [(2,)]
    assert kept(1_000_041.0) == [(1,)]
    again.finish(1_000_042.0)


def test_any_duckdb_reads_the_files_that_the_manifest_names(segments, tmp_path, monkeypatch):
    store = segments()
    store.add([connection(1)])
    store.seal([connection(2)], 1.0)
    store.wait()
    monkeypatch.chdir(tmp_path / "live")
    with duckdb.connect() as other:
        other.execute("SET VARIABLE files = (SELECT tables.connections FROM 'manifest.json')")
        assert other.execute("SELECT count(*) FROM read_parquet(getvariable('files'))").fetchall() == [(2,)]


def test_an_observer_sees_each_segment_once_and_what_is_open(tmp_path):
    seen = []

    def observe(finished, unfinished):
        sql = "SELECT list(connection_id) FROM connections"
        seen.append((finished.execute(sql).fetchall()[0][0], unfinished.execute(sql).fetchall()[0][0]))

    store = SegmentStore(None, records=RECORDS, observe=observe)
    store.add([connection(1)])
    store.seal([connection(2)], 1.0)
    store.add([connection(3)])
    store.seal([], 2.0)
    store.finish(3.0)
    store.close()
    assert seen == [([1], [2]), ([3], None), (None, None)]


def test_what_an_observer_raises_comes_out(tmp_path):
    def observe(_finished, _unfinished):
        raise BrokenPipeError

    store = SegmentStore(None, records=RECORDS, observe=observe)
    store.seal([], 1.0)
    with pytest.raises(BrokenPipeError):
        store.wait()
    store.close()
