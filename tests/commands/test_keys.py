"""`unmux keys`: what goes into a capture and comes out of it, with Wireshark's programs as oracles where they are installed."""

import gzip
import os
import pty
import shutil
import stat
import struct
import subprocess
from contextlib import closing

import pytest

import analyzer
from analyzer.capture.capture_set import CaptureSet

ASK = "SELECT is_decrypted, count(*) FROM tls_handshakes GROUP BY ALL"
FOREIGN = b"CLIENT_RANDOM " + b"5e" * 32 + b" " + b"c7" * 48 + b"\n"


def secrets_in(path):
    captures = CaptureSet([str(path)])
    captures.close()
    return [line for line in b"".join(captures.secrets).splitlines() if not line.startswith(b"#")]


def packets_in(*paths):
    """Time, bytes, original length, link type and interface name of every packet."""
    captures = CaptureSet([str(path) for path in paths])
    found = []
    while (reader := captures.next()) is not None:
        data = reader.data[reader.offset : reader.offset + reader.captured_length]
        name = reader.interface_name(reader.interface)
        found.append((reader.timestamp, data, reader.original_length, reader.link_type, name))
    return found


def bare(path, packets, secrets=b"", *, gzipped=False):
    """A pcap in nanoseconds with these packets."""
    written = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, packets[0][3])
    for timestamp, data, length, _, _ in packets:
        written += struct.pack("<IIII", timestamp // 1_000_000_000, timestamp % 1_000_000_000, len(data), length) + data
    path.write_bytes(gzip.compress(written) if gzipped else written)
    return path


def needed(lines):
    """What has to be left of the lines of connections that a capture has."""
    return sorted(line for line in set(lines) if not line.startswith((b"EXPORTER_SECRET", b"EARLY_EXPORTER_SECRET")))


@pytest.fixture
def sample(samples):
    return samples / "tls" / "key_update.pcapng"


@pytest.fixture
def log(sample, tmp_path):
    """The sample's key log, with a line of somebody else's connection before and after."""
    path = tmp_path / "keys.log"
    path.write_bytes(b"# of curl\n" + FOREIGN + b"\n".join(secrets_in(sample)) + b"\n\n" + FOREIGN)
    return path


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_pcap_and_a_key_log_become_one_file_with_the_keys_it_needs(unmux, sample, log, tmp_path, gzipped):
    packets = packets_in(sample)
    capture = bare(tmp_path / "bare.pcap", packets, gzipped=gzipped)
    output = tmp_path / "shared.pcapng"
    outcome = unmux("keys", capture, "--keylog", log, "-w", output)
    lines = needed(secrets_in(sample))
    count = len(secrets_in(sample)) + 2
    assert (outcome.status, outcome.out) == (0, "")
    said = f"unmux: wrote {output}: {len(packets)} packets; {len(lines)} of {count} key log lines; keys of 1 of 1 TLS handshakes"
    assert outcome.err.splitlines()[-1] == said
    assert sorted(secrets_in(output)) == lines
    assert packets_in(output) == packets
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    with analyzer.analyze(output) as store:
        assert store.sql(ASK).fetchall() == [(True, 1)]


def test_interfaces_link_types_drops_and_other_captures_are_kept(unmux, samples, tmp_path):
    captures = [samples / "demo.pcapng", samples / "tls" / "refused.pcap", samples / "tcp"]
    output, log = tmp_path / "all.pcapng", tmp_path / "keys.log"
    log.write_bytes(FOREIGN)
    outcome = unmux("keys", *captures, "--keylog", log, "-w", output)
    assert (outcome.status, "; 0 of 1 key log lines; " in outcome.err) == (0, True)
    assert packets_in(output) == packets_in(*captures)
    assert secrets_in(output) == []


@pytest.mark.parametrize("arguments", [("-w",), ("--extract", "-o")])
def test_without_any_key_nothing_is_written(unmux, demo, tmp_path, arguments):
    output, log = tmp_path / "out", tmp_path / "keys.log"
    outcome = unmux("keys", demo, *arguments, output)
    assert (outcome.status, outcome.out, output.exists()) == (1, "", False)
    assert outcome.err.splitlines()[-1] == f"unmux: no TLS keys are in {demo}; name a key log with --keylog FILE"
    log.write_bytes(b"# nothing yet\n")
    outcome = unmux("keys", demo, "--keylog", log, *arguments, output)
    assert (outcome.status, output.exists()) == (1, False)
    assert outcome.err.splitlines()[-1] == f"unmux: no TLS keys are in {demo} and none in {log}"


def test_keys_inside_a_capture_are_kept_where_they_are_needed(unmux, sample, samples, tmp_path):
    outer = tmp_path / "both.pcapng"
    lines = b"".join(line + b"\n" for line in secrets_in(samples / "tls" / "resumption.pcapng"))
    subject = sample.read_bytes()
    body = struct.pack("<II", 0x544C534B, len(lines)) + lines + bytes(-len(lines) % 4)
    length = struct.pack("<I", len(body) + 12)
    outer.write_bytes(subject + struct.pack("<I", 10) + length + body + length)  # behind the last packet
    output = tmp_path / "less.pcapng"
    assert unmux("keys", outer, "-w", output).status == 0
    assert sorted(secrets_in(output)) == needed(secrets_in(sample))
    assert unmux("keys", outer, "-w", output, "--all", "--force").status == 0
    everything = {*secrets_in(sample), *lines.splitlines()}
    assert set(secrets_in(output)) == everything


def test_a_key_log_comes_out_of_a_capture_again(unmux, sample, tmp_path, log, monkeypatch):
    output = tmp_path / "out.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert unmux("keys", sample, "--extract", "-o", output).status == 0
    assert sorted(output.read_bytes().splitlines()) == needed(secrets_in(sample))
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert unmux("keys", sample, "--extract", "--all", "--force", "-o", output).status == 0
    assert set(output.read_bytes().splitlines()) == set(secrets_in(sample))
    assert unmux("keys", sample, "--extract", "--all", "--force", "--keylog", log, "-o", output).status == 0
    assert set(output.read_bytes().splitlines()) == {*secrets_in(sample), FOREIGN.strip()}


def test_what_is_extracted_and_injected_is_extracted_again(unmux, samples, tmp_path):
    sample = samples / "tls" / "rsa_key_lines.pcapng"
    once, again, shared = tmp_path / "once.log", tmp_path / "again.log", tmp_path / "shared.pcapng"
    assert unmux("keys", sample, "--extract", "-o", once).status == 0
    assert once.read_bytes().splitlines() == secrets_in(sample)  # lines of every form are needed
    capture = bare(tmp_path / "bare.pcap.gz", packets_in(sample), gzipped=True)
    assert unmux("keys", capture, "--keylog", once, "-w", shared).status == 0
    assert unmux("keys", shared, "--extract", "-o", again).status == 0
    assert again.read_bytes() == once.read_bytes()
    assert packets_in(shared) == packets_in(sample)


def test_a_key_log_larger_than_a_block_is_kept_whole(unmux, sample, tmp_path):
    many = [b"CLIENT_RANDOM %064x %096x" % (number, number) for number in range(8_000)]
    log = tmp_path / "many.log"
    log.write_bytes(b"\r\n".join([*many, *secrets_in(sample)]))
    output = tmp_path / "all.pcapng"
    assert unmux("keys", bare(tmp_path / "bare.pcap", packets_in(sample)), "--keylog", log, "-w", output, "--all").status == 0
    with closing(CaptureSet([str(output)])) as captures:
        assert len(captures.secrets) == 2
    assert secrets_in(output) == [*many, *secrets_in(sample)]
    assert unmux("keys", output, "-w", tmp_path / "few.pcapng").status == 0
    assert sorted(secrets_in(tmp_path / "few.pcapng")) == needed(secrets_in(sample))


def test_keys_are_found_for_handshakes_inside_tls_and_for_cut_ones(unmux, samples, tmp_path):
    sample = samples / "tls" / "renegotiation.pcapng"
    output = tmp_path / "out.log"
    assert unmux("keys", sample, "--extract", "-o", output).status == 0
    randoms = {line.split()[1] for line in output.read_bytes().splitlines()}
    assert len(randoms) >= 2  # the second ClientHello is encrypted
    outcome = unmux("keys", samples / "tls" / "in_tls.pcapng", "--extract", "-o", tmp_path / "both.log")
    assert outcome.err.splitlines()[-1].endswith("keys of 2 of 2 TLS handshakes")
    packets = packets_in(sample)
    hello = next(number for number, packet in enumerate(packets) if b"server.test" in packet[1])
    cut = bare(tmp_path / "cut.pcap", packets[: hello + 1])
    outcome = unmux("keys", cut, "--extract", "--keylog", output, "-o", tmp_path / "cut.log")
    assert outcome.err.splitlines()[-1].endswith("keys of 1 of 1 TLS handshakes")
    assert len({line.split()[1] for line in (tmp_path / "cut.log").read_bytes().splitlines()}) == 1


def test_what_exists_is_kept_unless_force_is_given(unmux, sample, tmp_path):
    for option, arguments in (("-w", ()), ("-o", ("--extract",))):
        output = tmp_path / f"kept{option}"
        output.write_bytes(b"precious")
        outcome = unmux("keys", sample, *arguments, option, output)
        assert (outcome.status, outcome.err) == (1, f"unmux: {option} {output}: exists already; --force replaces it\n")
        assert output.read_bytes() == b"precious"
        assert unmux("keys", sample, *arguments, option, output, "--force").status == 0
        assert output.read_bytes() != b"precious"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["CAPTURE"], "keys takes captures and either -w FILE.pcapng or --extract, which may have -o FILE"),
        (["CAPTURE", "-w", "OUT", "--extract"], "keys takes captures and either"),
        (["CAPTURE", "-w", "OUT", "-o", "OUT"], "keys takes captures and either"),
        (["-w", "OUT"], "keys takes captures and either"),
        (["-", "-w", "OUT"], "-: keys reads a capture twice, which a pipe does not allow; name a file"),
        (["STORE", "-w", "OUT"], "is a store, which has no packets; name the captures"),
        (["CAPTURE", "-w", "CAPTURE", "--force"], "is what is read; name another file"),
        (["CAPTURE", "-w", "FOLDER"], "is a folder; name a file in it"),
    ],
)
def test_wrong_usage_is_told_and_writes_nothing(unmux, sample, store_path, tmp_path, arguments, said):
    names = {"CAPTURE": sample, "OUT": tmp_path / "out", "STORE": store_path, "FOLDER": tmp_path}
    before = sample.read_bytes()
    outcome = unmux("keys", *[names.get(word, word) for word in arguments])
    assert outcome.status == 2
    assert said in outcome.err
    assert not (tmp_path / "out").exists()
    assert sample.read_bytes() == before


