"""Reassembly step by step, against a model that keeps one entry a byte."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

SIZE = 60  # bytes that the client sends, and the place of its FIN


class Told:
    """What a model of reassembly tells the stream: by position, whether the byte was delivered, is missing, or is not settled."""

    def __init__(self) -> None:
        self.arrived: set[int] = set()
        self.next = 0
        self.events: list[tuple[str, int]] = []  # a byte delivered, or missing, at a position

    def arrive(self, positions: range) -> None:
        self.arrived |= {position for position in positions if position >= self.next}
        self.deliver()

    def deliver(self) -> None:
        while self.next in self.arrived:
            self.events.append(("feed", self.next))
            self.next += 1

    def give_up(self, acknowledged: int) -> None:
        """Holes that end where something has arrived, at or before what is acknowledged, will not be filled any more."""
        while any(position > self.next for position in self.arrived):
            hole_end = min(position for position in self.arrived if position > self.next)
            if hole_end > acknowledged:
                return
            self.events += [("gap", position) for position in range(self.next, hole_end)]
            self.next = hole_end
            self.deliver()


class Reassembly(RuleBasedStateMachine):
    """A client whose segments come in any order, cut anyhow, more than once or never, and a server that acknowledges."""

    wire_class: type
    ends: tuple[tuple[str, int], tuple[str, int]]

    @initialize(isn=st.integers(0, 2**32 - 1))
    def begin(self, isn):
        self.isn = isn
        self.wire = self.wire_class()
        self.wire.handshake(isn=isn)
        self.told = Told()
        self.acknowledged = 0
        self.sent_until = 0

    def content(self, position: int) -> int:
        return (position * 7 + 3) % 256

    @rule(start=st.integers(0, SIZE - 1), length=st.integers(1, 20))
    def segment(self, start, length):
        positions = range(start, min(start + length, SIZE))
        client, server = self.ends
        data = bytes(self.content(position) for position in positions)
        self.wire.tcp(client, server, "A", self.isn + 1 + start, 5001, data)
        self.told.arrive(positions)
        self.sent_until = max(self.sent_until, positions.stop)

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share):
        """The server never acknowledges less than before, nor what the client cannot have sent."""
        self.acknowledged += round((self.sent_until - self.acknowledged) * share)
        client, server = self.ends
        self.wire.tcp(server, client, "A", 5001, self.isn + 1 + self.acknowledged)

    @rule()
    def pass_time(self):
        """More packets and time than reordering explains, for one hole after the other."""
        self.wire.elsewhere()
        self.wire.elsewhere()
        self.told.give_up(self.acknowledged)

    @invariant()
    def each_byte_is_told_once_at_its_place(self):
        if not hasattr(self, "wire"):
            return
        told: list[tuple[str, int]] = []
        for event in self.wire.heard().events:
            if event[1] != 0 or event[0] not in ("feed", "gap"):
                continue
            at = len(told)
            if event[0] == "feed":
                assert list(event[2]) == [self.content(position) for position in range(at, at + len(event[2]))]
                told += [("feed", position) for position in range(at, at + len(event[2]))]
            else:
                told += [("gap", position) for position in range(at, at + event[2])]
        assert told == self.told.events

    def teardown(self):
        if not hasattr(self, "wire"):
            return
        self.wire.finish()
        self.told.give_up(SIZE)
        self.told.arrived.clear()
        connection = self.wire.connection
        told = self.told.events
        assert connection.bytes_to_server == sum(kind == "feed" for kind, _ in told)
        tail = max(self.acknowledged - len(told), 0)
        missing = sum(kind == "gap" for kind, _ in told)
        assert connection.missing_bytes_to_server in (missing, missing + tail)


def test_reassembly_tells_what_a_model_with_one_entry_a_byte_tells(wire_class, client, server):
    machine = type("Machine", (Reassembly,), {"wire_class": wire_class, "ends": (client, server)})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
