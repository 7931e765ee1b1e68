"""Opens the protected records of one direction, through all its changes of keys and across holes.

Nothing in a record says which number it has or which key protects it, but only the right ones authenticate it. So where records
may be missing, numbers and keys are tried in order until one fits; what fits is certain. Keys only ever change forwards.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_keys import next_traffic_secret
from analyzer.codecs.tls_records import HEADER_BYTES

if TYPE_CHECKING:  # ciphers take long to load: whoever needs them does that
    from analyzer.codecs.tls_ciphers import Protection, Suite

EARLY: Final = 0  # epochs of TLS 1.3
HANDSHAKE_KEYS: Final = 1
TRAFFIC: Final = 2  # and, after each KeyUpdate, one more
_NOT_LOST: Final = -2
_AHEAD: Final = 2  # how many changes of keys a hole may hide
_TRIAL_BYTES: Final = 2048  # what an attempt costs beside the bytes of its record


class Trials:
    """What one connection may spend on searching."""

    def __init__(self) -> None:
        self._left: i64 = limits.TLS_TRIED_BYTES

    def may_try(self, record: bytes) -> bool:
        """Whether one more attempt is within the limit."""
        self._left -= len(record) + _TRIAL_BYTES
        return self._left >= 0


class Decryptor:
    """The keys of one direction in their order, and the number of its next record.

    Epochs of TLS 1.3 are EARLY, HANDSHAKE_KEYS, TRAFFIC and so on; those of TLS 1.2 begin with 0, -1 being before the first change.
    """

    def __init__(self, trials: Trials, epoch: i64, is_tls13: bool) -> None:
        self.epoch = epoch
        self.number: i64 = 0
        self.missed: i64 = 0  # how many records may be missing before the next one
        self.is_proven = False  # a record was opened
        self.is_tls13 = is_tls13
        self._trials = trials
        self._protections: list["Protection | None"] = []  # from epoch ``_dropped`` on
        self._dropped: i64 = 0  # epochs that are over
        self._current: "Protection | None" = None
        self._suite: "Suite | None" = None
        self._last_secret = b""
        self._lost_epoch: i64 = _NOT_LOST
        self._lost_number: i64 = 0

    def use_secrets(self, suite: "Suite", secrets: list[bytes]) -> None:
        """The traffic secrets of TLS 1.3, for EARLY, HANDSHAKE_KEYS and TRAFFIC; those that are not known are empty."""
        from analyzer.codecs.tls_ciphers import Tls13Protection

        self._suite = suite
        for secret in secrets:
            self._protections.append(Tls13Protection(suite, secret) if secret else None)
        self._last_secret = secrets[TRAFFIC]
        self._current = self._protection(self.epoch)

    def add(self, protection: "Protection | None") -> None:
        """The protection of the next epoch of TLS 1.2."""
        self._protections.append(protection)

    def epochs(self) -> i64:
        """How many epochs of TLS 1.2 were added."""
        return self._dropped + len(self._protections)

    def has_keys(self) -> bool:
        """Whether the records of the current epoch could be opened."""
        return self._current is not None

    def least_expansion(self) -> i64:
        """How much longer than its content a record is at least, under any of the keys."""
        for protection in self._protections:
            if protection is not None:
                return protection.least_expansion
        return 0

    def is_exact(self) -> bool:
        """Whether a record's length tells that of its content."""
        current = self._current
        return current is not None and current.least_expansion == current.most_expansion

    def advance(self) -> None:
        """The keys change with the next record."""
        self._move(self.epoch + 1, 0)

    def miss(self, length: i64) -> None:
        """So many bytes are missing, with whatever records began in them; -1 where their number is not known."""
        self._note_loss()
        records = limits.TLS_MISSED_RECORDS
        if length >= 0:
            records = length // (HEADER_BYTES + self.least_expansion()) + 1
        self.missed = min(self.missed + records, limits.TLS_MISSED_RECORDS)

    def miss_record(self) -> None:
        """One record is missing or damaged, or could not be opened."""
        self._note_loss()
        if self.missed == 0:
            self.number += 1
        else:
            self.missed = min(self.missed + 1, limits.TLS_MISSED_RECORDS)

    def open(self, kind: i64, version: i64, record: bytes) -> bytes | None:
        """The content of the next record; None where it does not authenticate, and then it counts as missing."""
        current = self._current
        if current is not None and self.missed == 0:
            content = current.open(self.number, kind, version, record)
            if content is not None:
                self.number += 1
                self.is_proven = True
                return content
        return self.search(kind, version, record)

    def search(self, kind: i64, version: i64, record: bytes) -> bytes | None:
        """Open a record whose number or key is not known; None where none within the limits fits."""
        epoch = self.epoch
        for ahead in range(_AHEAD + 1):
            protection = self._protection(epoch + ahead)
            if protection is None or (ahead == 0 and self.missed == 0):  # which was tried
                continue
            first = self.number if ahead == 0 else 0
            for number in range(first, first + self.missed + 1):
                if not self._trials.may_try(record):
                    return None
                content = protection.open(number, kind, version, record)
                if content is not None:
                    self._move(epoch + ahead, number + 1)
                    self.is_proven = True
                    return content
        return None

    def find(self, kind: i64, version: i64, record: bytes) -> bool:
        """Whether a record can be opened; then it is the next one."""
        if self.search(kind, version, record) is None:
            return False
        self.number -= 1
        return True

    def has_lost_content(self, accepts_early_data: bool) -> bool:
        """Whether the records missing before the one just opened can have held application data: False where that is impossible."""
        epoch, number = self._lost_epoch, self._lost_number
        self._lost_epoch = _NOT_LOST
        if epoch == _NOT_LOST:  # it was judged when the first record after the loss was opened
            return True
        if self.is_tls13:
            is_early = epoch == EARLY and accepts_early_data
            if self.epoch == epoch:
                return (epoch >= TRAFFIC or is_early) and self.number - 1 > number
            return epoch >= TRAFFIC or is_early or self.epoch > TRAFFIC or (self.epoch == TRAFFIC and self.number > 1)
        if self.epoch == epoch:
            return self.number - 1 > max(number, 1)
        return epoch >= 0 or self.number > 2  # the first record is Finished

    def _note_loss(self) -> None:
        if self._lost_epoch == _NOT_LOST:
            self._lost_epoch = self.epoch
            self._lost_number = self.number

    def _move(self, epoch: i64, number: i64) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            self._current = self._protection(epoch)
            over = min(epoch - self._dropped, len(self._protections))
            if over > 0:
                del self._protections[:over]
                self._dropped += over
        self.number = number
        self.missed = 0

    def _protection(self, epoch: i64) -> "Protection | None":
        """The protection of an epoch that is not over, None where it is not known."""
        index = epoch - self._dropped
        if index < 0:
            return None
        suite = self._suite
        while index >= len(self._protections):
            if suite is None or not self._last_secret:
                return None
            from analyzer.codecs.tls_ciphers import Tls13Protection

            self._last_secret = next_traffic_secret(self._last_secret, suite.digest)
            self._protections.append(Tls13Protection(suite, self._last_secret))
        return self._protections[index]
