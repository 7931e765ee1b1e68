"""Rights that only opening an interface needs."""

import os
import pwd

from analyzer.errors import UnmuxError, UsageError

HOW_TO_GRANT = "run it with sudo, or let this Python: sudo setcap cap_net_raw=ep {python}"


def drop(user: str | None) -> str | None:
    """Become ``user``, or whoever called sudo, where this is root; returns the name, None where nothing changed.

    Raises ``UsageError`` for a user that is not there or cannot be chosen, ``UnmuxError`` where the rights stay.
    """
    if os.geteuid() != 0:
        if user is not None and user != pwd.getpwuid(os.geteuid()).pw_name:
            raise UsageError(f"--user {user}: only root can become somebody else")
        return None
    name = user or os.environ.get("SUDO_USER")
    if name is None or name == "root":
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--user {name}: there is no such user") from None
    try:
        os.initgroups(name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise UnmuxError(f"--user {name}: cannot give up the rights of root: {error.strerror}") from error
    return name
