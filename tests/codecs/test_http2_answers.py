"""What a server's answers prove: frames are found sooner after a hole, and never where there is none."""

import random
from collections.abc import Iterator

import pytest

from analyzer.codecs.http2_answers import Answers, Stories, streams_refuting
from analyzer.codecs.http2_framer import Framer
from analyzer.codecs.http2_frames import PREFACE
from analyzer.codecs.http2_receiver import FrameReceiver

LARGEST = 16_384
Told = tuple[int, int, int]  # where a frame ends, its type, its stream


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


class Heard(FrameReceiver):
    """Notes the frames that a framer tells of."""

    def __init__(self, framer: Framer) -> None:
        self.framer = framer
        self.frames: list[Told] = []
        self.is_given_up = False

    def begin(self, direction: int, is_partial: bool) -> None:
        pass

    def leave(self, direction: int, data: bytes, timestamp: int) -> None:
        pass

    def note_wait(self, direction: int) -> None:
        pass

    def begin_data(self, direction: int, stream_id: int, length: int, content_length: int, flags: int) -> bool:
        return False

    def take_data(self, direction: int, data: bytes, position: int, length: int) -> None:
        pass

    def miss_data(self, direction: int, length: int) -> None:
        pass

    def end_data(self, direction: int, is_stream_end: bool, is_timed: bool) -> None:
        pass

    def take_block(
        self, direction: int, kind: int, stream_id: int, promised_id: int, is_stream_end: bool, block: bytes | None
    ) -> None:
        pass

    def take_frame(self, direction: int, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        pass

    def miss_frame(self, direction: int, kind: int, stream_id: int) -> None:
        pass

    def end_frame(self, direction: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        self.frames.append((kind, stream_id, length))

    def lose(self, direction: int, length: int) -> None:
        self.frames.append((-1, -1, -1))

    def lose_blocks(self, direction: int) -> None:
        pass

    def doubt_blocks(self, direction: int) -> None:
        pass

    def give_up(self, direction: int) -> None:
        self.is_given_up = True

    def object_to(self, direction: int, kind: str, stream_id: int, required: str, found: str, section: str) -> None:
        pass


class Client:
    """What a client says, with frames inside of frames, and where each of its streams is opened."""

    def __init__(self, randomness: random.Random) -> None:
        self.random = randomness
        self.data = PREFACE + frame(4, 0, 0, b"")
        self.frames: list[tuple[int, bytes]] = [(len(PREFACE), frame(4, 0, 0, b""))]
        self.opened: list[tuple[int, int]] = []  # stream, where its HEADERS frame ends
        self.next = 1

    def say(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.frames.append((len(self.data), frame(kind, flags, stream_id, payload)))
        self.data += self.frames[-1][1]

    def ask(self, size: int) -> None:
        self.say(1, 5, self.next, self.random.randbytes(size))
        self.opened.append((self.next, len(self.data)))
        self.next += 2

    def go_on(self, count: int, smallest: int) -> None:
        for _ in range(count):
            chance = self.random.random()
            if chance < 0.75:
                self.ask(self.random.randint(smallest, 40))
            elif chance < 0.85:
                self.say(8, 0, 0, b"\x00\x00\x10\x00")
            elif chance < 0.93:
                self.say(0, 1, self.random.choice(self.opened)[0] if self.opened else 1, self.random.randbytes(50))
            else:
                self.say(0x20 + self.random.randrange(60), 0, 0, self.imitation(self.random.randint(1, 12)))

    def imitation(self, count: int) -> bytes:
        """Content that looks like the requests that would follow."""
        return b"".join(frame(1, 5, self.next + 2 * at, self.random.randbytes(self.random.randint(2, 40))) for at in range(count))


def pieces(data: bytes, randomness: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = randomness.choice([31, 312, 1448])
        yield data[at : at + size]
        at += size


def heard(client: Client, start: int, end: int, randomness: random.Random, slack: int = -1) -> list[Told]:
    """What a framer tells after a hole from ``start`` to ``end``, with an answer on every stream some time after it was opened.

    With a ``slack`` from 0 the framer only knows that the hole is at most so much longer, and does not count it.
    """
    framer = Framer(0, False)
    framer.is_largest_known = True
    receiver = Heard(framer)
    answers = Answers()
    asked = max((stream for stream, opened in client.opened if opened <= start), default=-1)
    framer.feed(receiver, client.data[:start], 0, 0, 1)
    uncounted = 0
    if slack >= 0:
        framer.gap(receiver, -1, end - start + slack, 1, 2)
        uncounted = end - start
    else:
        framer.gap(receiver, end - start, -1, 1, 2)
    waiting = [(stream, opened) for stream, opened in client.opened if stream > asked]
    lag = randomness.choice([0, 100, 1000])
    for piece in pieces(client.data[end:], randomness):
        framer.feed(receiver, piece, 2, 2, 3)
        while waiting and waiting[0][1] - uncounted <= framer.position and framer.is_open_to_answers():
            stream, opened = waiting.pop(0)
            answers.add(stream, max(opened - uncounted, min(framer.position, opened - uncounted + lag)))
            if framer.is_open_to_answers():
                framer.hear(receiver, answers, asked)
    return receiver.frames


def true_frames(client: Client) -> list[Told]:
    return [(data[3], int.from_bytes(data[5:9], "big"), len(data) - 9) for _, data in client.frames]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_hole_held_only_true_frames_are_told(seed: int) -> None:
    for variant in range(5):
        randomness = random.Random(1000 * seed + variant)
        client = Client(randomness)
        client.go_on(randomness.randint(1, 30), 2)
        start = len(client.data)
        for _ in range(randomness.randint(0, 12)):  # all that is opened in the hole
            client.ask(2)
        if randomness.random() < 0.7:
            imitation = client.imitation(randomness.randint(1, 30))
            hole_end = len(client.data) + 9
            client.say(randomness.choice([0x21, 1]), 5, client.next, imitation)
            if client.frames[-1][1][3] == 1:
                client.opened.append((client.next, len(client.data)))
                client.next += 2
        else:
            hole_end = max(len(client.data), start + 1)
        client.go_on(120, 2)
        slack = randomness.choice([-1, -1, 0, 30])
        told = heard(client, start, min(hole_end, len(client.data)), randomness, slack)
        after = told[told.index((-1, -1, -1)) + 1 :] if (-1, -1, -1) in told else []
        assert after == true_frames(client)[len(client.frames) - len(after) :]


def requests(count: int, size: int) -> Client:
    client = Client(random.Random(7))
    for _ in range(count):
        client.ask(size)
    return client


def test_a_lost_request_costs_few_of_those_that_follow() -> None:
    client = requests(60, 22)  # of 31 bytes each
    start, data = client.frames[11]
    told = heard(client, start, start + len(data), random.Random(1))
    after = told[told.index((-1, -1, -1)) + 1 :]
    assert streams_refuting(31) == 4
    assert len(after) == 60 - 10 - 1 - 2  # those before, the lost one, and two that would have fitted into the hole


def test_of_a_hole_of_unknown_length_a_bound_is_enough() -> None:
    client = requests(60, 22)
    start, data = client.frames[11]
    told = heard(client, start, start + len(data), random.Random(1), slack=0)
    assert len(told[told.index((-1, -1, -1)) + 1 :]) == 60 - 10 - 1 - 2
    told = heard(client, start, start + len(data), random.Random(1), slack=22)
    assert len(told[told.index((-1, -1, -1)) + 1 :]) == 60 - 10 - 1 - 4


def test_without_answers_nothing_is_certain_so_soon() -> None:
    client = requests(60, 22)
    start, data = client.frames[11]
    client.opened = client.opened[:10]
    told = heard(client, start, start + len(data), random.Random(1))
    assert told[-1] == (-1, -1, -1)


def test_a_place_that_one_story_does_not_pass_is_not_certain() -> None:
    """From 10 a HEADERS frame reaches over 40 to 60; nothing refutes it, nor that frames begin at 0 or 40."""
    inner = frame(1, 5, 5, bytes(41))[:30]
    data = frame(0x20, 0, 0, b"\xff" + inner) + frame(1, 5, 5, bytes(11)) + frame(1, 5, 7, bytes(11)) + frame(1, 5, 9, bytes(11))
    assert Stories(data, LARGEST, 1, [5], []).first_certain(60, 1) == 60
    alone = frame(0x20, 0, 0, bytes(31)) + data[40:]
    assert Stories(alone, LARGEST, 1, [5], []).first_certain(60, 1) == 40


def test_answers_on_streams_that_an_earlier_hole_may_have_opened_prove_nothing() -> None:
    answers = Answers()
    answers.add(5, 100)
    answers.is_believed = False
    assert answers.read_after(50) == []
    answers.open(7, False)  # it may be a trailer section, of a stream of that hole
    answers.add(9, 120)
    assert answers.read_after(50) == []
    answers.open(11, True)
    answers.add(13, 180)
    assert answers.read_after(50) == [130]
