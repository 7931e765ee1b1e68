"""The commands and their arguments."""

import os
import sys
from typing import Annotated

import typer

from analyzer.errors import UsageError

app = typer.Typer(
    name="unmux",
    no_args_is_help=True,
    rich_markup_mode=None,  # Typer's Rich help alone costs more than the rest of the start
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HELP = """\
Take packet captures apart: one row per stream, exchange and message, ready for SQL.

`unmux CAPTURE...` analyzes captures and prints what was multiplexed in them; -o keeps the tables."""
EXAMPLES = """\
\b
Examples:
  unmux capture.pcapng                     what is in it, at a glance
  unmux captures/ -o out.duckdb            many files as one; keeps the tables
  unmux tree out.duckdb                    what was multiplexed in what
  unmux follow capture.pcapng 44:0         both sides of one stream
  unmux report slow-exchanges out.duckdb   `unmux reports` lists the reports
  unmux query out.duckdb "SELECT target, status, duration_ns FROM exchanges"
  tcpdump -i any -w - port 80 | unmux -    a pipe, until Ctrl-C

\b
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, after what was
read was stored. Of several captures, those that cannot be read are named on
standard error and left out, and the status is 1. One that is cut off is read
up to there, with a warning. A file named like a command is read as ./NAME or
-r NAME.

`unmux COMMAND --help` tells more."""

QUERY_EXAMPLES = """\
\b
Examples:
  unmux query out.duckdb "FROM exchanges WHERE error_type IS NOT NULL"
  unmux query out.duckdb "FROM websocket_messages" -o messages.parquet
  unmux query a.pcap b.pcap "FROM captures" -f csv"""
REPORT_EXAMPLES = """\
\b
Examples:
  unmux report multiplexing capture.pcapng
  unmux report overview out.duckdb --format json
  unmux report waterfall out.duckdb --html waterfall.html"""

KEYS_EXAMPLES = """\
\b
Examples:
  unmux keys capture.pcap --keylog keys.log -w shared.pcapng
  unmux keys shared.pcapng --extract -o keys.log"""

EXTRACT_EXAMPLES = """\
\b
Examples:
  unmux extract capture.pcapng --to contents
  unmux extract out.duckdb --where "target LIKE '%.json'" --to contents"""

SLICE_EXAMPLES = """\
\b
Examples:
  unmux slice capture.pcapng --where "status = '502'" -w errors.pcapng
  unmux slice out.duckdb --where "duration_ns > 1e9" -w - | tshark -r -
  unmux slice capture.pcapng --connection 44 -w 44.pcapng"""

Captures = Annotated[
    list[str] | None,
    typer.Argument(metavar="CAPTURE...", help="Captures: files, folders, globs, or - for standard input.", show_default=False),
]
Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Captures or folders of captures; or what -o made: a .duckdb file, a folder/."),
]
More = Annotated[list[str] | None, typer.Option("-r", "--read", metavar="CAPTURE", help="A further capture.", show_default=False)]
DecodeAs = Annotated[
    list[str] | None,
    typer.Option(
        "-d", "--decode-as", metavar="RULE", help="Take a port for a protocol: tcp.port==8080,http2.", show_default=False
    ),
]
KeyLogs = Annotated[
    list[str] | None,
    typer.Option(
        "--keylog",
        metavar="FILE",
        help="TLS keys, as browsers and curl write them; else the file that SSLKEYLOGFILE names. Those inside a pcapng are used as well.",
        show_default=False,
    ),
]
Content = Annotated[str, typer.Option(metavar="MODE", help="What to keep of contents: none, preview, hash or store.")]
Frames = Annotated[bool, typer.Option("--frames", help="Keep a row for every HTTP/2 frame.")]
ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Do not mask passwords, cookies and tokens.")]
MaskKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Key under which secrets are masked, to compare stores; random otherwise.", show_default=False
    ),
]
MemorySize = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory that all of it may take, from 256MB; beyond it, connections are put away. 2GB by default.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "-f",
        "--format",
        help="table, csv, json, jsonl, markdown or parquet; by the file's suffix, else table.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file instead.", show_default=False)
]


def command_names() -> set[str]:
    """The names of all commands."""
    return {command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None}


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from analyzer import build

    print(f"unmux {build.VERSION} ({'compiled' if build.is_compiled() else 'plain Python'})")
    raise typer.Exit


@app.callback(help=HELP, epilog=EXAMPLES)
def unmux(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and whether it runs compiled.")
    ] = False,
) -> None:
    """What comes before the command."""


@app.command()
def analyze(
    captures: Captures = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="STORE",
            help="Keep the tables: a .duckdb file, or a folder/ for Parquet.",
            show_default=False,
        ),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing output.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing output; with --append, add a capture it has already.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but what went wrong.")] = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Take captures apart; print the overview, or keep the tables with -o."""
    from analyzer.commands import source

    options = source.Options(decode_as, content, frames, show_secrets, mask_key, keylog, memory)
    paths = [*(captures or []), *(read or [])]
    if not paths:
        raise UsageError("name a capture; `unmux --help` tells more")
    if len(paths) == 1 and output is None and source.is_there(paths[0]):
        with source.opened(paths, options) as store:
            if not quiet:
                source.print_report(store, "overview")
        return 0
    if output is not None:
        source.check_output(output)
    store, ending = source.analyzed(paths, options, output=output, append=append, force=force)
    with store:
        if quiet:
            pass
        elif output is None:
            source.print_report(store, "overview")
        else:
            print(source.summary(store, output), file=sys.stderr)
    ending.finish()
    return 0


