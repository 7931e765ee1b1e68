"""The command line: parse, call, print; no logic. Each command imports what it needs when it runs."""

import os
import sys
from typing import Any

import typer

from analyzer.commands.app import app, command_names
from analyzer.errors import UnmuxError, UsageError

INTERRUPTED = 130
# Typer may carry a Click of its own, so the base of Click's errors is found by way of the one that Typer exports
_CLICK_ERROR: Any = next(base for base in reversed(typer.BadParameter.__mro__) if hasattr(base, "show"))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in command_names() and (not given[0].startswith("-") or given[0] in {"-", "-r", "-d"}):
        given.insert(0, "analyze")  # unmux CAPTURE... analyzes
    try:
        status = app(given, prog_name="unmux", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UsageError as error:
        print(f"unmux: {error}", file=sys.stderr)
        return 2
    except UnmuxError as error:
        print(f"unmux: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has seen enough; keep the interpreter from complaining when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _CLICK_ERROR as error:
        error.show()
        return int(error.exit_code)
