"""Every size that the wire controls, with the reason for its value.

Reaching a limit is a row in ``anomalies``, never an exception that escapes and never memory. Limits count per
connection unless their name says otherwise, so that rows do not depend on what else a capture holds.
"""

from typing import Final

# --- memory of a run; analyzer/memory.py divides it
MEMORY_BYTES: Final = 2_000_000_000  # what a run may take unless it is told: half of what small machines have
LEAST_MEMORY_BYTES: Final = 256_000_000  # less than twice the program itself would leave nothing to work with
MEMORY_FIXED_BYTES: Final = 160_000_000  # interpreter, modules and DuckDB take 110 MB; the rest are rows on their way
CONNECTION_BYTES: Final = 1_750  # what a connection costs without bytes; measured, as are the next ones
STREAM_BYTES: Final = 1_500  # what a stream costs beside its dissector, with a connection's first what they share
DISSECTOR_BYTES: Final = 3_500  # what a dissector costs at its beginning: HTTP/1 3 KB, HTTP/2 5 KB
MARKS_BYTES: Final = 4_000  # of the packets remembered by which copies are recognised
NUMBER_BYTES: Final = 80  # of a number in a set, list or dictionary
ROW_BYTES: Final = 600  # of a row that waits

# --- capture: files
PACKET_BYTES: Final = 262_144  # captured bytes of a packet; the largest snapshot length of tcpdump and Wireshark
PCAPNG_BLOCK_BYTES: Final = 16 << 20  # a block that has to be held whole; options of a packet stay far below
INTERFACES: Final = 65_536  # of one pcapng; what its 16-bit interface numbers can tell apart
INTERFACE_NAME_BYTES: Final = 255  # longer names are left out; the longest of Windows have about 60
KEY_LOG_FILE_BYTES: Final = 256 << 20  # of a key log; a browser writes some 100 KB an hour
SECRETS_BYTES: Final = 64 << 20  # key log lines of one pcapng; about 1 KB a connection
TIMESTAMP_NANOSECONDS: Final = 1 << 62  # the year 2116: above every pcap time, and two of them still add up in 64 bits
CLOCK_LEAP_NANOSECONDS: Final = 315_360_000_000_000_000  # ten years between packets: a clock that was not set, or damage
DROPPED_PACKETS: Final = 1 << 62  # a file that claims more is not believed; the column has 64 bits
LOSS_ROWS: Final = 100_000  # of a capture, each a place at which it lost packets; a file may claim that of every packet
BLOCK_BYTES: Final = (
    1 << 16
)  # of a file at a time: stays in a core's cache while it is worked on; with 1 MiB, reading took twice as long
COMPRESSED_BLOCK_BYTES: Final = 1 << 13  # handed to a decompressor at a time: damage costs all that this much expands to
RING_BLOCK_BYTES: Final = (
    1 << 18
)  # of a live capture's ring; handed over whole, and larger than any packet but the largest offloaded
RING_BYTES: Final = 64 << 20  # of a live capture's ring: half a second of 1 Gbit/s while rows are written
PROMPT_BYTES: Final = 256 << 20  # of Parquet files that the screen's prompt reads where no folder is written: millions of rows
DECOMPRESSION_BYTES: Final = 136 << 20  # memory of an xz decoder, twice what xz -9 needs; zstd's own limit is 128 MiB

# --- stream: finding the protocol
PROBE_BYTES: Final = 4096  # a side's first bytes shown to probes; every shipped protocol decides in far fewer
PROBE_HELD_EVENTS: Final = 256  # deliveries held while probing; one-byte segments must not hold memory
SEARCH_CHAIN_BYTES: Final = 250  # what a chain of frames costs that is followed after a hole
UNDECIDED_CHUNK_BYTES: Final = 100  # what a piece costs beside its bytes of which it is not known where frames begin
PROBE_HELD_BYTES: Final = 1 << 16  # of a side while probing, those behind a hole included, which no probe sees
PROBE_HELD_COST: Final = 150  # what a held delivery costs beside its bytes
STREAM_DEPTH: Final = 16  # streams inside streams; real stacks stay below 6
ANOMALIES_PER_KIND: Final = 20  # rows of one kind per connection; the rest are counted in the last one

