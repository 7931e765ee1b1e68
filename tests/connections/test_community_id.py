import pytest

from analyzer.connections.community_id import community_id

# Known values of the Community ID specification's reference data (seed 0).
KNOWN = [
    (6, "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (17, "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
]


def packed(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


@pytest.mark.parametrize(("number", "source", "source_port", "destination", "destination_port", "expected"), KNOWN)
def test_the_published_values_come_out_from_either_end(number, source, source_port, destination, destination_port, expected):
    there = community_id(number, packed(source), source_port, packed(destination), destination_port)
    back = community_id(number, packed(destination), destination_port, packed(source), source_port)
    assert there == back == expected


def test_ends_with_one_address_are_ordered_by_port():
    there = community_id(6, packed("127.0.0.1"), 1, packed("127.0.0.1"), 2)
    assert there == community_id(6, packed("127.0.0.1"), 2, packed("127.0.0.1"), 1)
    assert there != community_id(17, packed("127.0.0.1"), 1, packed("127.0.0.1"), 2)