@app.command(epilog=QUERY_EXAMPLES)
def query(
    where: Sources,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query; - reads it from standard input.")],
    format: Format = None,  # noqa: A002
    output: Output = None,
    force: Force = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Run one SQL query over captures or a store.

    There is a table or view of exchanges, of messages, of streams, of connections …; `unmux tables` lists them.
    place(connection_id, stream_index) is what the reports and `unmux follow` call a stream, with a third argument,
    exchange_index, an exchange. Control characters that were
    captured are escaped on a terminal and in tables, JSON and Markdown; CSV that goes to a file or pipe has them as they are.
    """
    from analyzer.commands import output as printing
    from analyzer.commands import source

    paths = [*where, *(read or [])]
    form = printing.checked_format(format, output, paths, force=force)
    if os.path.isfile(sql):  # noqa: PTH113  # false, where Path would raise, for a text that can be no path
        raise UsageError(f"{sql}: is a file; the query comes last")
    if sql == "-":
        if "-" in paths:
            raise UsageError("standard input cannot be both the capture and the query")
        sql = sys.stdin.read()
    with source.opened(paths, source.Options(decode_as, content, frames, show_secrets, mask_key, keylog, memory)) as store:
        printing.ask(store, sql, form, output)
    return 0


@app.command()
def shell(
    where: Sources,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Ask with SQL, interactively: history, completion, .help."""
    from analyzer.commands import shell as prompt
    from analyzer.commands import source

    with source.opened(
        [*where, *(read or [])], source.Options(decode_as, content, frames, show_secrets, mask_key, keylog, memory)
    ) as store:
        return prompt.run(store)


@app.command(epilog=REPORT_EXAMPLES)
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The report's name; `unmux reports` lists them.")],
    where: Sources,
    connection: Annotated[
        str | None,
        typer.Option("--connection", metavar="NUMBER", help="waterfall: only this connection.", show_default=False),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="waterfall: write a page for a browser instead.", show_default=False),
    ] = None,
    format: Format = None,  # noqa: A002
    output: Output = None,
    force: Force = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
    content: Content = "preview",
    frames: Frames = False,
) -> int:
    """Print one report, or write it for programs; a waterfall for a browser, too."""
    from analyzer import reports as known
    from analyzer.commands import output as printing
    from analyzer.commands import pages, source

    chosen = known.load(name)  # says that there is none before anything is read
    paths = [*where, *(read or [])]
    source.choose_connection(chosen, connection)
    form = printing.checked_format(format, output, paths, force=force, sections=[part.heading for part in chosen.shown()])
    if html is not None:
        pages.check(chosen, html, paths, format or output, force=force)
    with source.opened(paths, source.Options(decode_as, content, frames, False, None, keylog, memory)) as store:
        if html is not None:
            pages.write(store, chosen, html)
        else:
            source.write_report(store, chosen, form, output)
    return 0


@app.command()
def reports(format: Format = None, output: Output = None, force: Force = False) -> int:  # noqa: A002
    """List the reports."""
    from analyzer.commands import output as printing
    from analyzer.commands import reference

    reference.reports(printing.checked_format(format, output, force=force), output)
    return 0


@app.command()
def follow(
    where: Sources,
    stream: Annotated[
        str,
        typer.Argument(
            metavar="CONNECTION[:STREAM[.EXCHANGE]]",
            help="A connection's number, a stream_index in it, an exchange_index in that.",
        ),
    ],
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they were sent.")] = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
) -> int:
    """Print both sides of a connection or stream, in order, decoded.

    Secrets are printed as they are. 44 is everything on a connection, 44:3 one stream in it, 44:0.2 one exchange or message
    of a stream that has several; `unmux tree` lists them.
    2/44 is a connection that begins in capture 2, where several are read. Fields and contents of HTTP are printed as they
    were meant, chunks and content codings undone, and WebSocket messages decoded; what is not text as a hex dump. Bytes
    that nobody understands, or that only carry other streams, are printed as they are.

    A store does not hold contents: the captures that it names are read again.
    """
    from analyzer.commands import follow as following

    following.run([*where, *(read or [])], stream, decode_as, keylog, memory, raw=raw)
    return 0


