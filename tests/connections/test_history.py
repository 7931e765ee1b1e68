import pytest

from analyzer.connections import history
from analyzer.connections.history import (
    ABORTED,
    CLOSED,
    ESTABLISHED,
    INACTIVE,
    PARTIAL,
    SYN_ACK_SENT,
    SYN_SENT,
    History,
    connection_state,
    flow_state,
)

STATES = [
    ("S0", SYN_SENT, INACTIVE, False),
    ("S1", ESTABLISHED, ESTABLISHED, True),
    ("SF", CLOSED, CLOSED, True),
    ("REJ", SYN_SENT, ABORTED, False),
    ("REJ", ABORTED, ABORTED, False),
    ("S2", CLOSED, ESTABLISHED, True),
    ("S3", ESTABLISHED, CLOSED, True),
    ("RSTO", ABORTED, ESTABLISHED, True),
    ("RSTR", ESTABLISHED, ABORTED, True),
    ("RSTR", ABORTED, ABORTED, True),
    ("RSTOS0", ABORTED, INACTIVE, False),
    ("RSTRH", INACTIVE, ABORTED, False),
    ("SH", CLOSED, INACTIVE, False),
    ("SHR", INACTIVE, CLOSED, False),
    ("OTH", PARTIAL, PARTIAL, True),
    ("OTH", INACTIVE, SYN_ACK_SENT, False),
]


@pytest.mark.parametrize(("expected", "client", "server", "has_bytes"), STATES)
def test_states_are_those_that_zeek_gives(expected, client, server, has_bytes):
    assert connection_state(client, server, has_bytes) == expected


def test_a_flow_has_a_state_too():
    assert [flow_state(1, 1), flow_state(1, 0), flow_state(0, 1)] == ["SF", "S0", "SHR"]


def test_a_letter_is_told_once_for_each_side():
    told = History()
    for side in (0, 1, 0, 1):
        told.note(side, history.DATA)
    assert told.text(0) == "Dd"


def test_letters_turn_with_the_sides_and_say_that_the_server_came_first():
    told = History()
    told.note(0, history.SYN_ACK)
    told.note(1, history.ACK)
    assert told.text(1) == "^hA"


def test_repetitions_are_told_at_powers_of_ten():
    told = History()
    for _ in range(100):
        told.repeat(0, "T")
    assert told.text(0) == "TTT"
