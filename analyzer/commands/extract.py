"""What streams carried, each content in a file of its own: HTTP contents decoded, WebSocket messages, bytes nobody understands."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.commands import rereading, source
from analyzer.commands.contents import Folder
from analyzer.commands.extraction import Extraction
from analyzer.errors import UnmuxError
from analyzer.store.masking import Masker

if TYPE_CHECKING:
    from analyzer.capture.capture_set import CaptureSet


def run(paths: list[str], where: str | None, target: str, options: source.Options, *, force: bool = False) -> None:
    """Write what the captures carry, of exchanges that ``where`` is true of, into the folder ``target``.

    Raises UsageError or UnmuxError.
    """
    runs = _runs(paths, where)
    wanted = None if where is None else _wanted(paths, where, options)
    with Folder(target, force=force) as folder:
        extraction = Extraction(folder, wanted, None if options.show_secrets else Masker(None))
        for each in runs:
            _extract(each, extraction, options)
        folder.finish()
    files = f"{folder.files:,} file{'' if folder.files == 1 else 's'}"
    source.remark(f"wrote {files} to {target}, {folder.bytes:,} bytes; {Path(target) / Folder.INDEX} tells what they are")


def _runs(paths: list[str], where: str | None) -> list[rereading.Run]:
    """What is read; standard input where once will do."""
    if where is None and (len(paths) > 1 or not source.names_store(paths[0])):
        return [rereading.Run(paths, 0, None)]
    return rereading.runs(paths)


def _wanted(paths: list[str], where: str, options: source.Options) -> set[tuple[int, int, int]]:
    """The connection, stream and index of the exchanges that are wanted."""
    with rereading.opened(paths, options) as store:
        found = rereading.matching(store, "connection_id, stream_index, exchange_index", where)
    if not found:
        raise UnmuxError("no exchange is like that; `unmux query SOURCE` shows what there is")
    return {(connection, stream, index) for connection, stream, index in found}


def _extract(each: rereading.Run, extraction: Extraction, options: source.Options) -> None:
    """Read captures, and write what they carry. Raises UnmuxError where that cannot be written."""
    from analyzer import pipeline, protocols
    from analyzer.dissector import Context

    rules = options.decode_as or source.Options(each.rules, "none", False, False, None).decode_as
    key_log = pipeline.read_key_logs(options.key_logs, options.memory)
    context = Context(protocols.dissectors(), "none", decode_as=rules, key_log=key_log, memory=options.memory)
    context.taps = extraction
    with closing(_opened(each)) as captures:
        pipeline.run(captures, context, extraction, lambda _: extraction.folder.failure is None)
        rereading.warn(captures)
    extraction.finish()
    if extraction.folder.failure is not None:
        raise extraction.folder.failure


def _opened(each: rereading.Run) -> "CaptureSet":
    from analyzer.capture.capture_set import CaptureSet

    return CaptureSet(each.names, each.first_index)