# --- packets
PACKET_HEADERS: Final = 48  # headers before TCP or UDP: tags, labels, tunnels, extensions; real stacks stay below 15
TUNNEL_DEPTH: Final = 8  # tunnels inside tunnels; real stacks stay below 4
FRAGMENT_NANOSECONDS: Final = 30_000_000_000  # how long a datagram may wait for fragments, as Linux does
FRAGMENT_COPY_NANOSECONDS: Final = 50_000_000  # how long copies of a fragment may follow; a 16-bit identification lasts longer
COMPLETED_DATAGRAMS: Final = 64  # remembered for copies of their fragments, in all; 64 KiB each at most
FRAGMENTED_DATAGRAMS: Final = 4096  # waiting at a time, in all
FRAGMENT_BYTES: Final = 32 << 20  # waiting at a time, in all; 512 datagrams of the largest size
NOT_DECODED_REASONS: Final = 512  # different ones kept apart, in all; protocol numbers come from the wire

# --- connections: reassembly
REORDER_NANOSECONDS: Final = 50_000_000  # how far multi-queue captures were seen to record an ACK before its data
REORDER_PACKETS: Final = 64  # the same in packets of the capture
HELD_BYTES: Final = 8 << 20  # out-of-order bytes of one direction; above the largest usual receive window (6 MiB)
HELD_SEGMENTS: Final = 16_384  # out-of-order segments of one direction; HELD_BYTES in segments of 512 bytes
LINGER_NANOSECONDS: Final = 5_000_000_000  # how long a closed connection collects late packets
LINGERING_CONNECTIONS: Final = 50_000  # that do so, in all: 10,000 closed in a second; in a capture time may stand still
HELD_SEGMENT_BYTES: Final = 170  # what an out-of-order segment costs beside its bytes
COPY_PACKETS: Final = 32  # packets of one end among which an exact copy is recognised; taps copy in bursts below this
COPY_NANOSECONDS: Final = 1_000_000_000  # how long after a packet its copy may come, where the IP header numbers packets
UNNUMBERED_COPY_NANOSECONDS: Final = 3_000_000  # the same where it does not; retransmissions are rarely that fast
ONE_SIDED_HOLE_BYTES: Final = 16 << 20  # longest hole assumed where nobody is seen to acknowledge; above usual windows
LATE_NANOSECONDS: Final = 3_000_000  # a hole filled sooner was reordering, where the round trip is not known
FLOW_NANOSECONDS: Final = 120_000_000_000  # silence that ends a UDP flow; twice what address translators usually allow
CLOCK_STEP_NANOSECONDS: Final = 1_000_000_000  # timestamps further back than that are strays, or the clock was set back
CLOCK_STEP_PACKETS: Final = 256  # so many of them in a row, and it was: time goes on from there
FINISHED_WAITING: Final = 1024  # finished connections, beyond twice the open ones, among what waits for its time; 1 KB each

