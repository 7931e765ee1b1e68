"""Zeek's ``conn_state`` and ``history``: what a connection went through, in a few letters.

A letter stands for something one end did, in the order in which it was first seen; capital for the client, small for
the server: S a SYN, H a SYN with ACK, A an ACK alone, D payload, F a FIN, R a RST, Q SYN together with FIN or RST, I FIN
together with RST. C (a wrong checksum), G (a gap), T (bytes a second time) and W (a window of zero) come again at the
10th, 100th … time. A leading ^ says that the first packet was the server's. Checksums are looked at only where two
copies of bytes differ, since senders leave them to their network cards.
"""

from typing import Final

from mypy_extensions import i64

SYN: Final = 1
SYN_ACK: Final = 2
ACK: Final = 4
DATA: Final = 8
FIN: Final = 16
RESET: Final = 32
SYN_AND_END: Final = 64
FIN_AND_RESET: Final = 128
_LETTERS: Final = {
    SYN: "S",
    SYN_ACK: "H",
    ACK: "A",
    DATA: "D",
    FIN: "F",
    RESET: "R",
    SYN_AND_END: "Q",
    FIN_AND_RESET: "I",
}
_SIDE_SHIFT: Final = 8

# what an end was last seen to be
INACTIVE: Final = 0
PARTIAL: Final = 1  # it sent packets, but its SYN was not seen
SYN_SENT: Final = 2
SYN_ACK_SENT: Final = 3
ESTABLISHED: Final = 4
CLOSED: Final = 5
ABORTED: Final = 6  # it sent a RST


class History:
    """Collects the letters. Side 0 is the end whose packet came first."""

    def __init__(self) -> None:
        self.letters = ""  # capitals for side 0
        self.noted: i64 = 0
        self._times: dict[str, int] | None = None

    def note(self, side: i64, what: i64) -> None:
        """Note something that is told once for each side."""
        bit = what << (_SIDE_SHIFT * side)
        if not self.noted & bit:
            self.noted |= bit
            self._append(side, _LETTERS[what])

    def repeat(self, side: i64, letter: str) -> None:
        """Note something that is told the 1st, 10th, 100th … time: one of C, G, T, W."""
        if self._times is None:
            self._times = {}
        key = letter if side == 0 else letter.lower()
        times = self._times.get(key, 0) + 1
        self._times[key] = times
        if str(times).strip("0") == "1":
            self._append(side, letter)

    def text(self, client_side: i64) -> str | None:
        """The letters, capitals for the client; None when there are none."""
        if not self.letters:
            return None
        return self.letters if client_side == 0 else "^" + self.letters.swapcase()

    def _append(self, side: i64, letter: str) -> None:
        self.letters += letter if side == 0 else letter.lower()


def connection_state(client: i64, server: i64, has_bytes: bool) -> str:
    """Zeek's ``conn_state`` of a TCP connection whose ends were last seen to be ``client`` and ``server``."""
    client_unseen = client <= PARTIAL
    server_unseen = server <= PARTIAL
    if server == ABORTED:
        if client in {SYN_SENT, SYN_ACK_SENT} or (client == ABORTED and not has_bytes):
            return "REJ"
        return "RSTRH" if client_unseen else "RSTR"
    if client == ABORTED:
        return "RSTOS0" if server_unseen else "RSTO"
    if client == CLOSED and server == CLOSED:
        return "SF"
    if client == CLOSED:
        return "SH" if server_unseen else "S2"
    if server == CLOSED:
        return "SHR" if client_unseen else "S3"
    if client == SYN_SENT and server == INACTIVE:
        return "S0"
    if client == ESTABLISHED and server == ESTABLISHED:
        return "S1"
    return "OTH"


def flow_state(client_packets: i64, server_packets: i64) -> str:
    """Zeek's ``conn_state`` of a UDP flow."""
    if client_packets:
        return "SF" if server_packets else "S0"
    return "SHR" if server_packets else "OTH"
