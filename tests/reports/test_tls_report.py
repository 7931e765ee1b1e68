"""The report ``tls``: what was negotiated, what it cost, what was decrypted and what not and why."""

from pathlib import Path
from typing import Any

import analyzer
from analyzer import reports

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"


def sections(*names: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each section of the report on these samples."""
    with analyzer.analyze([SAMPLES / "tls" / name for name in names]) as store:
        return {part.heading: relation.fetchall() for part, relation in reports.answers(store, reports.load("tls"))}


def test_versions_suites_resumption_and_outcome_are_counted() -> None:
    found = sections("http1_and_http2.pcapng", "resumption.pcapng", "refused.pcap")
    assert found["Versions and cipher suites"] == [
        ("TLS 1.3", "AES_256_GCM_SHA384", "x25519", 5, 1, 4),
        ("TLS 1.2", "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "x25519", 3, 0, 3),
        ("TLS 1.2", "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", None, 2, 2, 2),
        ("not known", None, None, 1, 0, 0),
    ]
    ((server, connections, resumed, typical, longest, total, *_),) = found["Handshakes by server name"]
    assert (server, connections, resumed) == ("server.test", 11, 0.3)
    assert 0 < typical <= longest < total
    assert [row[:2] for row in found["What was decrypted"]] == [
        ("decrypted", 9),
        ("not decrypted: no ServerHello was sent", 1),
        ("not decrypted: no key for this client random", 1),
    ]
    assert [row[:4] for row in found["Alerts"]] == [
        ("protocol_version", "to client", "fatal", 1),
        ("unknown_ca", "to server", "fatal", 1),
    ]
    assert {row[0] for row in found["Certificates"]} == {"CN=server.test,O=unmux samples"}


def test_without_tls_it_says_so() -> None:
    with analyzer.analyze(SAMPLES / "http1" / "keep_alive.pcap") as store:
        assert [relation.fetchall() for _, relation in reports.answers(store, reports.load("tls"))] == [[]] * 5