def test_keys_are_not_shown_on_a_terminal_unless_it_is_named(process, sample):
    for arguments, status in (((), 2), (("-o", "-"), 0)):
        master, slave = pty.openpty()
        child = process("keys", sample, "--extract", *arguments, stdout=slave)
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 4096):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(master)
        assert child.wait() == status
        assert (b"TRAFFIC_SECRET" in shown) == (status == 0)


def test_a_capture_that_is_cut_is_copied_up_to_there_and_said(unmux, sample, tmp_path):
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(sample.read_bytes()[:-30])
    output = tmp_path / "out.pcapng"
    outcome = unmux("keys", cut, "-w", output)
    assert (outcome.status, outcome.err.count("unmux: " + str(cut))) == (0, 1)
    assert packets_in(output) == packets_in(cut)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["key_update", "suites_tls12", "http1_and_http2", "rsa_key_lines", "gnutls_suites_tls12"])
def test_wireshark_decrypts_what_was_written_as_what_editcap_wrote(unmux, samples, tmp_path, name):
    sample = samples / "tls" / f"{name}.pcapng"
    log = tmp_path / "keys.log"
    log.write_bytes(b"".join(line + b"\n" for line in secrets_in(sample)))
    capture = bare(tmp_path / "bare.pcap", packets_in(sample))
    theirs, ours = tmp_path / "theirs.pcapng", tmp_path / "ours.pcapng"
    subprocess.run(["editcap", "--inject-secrets", f"tls,{log}", capture, theirs], check=True)
    assert unmux("keys", capture, "--keylog", log, "-w", ours).status == 0

    def shown(path):
        fields = [
            "-T",
            "fields",
            "-e",
            "frame.time_epoch",
            "-e",
            "http.request.uri",
            "-e",
            "http2.headers.path",
            "-e",
            "_ws.col.Info",
        ]
        command = ["tshark", "-n", "-d", "tcp.port==8443,tls", "-r", path, *fields]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert shown(ours) == shown(theirs)
    assert "HTTP" in shown(ours) or "/index.html" in shown(ours)
