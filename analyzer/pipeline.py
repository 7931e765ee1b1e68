"""The whole program on one screen: capture -> packets -> connections -> streams -> records -> store."""

import gc
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import i64

from analyzer import limits, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.key_logs import key_log_blocks
from analyzer.capture.reader import UNTOLD, CaptureReader, Losses
from analyzer.capture.saving import Saver
from analyzer.codecs.key_log import KeyLog
from analyzer.connections.table import ConnectionTable
from analyzer.dissector import Context
from analyzer.memory import Memory, memory_of
from analyzer.packets.decoder import NOTHING, Decoder
from analyzer.records import AnomalyRecord, CaptureRecord, Rows

if TYPE_CHECKING:
    from analyzer.store import Store

PACKETS_BETWEEN_REPORTS: Final = 4096  # a few milliseconds: often enough for a progress bar and for Ctrl-C
ALL: Final = 1 << 62  # packets
ROWS_AT_A_TIME: Final = 1024  # handed to the sink together, or fewer with large contents


class Sink(Protocol):
    """Takes rows: the store, or a test's list."""

    def add(self, rows: Rows) -> None:
        """Keep the rows."""


Progress = Callable[[int], bool]
"""Called with the bytes read so far; False stops reading, and what was read is stored."""


class Analysis:
    """Takes packets apart, and hands the rows to a sink. Live captures look at it while it runs, between two packets."""

    def __init__(self, captures: CaptureSet, context: Context, sink: Sink, saver: Saver | None = None) -> None:
        """``saver`` is given every packet as well."""
        context.key_log.follow(captures.secrets, captures.has_pipes)
        self.captures = captures
        self.connections = ConnectionTable(context)
        self._context = context
        self._contents = context.contents
        self._key_version = context.key_log.refresh()
        self._decoder = Decoder(context.memory.fragment_bytes)
        self._not_decoded: dict[int, int] = {}  # capture_index -> packets
        self._losses: dict[int, int] = {}  # capture_index -> places at which it lost packets
        self._rows: Rows = []
        self._saver = saver
        self._sink = sink

    def run(self, progress: Progress | None = None, most_packets: i64 = ALL) -> bool:
        """Take everything in the captures apart, or as many packets; False when ``progress`` stopped it."""
        captures = self.captures
        decoder = self._decoder
        connections = self.connections
        not_decoded = self._not_decoded
        until_report: i64 = min(PACKETS_BETWEEN_REPORTS, most_packets)
        is_complete = True
        while True:
            reader = captures.next()
            if reader is None:
                break
            if self._saver is not None:
                self._saver.packet(reader)
            if reader.lost_packets != UNTOLD:
                self._lose(reader)
            kind = decoder.decode(
                reader.data,
                reader.offset,
                reader.captured_length,
                reader.original_length,
                reader.link_type,
                reader.timestamp,
                reader.frame,
                reader.interface,
            )
            if kind == NOTHING:
                not_decoded[reader.capture_index] = not_decoded.get(reader.capture_index, 0) + 1
            else:
                if decoder.taken_back:
                    not_decoded[reader.capture_index] = not_decoded.get(reader.capture_index, 0) - decoder.taken_back
                    decoder.taken_back = 0
                rows = connections.packet(
                    decoder, kind, reader.timestamp, reader.frame, reader.capture_index, reader.interface_name(reader.interface)
                )
                if rows:
                    self._take(rows)
            until_report -= 1
            if until_report == 0:
                most_packets -= PACKETS_BETWEEN_REPORTS
                until_report = min(PACKETS_BETWEEN_REPORTS, most_packets)
                self._rows += decoder.drain_anomalies()
                if progress is not None and not progress(captures.bytes_read):
                    is_complete = False
                    break
                if until_report <= 0:
                    break
        if is_complete and progress is not None and not progress(captures.bytes_read):
            is_complete = False  # stopped while it waited for more: the end is not that of the capture
        captures.close()  # an interface has counted its drops then
        for each in captures.readers:
            if each.lost_packets != UNTOLD:
                self._lose(each)
        self._end()
        return is_complete

    def advance(self, timestamp: i64) -> None:
        """Do what is due without a packet: the time is ``timestamp``, and no packet from before it will come."""
        self._take(self.connections.advance(timestamp))

    def wake(self) -> bool:
        """Let what waits for keys go on, where some have come since the last call; says whether they have."""
        version = self._context.key_log.refresh()
        if version == self._key_version:
            return False
        self._key_version = version
        self._take(self.connections.wake())
        return True

    def flush(self) -> None:
        """Hand over the rows that wait."""
        if self._rows:
            rows = self._rows
            self._rows = []
            self._sink.add(rows)
            self._contents.row_bytes = 0
            self._context.section_bytes = 0

    def open_rows(self, timestamp: i64) -> Rows:
        """The rows, as they stand, of what is still open: captures, connections, streams, exchanges."""
        rows: Rows = []
        for reader in self.captures.readers:
            rows.append(self._about(reader))
        return rows + self.connections.open_rows(timestamp)

    def _take(self, rows: Rows) -> None:
        self._rows += rows
        waiting = self._contents.row_bytes + self._context.section_bytes
        if len(self._rows) >= ROWS_AT_A_TIME or waiting >= limits.CONTENT_ROW_BYTES:
            self.flush()

    def _lose(self, reader: CaptureReader) -> None:
        """Take in how many packets were lost before the one that a reader stands on, or behind its last."""
        lost = reader.lost_packets
        reader.lost_packets = UNTOLD
        is_told = reader.losses is Losses.TOLD
        self._take(self.connections.lose(lost, reader.timestamp, reader.capture_index, is_told=is_told))
        if lost == 0:
            return
        places = self._losses.get(reader.capture_index, 0) + 1
        self._losses[reader.capture_index] = places
        if places > limits.LOSS_ROWS:
            return  # the capture's row has their sum
        row = AnomalyRecord(
            capture_index=reader.capture_index,
            occurred_at=reader.timestamp,
            packet=reader.frame or None,
            kind="dropped_packets",
            required="every packet",
            found=f"{lost} lost when capturing" + (": rows of this kind end here" if places == limits.LOSS_ROWS else ""),
            occurrences=lost,
        )
        self._take([row])

    def _end(self) -> None:
        """Hand over the rows of what the captures leave open, and those about the captures."""
        still_open = self.connections.close()
        while still_open:
            self._take(self.connections.end(still_open.pop()))
        self._rows += self._decoder.drain_anomalies()
        self._rows += self._about_captures()
        self._rows += _about_keys(self._context)
        self.flush()

    def _about(self, reader: CaptureReader) -> CaptureRecord:
        record = reader.record()
        record.not_decoded_packets = max(self._not_decoded.get(reader.capture_index, 0), 0)  # fragments may be of the file before
        return record

    def _about_captures(self) -> Rows:
        """The rows that describe the inputs and what in them is no TCP or UDP."""
        rows: Rows = []
        for fault in self.captures.unreadable:
            rows.append(AnomalyRecord(kind="unreadable_capture", required="a capture that can be read", found=fault))
        for reader in self.captures.readers:
            rows.append(self._about(reader))
            rows += reader.anomalies
            if reader.truncation is not None:
                rows.append(
                    AnomalyRecord(
                        capture_index=reader.capture_index,
                        packet=reader.frame,
                        kind="truncated_capture",
                        required="a whole file",
                        found=reader.truncation,
                    )
                )
        for reason, packets in sorted(self._decoder.not_decoded.items()):
            rows.append(AnomalyRecord(kind="not_decoded", required="a TCP or UDP packet", found=reason, occurrences=packets))
        return rows