# --- store
TEXT_BYTES: Final = 65_536  # longest wire value kept whole in a text column
DISTINCT_LINES: Final = 50_000  # field lines known at a time; then they are numbered afresh
DISTINCT_LINE_COST: Final = 300  # what each costs beside its bytes
DISTINCT_LINE_BYTES: Final = 16 << 20  # the same in bytes of names and values
INSERT_BYTES: Final = 12 << 20  # of columns given to DuckDB together; it inserts them while the next ones are collected
COLLECTED_BYTES: Final = 20 << 20  # of columns, while others are still inserted; then what is collected waits for those
WAITING_BYTES: Final = 64 << 20  # of columns that wait in a live capture while others are written; then packets wait
COMMIT_BYTES: Final = 12 << 20  # of columns inserted in one transaction: DuckDB holds them, a run that is killed loses them
ROW_GROUP_ROWS: Final = 10_240  # DuckDB compresses and writes a row group when it is full; its own 122,880 would come at the end
REOPEN_ROWS: Final = 1_000_000  # inserted before the database is opened anew: DuckDB keeps 10 to 20 MB for as many till then
CONVERTED_TEXT_BYTES: Final = 4_096  # a wire value and the text it became, to be remembered; longer ones rarely repeat
CONVERTED_TEXTS_BYTES: Final = 1 << 20  # the same of all that a column remembers
SLICE_BYTES: Final = 4 << 20  # wire bytes of rows turned into columns together; as text up to four times as much
WIDE_ROW_BYTES: Final = 8_192  # a table with more on average: DuckDB holds 2,048 rows at once whatever their size
WIDE_BYTES: Final = 16 << 20  # of a table with wide rows; then it is written out, and a row group of its own holds them
LOAD_BYTES: Final = 128_000_000  # of DuckDB's buffers while loading; more does not make it faster

# --- WebSocket
PREVIEW_CHARACTERS: Final = 256  # of a text message, with --content preview
INFLATED_MESSAGE_BYTES: Final = 64 << 20  # of one message; servers' own limits are 1 to 16 MiB
INFLATE_STEP_BYTES: Final = 64 << 10  # taken from the decompressor at a time; what a bomb costs in memory
INFLATE_RATIO: Final = 200  # over a direction's messages, beyond the first INFLATED_MESSAGE_BYTES; deflate's own limit is 1032
INFLATE_FAILURES: Final = 16  # messages of a direction that did not inflate before no further one is tried
INFLATER_BYTES: Final = 116 << 10  # of a decompressor: 42 KiB of zlib, a window and a half of output, 25 KiB for its pieces
PAYLOAD_UNCOUNTED_BYTES: Final = 1_024  # kept of a message without asking: what a preview may take, and most messages have less
FINAL_BLOCKS: Final = 64  # deflate streams in one message; senders end none or one, and each costs a new window
ALIGNING_FRAMES: Final = 3  # frames in a row that show where frames begin, when the start was not captured
WEBSOCKET_SEARCH_BYTES: Final = 1 << 16  # how far a frame may reach beyond a hole; tunnels send one read, 64 KiB at most
WEBSOCKET_SEARCH_MASKED_BYTES: Final = 1 << 12  # the same where contents are masked and cannot look like frames
WEBSOCKET_SEARCH_FRAMES: Final = 8  # in a row, before they are believed; random contents have so many once in 10^13 places
WEBSOCKET_SEARCH_FRAME_BYTES: Final = 1 << 30  # longest frame that is sought; endpoints hold a message in memory
WEBSOCKET_SEARCH_CHAINS: Final = 1_000  # chains of frames followed after a hole; random contents begin about 30 at a time
WEBSOCKET_SEARCH_HEADERS: Final = 1 << 20  # followed in one search, a third of a second; 20 MB of random contents have so many
WEBSOCKET_SEARCH_HELD_BYTES: Final = 1 << 15  # kept while the last chain is confirmed; eight frames of 4 KiB
TAPPED_MESSAGE_BYTES: Final = 1 << 20  # of a followed message held before it is passed on in pieces

