"""The arguments of the commands for live captures."""

from typing import Annotated

import typer

from analyzer.commands.app import Content, DecodeAs, Force, Format, Frames, MaskKey, MemorySize, Output, ShowSecrets, app
from analyzer.errors import UsageError

LIVE_EXAMPLES = """\
\b
Examples:
  sudo unmux live eth0 -f 'tcp port 443' --keylog keys.log
  unmux live lo -o live/ --keep 1h         meanwhile: unmux tree live/
  unmux live any --format jsonl | jq .target
  ssh host tcpdump -U -w - | unmux live -
  unmux live --follow captures/ -o live/   what tcpdump -G or -C writes

\b
Exit status: as of `unmux --help`; 0 after SIGTERM, q or --duration."""


@app.command(epilog=LIVE_EXAMPLES)
def live(
    where: Annotated[
        str | None,
        typer.Argument(metavar="[INTERFACE]", help="An interface, any for all, or - for standard input.", show_default=False),
    ] = None,
    interface: Annotated[
        str | None, typer.Option("-i", "--interface", metavar="INTERFACE", help="The same.", show_default=False)
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option("-f", "--filter", metavar="BPF", help="Take only these packets: 'tcp port 443'.", show_default=False),
    ] = None,
    follow: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A capture that grows, or a folder in which captures rotate.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="STORE",
            help="Keep the tables: a folder/, which can be queried meanwhile, or a .duckdb file, which cannot.",
            show_default=False,
        ),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing output.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    save: Annotated[
        str | None, typer.Option("-w", "--write", metavar="FILE", help="Keep the packets: a pcapng.", show_default=False)
    ] = None,
    duration: Annotated[str | None, typer.Option(metavar="TIME", help="End after 60s, 5m, 1h.", show_default=False)] = None,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, metavar="NUMBER", help="End after so many packets.", show_default=False)
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="TIME", help="Give up rows that are older: 1h, 7d.", show_default=False)
    ] = None,
    ring: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Give up the oldest rows beyond 500MB or 1Mrows.", show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="screen, lines (one for each exchange), jsonl or none; a screen where there is a terminal, else lines.",
            show_default=False,
        ),
    ] = None,
    snap_length: Annotated[
        int | None,
        typer.Option("-s", "--snap-length", min=64, metavar="BYTES", help="Cut packets at so many bytes.", show_default=False),
    ] = None,
    promiscuous: Annotated[bool, typer.Option("--promiscuous", help="Take packets for other hosts as well.")] = False,
    portable: Annotated[bool, typer.Option("--portable", help="Use scapy's socket, also where there is a packet ring.")] = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Become this user when the interface is open; the user who called sudo by default.",
            show_default=False,
        ),
    ] = None,
    decode_as: DecodeAs = None,
    keylog: Annotated[
        list[str] | None,
        typer.Option(
            "--keylog",
            metavar="FILE",
            help="TLS keys, read while they are written; else the file that SSLKEYLOGFILE names.",
            show_default=False,
        ),
    ] = None,
    content: Content = "preview",
    frames: Frames = False,
    show_secrets: ShowSecrets = False,
    mask_key: MaskKey = None,
    memory: MemorySize = None,
) -> int:
    """Take live traffic apart.

    Needs the right CAP_NET_RAW, and no other. Packets that the kernel had to drop are counted, and told. On the screen, s
    opens an SQL prompt.
    """
    from analyzer.commands import live as capturing
    from analyzer.commands import source

    if where is not None and interface is not None and where != interface:
        raise UsageError(f"{where} and -i {interface}: one interface at a time, or any")
    request = capturing.Request(
        interface=where or interface,
        follow=follow,
        expression=expression,
        output=output,
        append=append,
        force=force,
        save=save,
        duration=duration,
        count=count,
        keep=keep,
        ring=ring,
        form=form,
        snap_length=snap_length,
        promiscuous=promiscuous,
        portable=portable,
        user=user,
    )
    return capturing.run(request, source.Options(decode_as, content, frames, show_secrets, mask_key, keylog, memory))


@app.command()
def interfaces(format: Format = None, output: Output = None, force: Force = False) -> int:  # noqa: A002
    """List the interfaces that can be captured from."""
    from analyzer.commands import output as printing
    from analyzer.live import scapy_parts

    form = printing.checked_format(format, output, force=force)
    columns = ("interface", "state", "addresses", "hardware_address", "kind")
    printing.write(printing.listing(columns, scapy_parts.interfaces()), form, output)
    return 0
