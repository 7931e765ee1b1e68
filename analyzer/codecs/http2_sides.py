"""Both directions of an HTTP/2 connection: what SETTINGS they agreed on (RFC 9113 section 6.5), and how certain that is."""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.hpack import UNLIMITED
from analyzer.codecs.http2_exchange import Exchange
from analyzer.codecs.http2_frames import (
    ENABLE_CONNECT_PROTOCOL,
    MAX_FRAME_SIZE,
    Setting,
    error_name,
)
from analyzer.codecs.http2_side import Side, WaitingSettings


class Sides:
    """The two sides of a connection, and what may be believed of their agreement."""

    def __init__(self, to_server: Side, to_client: Side) -> None:
        self.to_server = to_server
        self.to_client = to_client
        self.is_complete = True  # no frame can have been missed
        self.windows_certain = True
        self.settings_certain = True

    def opposite(self, side: Side) -> Side:
        """The side that listens to this one."""
        return self.to_client if side is self.to_server else self.to_server

    def damage(self, side: Side) -> None:
        """Frames of a direction may have been missed: SETTINGS, acknowledgments, DATA, WINDOW_UPDATE among them."""
        side.is_damaged = True
        self.is_complete = False
        self.windows_certain = False
        self.settings_certain = False
        self.opposite(side).framer.is_largest_known = False  # that is for this side to say
        for each in (self.to_server, self.to_client):
            each.decoder.allow(UNLIMITED)
            each.waiting = []

    # --- SETTINGS

    def announce(self, side: Side, settings: list[Setting]) -> bool:
        """A side announces settings; most apply to the other one when it acknowledges them (RFC 9113 section 6.5.3).

        False where more than the limit wait for that; then the caller calls it damage.
        """
        other = self.opposite(side)
        for setting in settings:
            if setting.identifier <= ENABLE_CONNECT_PROTOCOL:
                side.settings[setting.identifier] = setting.value
            if setting.identifier == MAX_FRAME_SIZE and setting.value > other.framer.largest_allowed:
                other.framer.largest_allowed = setting.value
        if not self.settings_certain:
            return True
        other.framer.is_largest_known = True
        other.waiting.append(WaitingSettings(settings))
        other.allow_table()
        if other.early_acknowledgments > 0:
            other.early_acknowledgments -= 1
            self.acknowledge(other)
            return True
        return len(other.waiting) <= limits.HTTP2_SETTINGS_WAITING

    def acknowledge(self, side: Side) -> None:
        """A side has taken the other's oldest settings that it had not acknowledged."""
        if not self.settings_certain:
            return
        if not side.waiting:
            side.early_acknowledgments += 1
            side.framer.is_largest_known = False
            side.decoder.allow(UNLIMITED)
            return
        settings = side.waiting.pop(0)
        if settings.table_size >= 0:
            side.table_size = settings.table_size
            side.allow_table()
        if settings.initial_window >= 0:
            side.initial_window = settings.initial_window
            side.initial_window_at = side.framer.timestamp

    # --- what ended a stream

    def goaway_code(self, exchange: Exchange, is_connection_over: bool) -> i64:
        """The error code of a GOAWAY that ended a stream, -1 where none did (RFC 9113 section 6.8)."""
        if not exchange.is_witnessed():
            return -1  # it may have ended, or been reset, before
        refused = self.to_client if exchange.number & 1 else self.to_server
        if refused.goaway_code >= 0 and exchange.number > refused.goaway_last:
            return refused.goaway_code
        if not is_connection_over:
            return -1  # it may have gone on after the capture
        for side in (self.to_client, self.to_server):
            if side.goaway_code > 0:
                return side.goaway_code
        return -1

    def reset_name(self, exchange: Exchange, is_connection_over: bool) -> str | None:
        """The name of the error code that ended a stream, which was reset."""
        code = exchange.reset_code
        if code < 0:
            code = self.goaway_code(exchange, is_connection_over)
        elif not exchange.is_witnessed():
            return None  # it may have ended, or been reset, before
        return None if code < 0 or code == UNLIMITED else error_name(code)