@app.command(epilog=EXTRACT_EXAMPLES)
def extract(
    where: Sources,
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where to write; a new or empty folder.")],
    condition: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Condition on exchanges that are wanted.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Add to a folder, and replace files of the same name in it.")] = False,
    show_secrets: ShowSecrets = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
) -> int:
    """Write what streams carried, each content in a file of its own.

    Contents of HTTP, their content codings undone, are called 44-0-2-response-cart.json after connection, stream, exchange and
    target. The messages of a WebSocket are lines of JSON in one file, large ones files of their own; bytes of a protocol that
    nobody understands are one file each way. index.jsonl tells of each file what it is, how large, whether it is complete, and
    its SHA-256. Contents are not masked. Of a store, the captures it was made from are read again.
    """
    from analyzer.commands import extract as extracting
    from analyzer.commands import source

    options = source.Options(decode_as, "none", False, show_secrets, None, keylog, memory)
    extracting.run([*where, *(read or [])], condition, to, options, force=force)
    return 0


@app.command(epilog=SLICE_EXAMPLES)
def slice(  # noqa: A001
    where: Sources,
    write: Annotated[str, typer.Option("-w", "--write", metavar="FILE", help="Write the packets as a pcapng; - for a pipe.")],
    condition: Annotated[
        str | None,
        typer.Option("--where", metavar="SQL", help="Condition on exchanges whose connections are wanted.", show_default=False),
    ] = None,
    connection: Annotated[
        list[str] | None,
        typer.Option("--connection", metavar="NUMBER", help="A connection that is wanted as well.", show_default=False),
    ] = None,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Leave out the TLS keys that the packets need.")] = False,
    force: Force = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
) -> int:
    """Write the packets of some connections as a new capture, for Wireshark or to hand on.

    Every packet of a connection, from its handshake to its last, fragments included, as it was captured; and the TLS keys
    that these connections need, of those given or inside the captures. Frames are numbered anew. The condition is SQL over
    the view exchanges. Of a store, the captures it was made from are read again.
    """
    from analyzer.commands import slice as slicing
    from analyzer.commands import source

    options = source.Options(decode_as, "none", False, False, None, keylog, memory)
    slicing.run([*where, *(read or [])], condition, connection, write, options, force=force, with_keys=not no_keys)
    return 0


@app.command()
def tree(
    where: Annotated[
        list[str], typer.Argument(metavar="SOURCE... [CONNECTION]", help="Captures or a store, and a connection's number.")
    ],
    connections: Annotated[int, typer.Option("-n", "--connections", min=1, metavar="NUMBER", help="Connections shown.")] = 30,
    streams: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Streams and exchanges shown of each connection.")] = 20,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
) -> int:
    """Print what was multiplexed in what.

    If the last argument is the number of a connection, everything in that one. The numbers with a colon are what
    `unmux follow` takes after the connection's number: 44 and :3 are 44:3.
    """
    from analyzer.commands import source
    from analyzer.commands import tree as drawing

    paths, connection = drawing.with_connection(where)
    with source.opened(
        [*paths, *(read or [])], source.Options(decode_as, "preview", False, False, None, keylog, memory)
    ) as store:
        drawing.draw(store, connection, connections, streams, is_kept=source.names_store(paths[0]))
    return 0


@app.command(epilog=KEYS_EXAMPLES)
def keys(
    captures: Captures = None,
    write: Annotated[
        str | None,
        typer.Option("-w", "--write", metavar="FILE", help="Write the packets and the keys as a pcapng.", show_default=False),
    ] = None,
    extract: Annotated[bool, typer.Option("--extract", help="Write the keys alone, those inside the captures as well.")] = False,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="With --extract: write to this file.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Keys that no handshake in the captures needs as well.")] = False,
    force: Force = False,
    read: More = None,
    decode_as: DecodeAs = None,
    keylog: KeyLogs = None,
    memory: MemorySize = None,
) -> int:
    """Put TLS keys into a capture, or take them out of it: only those that it needs.

    -w writes a pcapng that carries its keys, which unmux and Wireshark find there, so that one file is all that has to be
    shared. Packets keep their bytes, times, interfaces and link types; comments are left out. --extract writes a key log.
    Both can be read by their owner alone.
    """
    from analyzer.commands import keys as keeping
    from analyzer.commands import source

    paths = [*(captures or []), *(read or [])]
    if not paths or (write is None) != extract or (output is not None and not extract):
        raise UsageError("keys takes captures and either -w FILE.pcapng or --extract, which may have -o FILE")
    options = source.Options(decode_as, "none", False, False, None, keylog, memory)
    if extract:
        options.key_logs = keylog or []  # those of the environment would be somebody else's
        keeping.extract(paths, options, output, needed_only=not everything, force=force)
    else:
        keeping.inject(paths, options, write or "", needed_only=not everything, force=force)
    return 0


@app.command()
def tables(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One table or view, with its columns.", show_default=False)
    ] = None,
    format: Format = None,  # noqa: A002
    output: Output = None,
    force: Force = False,
) -> int:
    """Describe the tables and their columns; all of them as Markdown."""
    from analyzer.commands import output as printing
    from analyzer.commands import reference

    reference.tables(name, printing.checked_format(format, output, force=force), output)
    return 0


@app.command()
def protocols(format: Format = None, output: Output = None, force: Force = False) -> int:  # noqa: A002
    """List the protocols that unmux takes apart."""
    from analyzer.commands import output as printing
    from analyzer.commands import reference

    reference.protocols(printing.checked_format(format, output, force=force), output)
    return 0
