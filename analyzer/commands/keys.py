"""TLS keys into a capture and out of it, with no more of them than the capture needs."""

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from analyzer.commands import source
from analyzer.commands.output import check_place, opened, written
from analyzer.errors import UnmuxError, UsageError

if TYPE_CHECKING:
    from analyzer.codecs.key_log import KeyLog
    from analyzer.records import Rows

_STANDARD_OUTPUT = "-"


class _Handshakes:
    """Takes the rows, and counts the handshakes and those whose keys are known."""

    def __init__(self, key_log: "KeyLog") -> None:
        self._key_log = key_log
        self.count = 0
        self.with_keys = 0

    def add(self, rows: "Rows") -> None:
        """Look at rows."""
        from analyzer.tls.tls_rows import TlsHandshakeRecord

        for row in rows:
            if isinstance(row, TlsHandshakeRecord):
                self.count += 1
                # asked here as well, for connections of which nothing else was captured
                is_known = row.client_random is not None and self._key_log.of_random(bytes.fromhex(row.client_random)) is not None
                self.with_keys += is_known or row.is_decrypted


class _Keys:
    """The key log lines that there are for captures, and which of them the captures need."""

    def __init__(self, paths: list[str], options: source.Options) -> None:
        """Read the captures. Raises ``CaptureError``, and ``UnmuxError`` when there is no key at all."""
        from analyzer import pipeline, protocols
        from analyzer.capture.capture_set import CaptureSet
        from analyzer.dissector import Context

        self._paths = options.key_logs
        self._key_log = pipeline.read_key_logs(options.key_logs, options.memory)
        captures = CaptureSet(paths)
        self._own = list(captures.secrets)
        self.handshakes = _Handshakes(self._key_log)
        try:
            if not sum(len(_lines(block)) for block in self._blocks()):  # to the end, where the files are closed
                where = f" and none in {', '.join(self._paths)}" if self._paths else "; name a key log with --keylog FILE"
                raise UnmuxError(f"no TLS keys are in {', '.join(paths)}{where}")
            context = Context(
                protocols.dissectors(), "none", decode_as=options.decode_as, key_log=self._key_log, memory=options.memory
            )
            pipeline.run(captures, context, self.handshakes)
        finally:
            captures.close()
        self.lines = 0
        self.taken = 0

    def chosen(self, *, needed_only: bool) -> Iterator[bytes]:
        """The lines, each once and with its end."""
        seen: set[bytes] = set()
        for block in self._blocks():
            for line in _lines(block):
                self.lines += 1
                if line not in seen and (not needed_only or self._key_log.was_found(line)):
                    seen.add(line)
                    yield line + b"\n"
        self.taken = len(seen)

    def _blocks(self) -> Iterator[bytes]:
        """What the captures have of key logs, and those named."""
        from analyzer.capture.key_logs import key_log_blocks

        return chain(self._own, *map(key_log_blocks, self._paths))

    def summary(self) -> str:
        """How many of the lines were taken, and how many handshakes have theirs."""
        handshakes = self.handshakes
        return (
            f"{self.taken:,} of {self.lines:,} key log lines; "
            f"keys of {handshakes.with_keys:,} of {handshakes.count:,} TLS handshakes"
        )


def _lines(block: bytes) -> list[bytes]:
    """The lines of a key log but for comments and empty ones."""
    stripped = (line.strip() for line in block.splitlines())
    return [line for line in stripped if line and not line.startswith(b"#")]


def inject(paths: list[str], options: source.Options, output: str, *, needed_only: bool, force: bool) -> None:
    """Write the packets of the captures and the keys they need as a pcapng. Raises UsageError or UnmuxError."""
    _check(paths, "-w", output, force=force)
    keys = _Keys(paths, options)
    if output == _STANDARD_OUTPUT:
        packets = _write(paths, keys, sys.stdout.buffer, needed_only=needed_only)
    else:
        with written(output) as partial, opened(partial, is_secret=True) as file:
            packets = _write(paths, keys, file, needed_only=needed_only)
    source.remark(f"wrote {output}: {packets:,} packets; {keys.summary()}")


def extract(paths: list[str], options: source.Options, output: str | None, *, needed_only: bool, force: bool) -> None:
    """Write the keys that the captures carry, or that are given, and that they need. Raises UsageError or UnmuxError."""
    if output is None and sys.stdout.isatty():
        raise UsageError("standard output is a terminal, where keys would be shown; name a file with -o, or - to show them")
    _check(paths, "-o", output or _STANDARD_OUTPUT, force=force)
    keys = _Keys(paths, options)
    lines = keys.chosen(needed_only=needed_only)
    if output is None or output == _STANDARD_OUTPUT:
        sys.stdout.buffer.writelines(lines)
    else:
        with written(output) as partial, opened(partial, is_secret=True) as file:
            file.writelines(lines)
    source.remark(keys.summary() if output is None else f"wrote {output}: {keys.summary()}")


def _check(paths: list[str], option: str, output: str, *, force: bool) -> None:
    """Refuse what cannot be read twice, what is no capture, and to write where that is not wanted."""
    for path in paths:
        if source.is_there(path):
            raise UsageError(f"{path}: is a store, which has no packets; name the captures")
        if path == "-" or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()):
            raise UsageError(f"{path}: keys reads a capture twice, which a pipe does not allow; name a file")
    if output == _STANDARD_OUTPUT:
        if option == "-w" and sys.stdout.isatty():
            raise UsageError("-w -: standard output is a terminal; name a file")
        return
    check_place(option, output, paths)
    if Path(output).is_file() and not force:
        raise UnmuxError(f"{option} {output}: exists already; --force replaces it")


def _write(paths: list[str], keys: _Keys, file: BinaryIO, *, needed_only: bool) -> int:
    """Write a pcapng: keys, packets, and what interfaces dropped; returns the number of packets."""
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.capture.pcapng_writer import PcapngWriter
    from analyzer.slicing import copy, write_secrets

    writer = PcapngWriter(file)
    write_secrets(writer, keys.chosen(needed_only=needed_only))
    with closing(CaptureSet(paths)) as captures:
        packets = copy(captures, None, writer, _go_on)
    for fault in [
        *captures.unreadable,
        *(f"{reader.name}: {reader.truncation}" for reader in captures.readers if reader.truncation),
    ]:
        source.remark(fault)
    return packets


def _go_on(_bytes_read: int) -> bool:
    return True  # and so Ctrl-C is heard