# --- HTTP/1
HTTP1_START_LINE_BYTES: Final = 65_536  # longest request or status line; servers refuse above 8 to 64 KiB
HTTP1_SECTION_BYTES: Final = 262_144  # header or trailer section, start line included; servers refuse above 8 to 256 KiB
HTTP1_SECTION_LINES: Final = 2_000  # field lines of a section; servers refuse above 100 to 1,000
HTTP1_CHUNK_LINE_BYTES: Final = 16_384  # chunk size with its extensions; real ones stay below 100
HTTP1_OUTSTANDING: Final = 4_096  # requests waiting for their responses; load generators pipeline up to some hundred
HTTP1_HELD_BYTES: Final = 262_144  # bytes of one side that wait for the other side: a response until its request is known
HTTP1_HELD_PIECES: Final = 4_096  # pieces of one side that wait likewise; HTTP1_HELD_BYTES in segments of 64 bytes
HTTP1_CACHED_LINES: Final = 8_192  # field lines remembered, in all, so that repeated ones share an object; 4 MiB of them at most
HTTP1_CACHED_LINE_BYTES: Final = 512  # longest line worth remembering; longer ones rarely repeat
HTTP1_UNPROVED_ROWS: Final = 256  # rows kept until a beginning is proved; its first messages make fewer than ten
HTTP1_CACHED_HEADS: Final = 512  # whole requests remembered, in all, and as many responses; 10 MB of the longest
HTTP1_CACHED_HEAD_BYTES: Final = 2_048  # longest head worth remembering
HTTP1_HEAD_COST: Final = 400  # what a head costs beside twice its bytes
HTTP1_LINE_COST: Final = 60  # what a field line of it costs besides; those that repeat cost less, others more
HTTP1_EXCHANGE_BYTES: Final = 300  # what an exchange costs beside its heads
HTTP1_PIECE_BYTES: Final = 150  # what a held piece costs beside its bytes

# --- content codings
CONTENT_CODINGS: Final = 4  # codings of one content; one is usual, two are seen
CONTENT_DECODED_BYTES: Final = 256 << 20  # decoded bytes of one content, a bound on time: nothing is kept to hash it
CONTENT_DECODED_RATIO: Final = 1_000  # decoded to coded bytes; deflate cannot exceed 1,032, real contents stay below 200
CONTENT_DECODED_RATIO_FROM: Final = 1 << 18  # decoded bytes of a content from which the ratio counts; a millisecond's work
CONTENT_MEMBER_BYTES: Final = 1_024  # decoded bytes that a further gzip member or zstd frame counts for: it costs as much time
CONTENT_PIECE_BYTES: Final = 65_536  # decoded at a time, so that a limit is noticed early
CONTENT_ZSTD_WINDOW_LOG: Final = 23  # RFC 9659 section 3: 8 MB
CONTENT_BROTLI_WINDOW_BYTES: Final = 16 << 20  # RFC 7932 section 9.1: the largest window
CONTENT_ZLIB_BYTES: Final = 48 << 10  # of memory for a gzip or deflate decoder: a window of 32 KiB, and 10 KiB of state
CONTENT_ZSTD_BYTES: Final = 512 << 10  # the same for zstd but for its window: a block twice, literals, tables, state
CONTENT_BROTLI_BYTES: Final = 4 << 20  # the same for br: three times 256 Huffman tables of up to 4.4 KiB, and state
CONTENT_CODED_BYTES: Final = 256 << 10  # held of a content at most before decoders stay open for it; few have as many
CONTENT_KEPT_BYTES: Final = 16 << 20  # decoded bytes kept of one content with --content store
CONTENT_CONNECTION_BYTES: Final = 64 << 20  # held, decoding and kept for the open contents of a connection; 200 usual ones
CONTENT_ROW_BYTES: Final = (
    8 << 20
)  # contents and field sections in rows that are not handed over yet; more at a time makes nothing faster

