"""One direction of an HTTP/2 connection: its frames, its compression, and what its sender is allowed."""

from mypy_extensions import i64

from analyzer.codecs.hpack import DEFAULT_TABLE_SIZE, UNLIMITED, HpackDecoder
from analyzer.codecs.http2_exchange import Exchange
from analyzer.codecs.http2_framer import Framer
from analyzer.codecs.http2_frames import HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, LARGEST_WINDOW, Setting
from analyzer.codecs.http2_streams import DEFAULT_WINDOW, Window


class WaitingSettings:
    """What has to be known of a SETTINGS frame until it is acknowledged; -1 where it does not say."""

    def __init__(self, settings: list[Setting]) -> None:
        self.table_size: i64 = -1
        self.largest_table: i64 = -1  # where the frame says it more than once
        self.initial_window: i64 = -1
        for setting in settings:
            if setting.identifier == HEADER_TABLE_SIZE:
                self.table_size = setting.value
                if setting.value > self.largest_table:
                    self.largest_table = setting.value
            elif setting.identifier == INITIAL_WINDOW_SIZE:
                self.initial_window = setting.value


class Side:
    """One direction of the connection: its frames, its compression state, its sender's settings and window."""

    def __init__(self, direction: i64, from_server: bool) -> None:
        self.direction = direction
        self.framer = Framer(direction, from_server)
        self.decoder = HpackDecoder()
        self.decoder.allow(UNLIMITED)  # until the other side's settings are seen
        self.is_damaged = False  # bytes of it were missed that may have been frames
        self.exchange: Exchange | None = None  # of the DATA frame under way
        self.window = Window(DEFAULT_WINDOW)
        self.smallest_window: i64 = DEFAULT_WINDOW
        self.stall_index: i64 = -1  # of the window's last stall
        self.initial_window: i64 = DEFAULT_WINDOW  # of its streams
        self.initial_window_at: i64 = -1  # when that last changed
        self.shrinkages: i64 = 0  # how often it became smaller
        self.settings: dict[int, int] = {}  # that its sender announced
        self.table_size: i64 = DEFAULT_TABLE_SIZE  # that its sender has acknowledged
        self.waiting: list[WaitingSettings] = []  # SETTINGS of the other side that its sender has not acknowledged
        self.early_acknowledgments: i64 = 0  # of SETTINGS that are still on the way here
        self.pings: i64 = 0
        self.resets: i64 = 0
        self.goaway_code: i64 = -1
        self.goaway_last: i64 = LARGEST_WINDOW
        self.goaway_debug = b""
        self.is_closed = False

    def memory(self) -> i64:
        """How many bytes of memory its frames and its compression state take."""
        return self.framer.memory() + self.decoder.memory()

    def allow_table(self) -> None:
        """Let the sender use the largest compression table that it acknowledged, or may be about to acknowledge."""
        largest = self.table_size
        for settings in self.waiting:
            if settings.largest_table > largest:
                largest = settings.largest_table
        self.decoder.allow(largest)