def run(captures: CaptureSet, context: Context, sink: Sink, progress: Progress | None = None) -> bool:
    """Take everything in ``captures`` apart and hand the rows to ``sink``; False when ``progress`` stopped it."""
    return Analysis(captures, context, sink).run(progress)


def _about_keys(context: Context) -> Rows:
    """The row of lines in key logs that are none. What they say is not shown: it may be a secret, misspelt."""
    bad = context.key_log.bad_lines
    if bad == 0:
        return []
    required = "a label, what identifies the connection, a secret"
    return [AnomalyRecord(kind="key_log", required=required, found="other lines, or contradicting ones", occurrences=bad)]


def read_key_logs(paths: Sequence[str | os.PathLike[str]], memory: Memory | None = None) -> KeyLog:
    """The keys of these files. Raises ``CaptureError`` where one cannot be read."""
    key_log = KeyLog(memory)
    key_log.is_given = bool(paths)
    for path in paths:
        for block in key_log_blocks(os.fspath(path)):
            key_log.add(block)
    return key_log


def analyze(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    output: str | None = None,
    append: bool = False,
    force: bool = False,
    content: str = "preview",
    frames: bool = False,
    decode_as: dict[tuple[str, int], str] | None = None,
    key_logs: Sequence[str | os.PathLike[str]] = (),
    show_secrets: bool = False,
    mask_key: bytes | None = None,
    memory: str | int | None = None,
    skips_unreadable: bool = False,
    progress: Progress | None = None,
    opened: Callable[[CaptureSet], None] | None = None,
) -> "Store":
    """Take captures apart and return the store with their tables.

    ``paths`` is a file, folder, glob or ``-``, or several; ``output`` is a .duckdb file or a folder/ for Parquet, None for a
    temporary store; an existing one needs ``append`` or ``force``. ``content`` is none, preview, hash or store.
    ``key_logs`` are files with TLS keys, beside those inside the captures. ``memory`` is what all of it may take, a text such as
    ``512MB`` or a number of bytes: above it, what was used longest ago is written as it stands. ``opened`` is called with the capture set before
    the first packet is read.

    ``skips_unreadable`` leaves out paths that are no captures, as long as one is; the capture set says which.

    Raises ``CaptureError`` when a path is no capture or a key log cannot be read, ``UsageError`` when ``memory`` is no size or
    too little, and ``UnmuxError`` when the output cannot be written.
    """
    from analyzer.store import Store  # the one import that is slow, and needed only here

    share = memory_of(memory)
    found = protocols.dissectors()
    context = Context(found, content, frames, decode_as, read_key_logs(key_logs, share), share)
    rules = ", ".join(f"{transport}.port=={port},{name}" for (transport, port), name in sorted((decode_as or {}).items()))
    options = {"content": content, "frames": str(frames).lower(), "show_secrets": str(show_secrets).lower(), "decode_as": rules}
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    records = [record for dissector in found for record in dissector.records]
    store = Store(
        output,
        append=append,
        force=force,
        show_secrets=show_secrets,
        mask_key=mask_key,
        options=options,
        records=records,
        memory=share,
    )
    collecting = gc.isenabled()
    gc.disable()  # nothing here makes cycles that outlive a connection; collecting costs a third of the time
    try:
        captures = CaptureSet(
            [os.fspath(path) for path in several], store.next_capture_index(), skips_unreadable=skips_unreadable
        )
        if opened is not None:
            opened(captures)
        try:
            is_complete = run(captures, context, store, progress)
        finally:
            captures.close()
        store.finish(complete=is_complete)
    except BaseException:
        store.close()
        raise
    finally:
        if collecting:
            gc.enable()
    return store


def open_store(path: str | os.PathLike[str], *, memory: str | int | None = None) -> "Store":
    """Open a store that was made before, a DuckDB file or a Parquet folder, for reading. UnmuxError when it is none.

    Half of ``memory`` is for DuckDB's buffers; what does not fit is spilled to a temporary folder.
    """
    from analyzer.store import open_store as opened

    records = [record for dissector in protocols.dissectors() for record in dissector.records]
    return opened(os.fspath(path), records, memory_of(memory))
