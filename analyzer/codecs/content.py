"""HTTP content: content codings undone within limits, hashed or kept as the options ask (RFC 9110 section 8.4)."""


class Content:
    """Takes the content of one message piece by piece, when ``--content`` asks for it."""

    def __init__(self, mode: str, codings: bytes | None) -> None:
        """``mode`` is hash or store; ``codings`` is the content-encoding field's value, None without one."""
        self.sha256: str | None = None  # of the decoded content; None until finished, when incomplete or not decodable
        self.kept: bytes | None = None  # the decoded content in mode store, within the limit
        self.is_decoded = False
        self.is_complete = False
        self.fault: str | None = None  # why it could not be decoded, None when it could

    def write(self, data: bytes) -> None:
        """Take the next bytes of the content as sent."""

    def finish(self, is_complete: bool) -> None:
        """Say that the content has ended; ``is_complete`` is false where bytes of it are missing."""
