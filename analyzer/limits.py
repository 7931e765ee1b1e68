"""Every size that the wire controls, with the reason for its value.

Reaching a limit is a row in ``anomalies``, never an exception that escapes and never memory. Limits count per
connection unless their name says otherwise, so that rows do not depend on what else a capture holds.
"""

from typing import Final

# --- stream: finding the protocol
PROBE_BYTES: Final = 4096  # a side's first bytes shown to probes; every shipped protocol decides in far fewer
PROBE_HELD_EVENTS: Final = 256  # deliveries held while probing; one-byte segments must not hold memory
STREAM_DEPTH: Final = 16  # streams inside streams; real stacks stay below 6
ANOMALIES_PER_KIND: Final = 20  # rows of one kind per connection; the rest are counted in the last one

# --- connections: reassembly
REORDER_NANOSECONDS: Final = 50_000_000  # how far multi-queue captures were seen to record an ACK before its data
REORDER_PACKETS: Final = 64  # the same in packets of the capture
HELD_BYTES: Final = 8 << 20  # out-of-order bytes of one direction; above the largest usual receive window (6 MiB)
HELD_SEGMENTS: Final = 16_384  # out-of-order segments of one direction; HELD_BYTES in segments of 512 bytes
LINGER_NANOSECONDS: Final = 5_000_000_000  # how long a closed connection collects late packets
OPEN_CONNECTIONS: Final = 200_000  # in all; then the least recently used are put away (about 1 KB each)

# --- store
TEXT_BYTES: Final = 65_536  # longest wire value kept whole in a text column
