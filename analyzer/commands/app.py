"""The commands and their arguments."""

import sys
from typing import Annotated

import typer

from analyzer.errors import UsageError

app = typer.Typer(
    name="unmux",
    help="Take packet captures apart: one row per stream, exchange and message, in DuckDB.\n\n`unmux CAPTURE...` analyzes and prints the overview.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Typer's Rich help alone costs more than the rest of the start
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Captures = Annotated[
    list[str] | None, typer.Argument(help="Captures: files, folders, globs, or - for standard input.", show_default=False)
]
Source = Annotated[str, typer.Argument(help="A capture, a folder of captures, a .duckdb file, or a folder made by -o folder/.")]
More = Annotated[list[str] | None, typer.Option("-r", "--read", help="A further capture.", show_default=False)]
DecodeAs = Annotated[
    list[str] | None,
    typer.Option("-d", "--decode-as", help="Take a port for a protocol: tcp.port==8080,http2.", show_default=False),
]
Content = Annotated[str, typer.Option(help="What to keep of contents: none, preview, hash or store.")]
Frames = Annotated[bool, typer.Option("--frames", help="Keep a row for every HTTP/2 frame.")]
ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Do not mask passwords, cookies and tokens.")]
MaskKey = Annotated[
    str | None,
    typer.Option(help="Key under which secrets are masked, to compare stores; random otherwise.", show_default=False),
]
Format = Annotated[str, typer.Option("-f", "--format", help="table, csv, json, jsonl, markdown or parquet.")]
Output = Annotated[str | None, typer.Option("-o", "--output", help="Write to this file instead.", show_default=False)]


def command_names() -> set[str]:
    """The names of all commands."""
    return {command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None}


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from analyzer import build

    print(f"unmux {build.version()} ({'compiled' if build.is_compiled() else 'plain Python'})")
    raise typer.Exit


@app.callback()
def unmux(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and whether it runs compiled.")
    ] = False,
) -> None:
    """Take packet captures apart."""


@app.command()
def analyze(
    captures: Captures = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Keep the tables: a .duckdb file, or a folder/ for Parquet.", show_default=False),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing output.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no overview.")] = False,
    read: More = None,
    decode_as: DecodeAs = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Take captures apart and print the overview; -o keeps the tables."""
    from analyzer.commands import source

    options = source.Options(decode_as, content, frames, show_secrets, mask_key)
    paths = [*(captures or []), *(read or [])]
    if not paths:
        raise UsageError("name a capture; `unmux --help` tells more")
    store, interrupted = source.analyzed(paths, options, output=output, append=append, force=force)
    with store:
        if not quiet:
            source.print_report(store, "overview")
        if output is not None:
            print(f"unmux: wrote {output}", file=sys.stderr)
    return 130 if interrupted else 0


@app.command()
def query(
    where: Source,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query; - reads it from standard input.")],
    format: Format = "table",  # noqa: A002
    output: Output = None,
    read: More = None,
    decode_as: DecodeAs = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Run one SQL query over captures or a store."""
    from analyzer.commands import output as printing
    from analyzer.commands import source

    if sql == "-":
        sql = sys.stdin.read()
    with source.opened([where, *(read or [])], source.Options(decode_as, content, frames, show_secrets, mask_key)) as store:
        printing.write(source.run_sql(store, sql), format, output)
    return 0


@app.command()
def shell(
    where: Source,
    read: More = None,
    decode_as: DecodeAs = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
) -> int:
    """Ask with SQL, interactively: history, completion, .help."""
    from analyzer.commands import shell as prompt
    from analyzer.commands import source

    with source.opened([where, *(read or [])], source.Options(decode_as, content, frames, show_secrets, mask_key)) as store:
        prompt.run(store)
    return 0


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="The report's name; `unmux reports` lists them.")],
    where: Source,
    format: Format = "table",  # noqa: A002
    output: Output = None,
    read: More = None,
    decode_as: DecodeAs = None,
    content: Content = "preview",
    frames: Frames = False,
) -> int:
    """Print one report."""
    from analyzer.commands import source

    source.check_report(name)
    with source.opened([where, *(read or [])], source.Options(decode_as, content, frames, False, None)) as store:
        if format == "table" and output is None:
            source.print_report(store, name)
        else:
            source.write_report(store, name, format, output)
    return 0


@app.command()
def reports() -> int:
    """List the reports."""
    from analyzer import reports as known

    for name in known.names():
        print(f"{name:16} {known.load(name).about}")
    return 0


@app.command()
def follow(
    where: Source,
    stream: Annotated[str, typer.Argument(metavar="CONNECTION[:STREAM]", help="A connection_id, and a stream_index in it.")],
    read: More = None,
    decode_as: DecodeAs = None,
) -> int:
    """Print both sides of one stream, in order."""
    from analyzer.commands import follow as following

    following.run([where, *(read or [])], stream, decode_as)
    return 0


@app.command()
def tree(
    where: Source,
    limit: Annotated[int, typer.Option(help="Streams shown of each connection.")] = 20,
    read: More = None,
    decode_as: DecodeAs = None,
) -> int:
    """Print what was multiplexed in what."""
    from analyzer.commands import source
    from analyzer.commands import tree as drawing

    with source.opened([where, *(read or [])], source.Options(decode_as, "preview", False, False, None)) as store:
        drawing.draw(store, limit)
    return 0


@app.command()
def tables(
    name: Annotated[str | None, typer.Argument(help="One table.", show_default=False)] = None,
    format: Annotated[str, typer.Option("-f", "--format", help="table or markdown.")] = "table",  # noqa: A002
) -> int:
    """Describe the tables and their columns."""
    from analyzer.commands import reference

    reference.tables(name, format)
    return 0


@app.command()
def protocols() -> int:
    """List the protocols that unmux takes apart."""
    from analyzer.commands import reference

    reference.protocols()
    return 0
