"""Community ID, version 1: a hash by which tools recognise the same flow, whichever direction they saw first."""

import base64
import hashlib

SEED = b"\x00\x00"
TCP_PROTOCOL_NUMBER = 6
UDP_PROTOCOL_NUMBER = 17


def community_id(protocol_number: int, source: bytes, source_port: int, destination: bytes, destination_port: int) -> str:
    """The Community ID v1 with seed 0 of a TCP or UDP flow; addresses are 4 or 16 bytes, either end first."""
    first = source + source_port.to_bytes(2, "big")
    second = destination + destination_port.to_bytes(2, "big")
    if second < first:  # the smaller end goes first; addresses of one flow are equally long
        first, second = second, first
    size = len(source)
    content = SEED + first[:size] + second[:size] + bytes((protocol_number, 0)) + first[size:] + second[size:]
    digest = hashlib.sha1(content, usedforsecurity=False).digest()
    return "1:" + base64.b64encode(digest).decode("ascii")
