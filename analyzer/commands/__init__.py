"""The command line: parse, call, print; no logic. Each command imports what it needs when it runs."""

import atexit
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

from analyzer.commands import live_app as _live_app  # noqa: F401  # its commands
from analyzer.commands import signals
from analyzer.commands.app import app, command_names
from analyzer.errors import UnmuxError, UsageError
from analyzer.text import escape_for_terminal

FAILED, WRONG_USAGE, SIGNALLED = 1, 2, 128  # exit statuses; the last one and the signal's number: 130 for Ctrl-C
_OPTIONS_OF_THEIR_OWN = {"-h", "--help", "--version", "--install-completion", "--show-completion"}
# Typer may carry a Click of its own, so the base of Click's errors is found by way of the one that Typer exports
_CLICK_ERROR: Any = next(base for base in reversed(typer.BadParameter.__mro__) if hasattr(base, "show"))


def run() -> NoReturn:
    """The command ``unmux``: run the command line and end the process at once.

    Python would take apart first, object by object, what the process has: a tenth of the time of a large capture.
    """
    status = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it has gone
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(status)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = signals.handle(signals.end)
    try:
        status = app(_with_command(given), prog_name="unmux", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UsageError as error:
        return _told(error, WRONG_USAGE)
    except UnmuxError as error:
        return _told(error, FAILED)
    except signals.Interrupted as error:
        return SIGNALLED + error.number
    except typer.Abort:
        return SIGNALLED + signal.SIGINT
    except BrokenPipeError:
        return _unread()
    except SystemExit as error:  # Click's answer to a broken pipe
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return _unread()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is there room for what is still to be flushed
        return _told(UnmuxError(f"standard output: {error.strerror}"), FAILED)
    except _CLICK_ERROR as error:
        missing = _missing(error, given)
        if missing is not None:
            return _told(missing, WRONG_USAGE)
        error.show()
        return int(error.exit_code)
    finally:
        signals.restore(before)


def _missing(error: Any, given: list[str]) -> UsageError | None:
    """What is missing where Click says that the captures are: of one argument it takes the last one's place to be filled."""
    parameter = getattr(error, "param", None)
    if getattr(parameter, "nargs", 1) != -1 or not given or not Path(given[-1]).exists():
        return None
    command = error.ctx.command
    others = [each for each in command.params if each.param_type_name == "argument" and each is not parameter]
    if not others:
        return None
    return UsageError(f"{others[-1].metavar} is missing beside {given[-1]}; `unmux {command.name} --help` tells more")


def _unread() -> int:
    """Whoever read our output has seen enough; keep the interpreter from complaining when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _told(error: UnmuxError, status: int) -> int:
    print(f"unmux: {escape_for_terminal(str(error), lines=True)}", file=sys.stderr)
    return status


def _with_command(given: list[str]) -> list[str]:
    """The arguments, with the command ``analyze`` where they begin with a capture or one of its options.

    UsageError for a word that is neither a command nor a file.
    """
    if not given or given[0] in _OPTIONS_OF_THEIR_OWN or given[0] in command_names():
        return given
    word = given[0]
    if word.isalpha() and not Path(word).exists():
        import difflib

        near = difflib.get_close_matches(word, command_names(), 1)
        meant = f"did you mean {near[0]}?" if near else "`unmux --help` lists the commands"
        raise UsageError(f"{word}: neither a command nor a file; {meant}")
    return ["analyze", *given]
