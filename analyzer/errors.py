"""The exceptions of unmux: one family for the user, one for a dissector."""


class UnmuxError(Exception):
    """Something the user can act on; its text is one line, printed as it is."""


class CaptureError(UnmuxError):
    """A file that cannot be read (further) as a capture.

    The message names the file, the packet or byte offset, what was required and what was found.
    """


class UsageError(UnmuxError):
    """Arguments that do not fit together; the command exits with status 2."""


class ProtocolError(Exception):
    """Bytes that break the protocol a dissector follows. Only ``Stream`` catches it.

    ``required`` and ``found`` complete the sentences "required …" and "found …"; ``section`` is the place in the
    standard, such as ``RFC 9113 section 4.2``.
    """

    def __init__(self, required: str, found: str, section: str = "") -> None:
        super().__init__(f"required {required}, found {found}" + (f" ({section})" if section else ""))
        self.required = required
        self.found = found
        self.section = section