# --- HTTP/2
HPACK_TABLE_BYTES: Final = 1 << 18  # of one dynamic table, whatever the peers agreed on; browsers use 64 KiB
FIELD_SECTION_BYTES: Final = 1 << 20  # a decoded field section; servers take 8 to 64 KiB, one byte can stand for 4 KiB
HTTP2_FRAME_BYTES: Final = 1 << 18  # a frame other than DATA that is held whole; 16 KiB unless the peers agree on more
HTTP2_FIELD_BLOCK_BYTES: Final = 1 << 18  # a field block with its CONTINUATION frames, as sent
HTTP2_CONTINUATION_FRAMES: Final = 1024  # of one field block; empty ones cost the sender nearly nothing
HTTP2_OPEN_STREAMS: Final = 10_000  # servers allow 100 to 1,000 at a time
HTTP2_EXCHANGE_BYTES: Final = 850  # what an open stream costs beside its values
HTTP2_ENTRY_BYTES: Final = 130  # what an entry of a dynamic table costs beside its name and value
FIELD_BLOCK_COST: Final = 16  # memory of a row for each byte of a field block: one can stand for a line, three make one
HTTP2_PIECE_BYTES: Final = 50  # what a held piece of a frame costs beside its bytes
HTTP2_TOMBSTONES: Final = 4096  # stream numbers remembered beside the highest one
HTTP2_SETTINGS_WAITING: Final = 64  # SETTINGS frames not acknowledged yet; peers send one or two
HTTP2_WINDOW_SHRINKAGES: Final = 64  # of the initial window; each is a walk over the open streams, and real peers enlarge it
HTTP2_RESPONSES_FIRST: Final = 256  # responses kept whose request has not been delivered yet
HTTP2_LINGERING_STREAMS: Final = 256  # reset by one side, kept for what the other has already sent
HTTP2_TUNNEL_HELD_BYTES: Final = 1 << 16  # content of a CONNECT request held until its response is seen
HTTP2_TUNNELS_HELD_BYTES: Final = 1 << 20  # the same on all streams of a connection
HTTP2_TUNNEL_PIECE_BYTES: Final = 512  # what a held piece costs beside its content; frames of one packet make one piece
HTTP2_SEARCH_BYTES: Final = 1 << 20  # largest frame size for which frames are sought again after a hole
HTTP2_SEARCH_CHAINS: Final = (
    20_000  # chains of frames followed after a hole; random contents begin 16,000 where frames may have 1 MiB
)
HTTP2_SEARCH_HELD_BYTES: Final = 1 << 17  # kept after a hole until a frame is certain; 16 KiB frames need six of them at most
HTTP2_ANSWERS_WAIT_BYTES: Final = 1 << 14  # held after a hole while answers may show more; 500 requests, most answered by then
HTTP2_ANSWERS: Final = 4096  # streams answered before they were seen to be opened; a hole of 45,000 bytes can open as many
HTTP2_DEBUG_BYTES: Final = 1024  # debug data of a GOAWAY that is kept

# --- TLS
TLS_SECRET_BYTES: Final = 512  # of a key log line; a premaster secret of ffdhe4096 is the longest usual one
TLS_KEYS_BYTES_EACH: Final = 640  # what the secrets of a connection cost beside the first of them
TLS_MESSAGE_BYTES: Final = 1 << 18  # a handshake message; long certificate chains have some 10 KB, post-quantum ones 100
TLS_SAID_BYTES: Final = 1 << 20  # of the messages an extended master secret is made from; with long chains some 100 KB
TLS_EXTENSIONS: Final = 256  # of one message; browsers send about 20
TLS_CERTIFICATES: Final = 16  # of one message; chains have 2 to 4
TLS_TRIED_BYTES: Final = 256 << 20  # of records tried with numbers and keys that did not fit: a tenth of a second
TLS_MISSED_RECORDS: Final = 4096  # numbers tried after a hole; a window of 4 MiB in records of 1 KB
TLS_HELD_BYTES: Final = 1 << 20  # of one direction that wait for the other, or for keys; early data is below 64 KiB
TLS_SOUGHT_BYTES: Final = 1 << 17  # after a hole until a record is found; seven of the largest
TLS_HELD_RECORD_BYTES: Final = 300  # what a held record costs beside its body
TLS_PIECE_BYTES: Final = 50  # what a piece of a record costs beside its bytes
TLS_DECRYPTOR_BYTES: Final = 3_000  # what the keys of a direction cost: OpenSSL's state, mostly
TLS_WRONG_RECORDS: Final = 16  # that do not authenticate before keys are held to be wrong
TLS_RENEGOTIATIONS: Final = 64  # of one connection; servers allow a few, most none
