"""Interactive SQL: prompt_toolkit gives history, completion and editing."""

import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer import reports
from analyzer.commands import output, source
from analyzer.commands.pager import Pager
from analyzer.commands.signals import Interrupted
from analyzer.errors import UnmuxError, UsageError
from analyzer.store import Store
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from prompt_toolkit.history import History

BANNER = "unmux shell; .help tells what can be said, Tab completes, Ctrl-D leaves"
HELP = """\
SELECT …;        a query; it may take several lines and ends with a semicolon
.tables          the tables and views         .schema [TABLE]  their columns
.reports         the reports                  .report NAME     one of them
.mode FORMAT     table, csv, json, jsonl or markdown
.output FILE     the next result goes to a file: .csv, .json, .jsonl, .md, .parquet
.quit            leave (exit, Ctrl-D too); Ctrl-C stops a query or drops a line"""
_LEAVING = {".quit", ".exit", ".q", "exit", "quit", "\\q"}
_OTHER_WORDS = {
    "\\d": ".schema",
    "\\dt": ".tables",
    "\\dv": ".tables",
    "\\o": ".output",
    "\\?": ".help",
    "\\h": ".help",
    "help": ".help",
}  # of other shells
ROWS_ON_A_TERMINAL = 1000  # of a result; nobody reads more
_TABLES = """
SELECT table_name AS "table", comment AS "one row per" FROM (
    SELECT table_name, regexp_replace(comment, '^one row per ', '') AS comment, 0 AS place FROM duckdb_tables()
    UNION ALL
    -- a folder's tables are views
    SELECT view_name, coalesce(regexp_replace(comment, '^one row per ', ''), 'a view'), if(comment IS NULL, 1, 0)
    FROM duckdb_views() WHERE NOT internal
) ORDER BY place, table_name
"""
_COLUMNS = """
SELECT column_name AS "column", data_type AS "type", coalesce(comment, '') AS "meaning"
FROM duckdb_columns() WHERE table_name = $table ORDER BY column_index
"""
_ALL_COLUMNS = """
SELECT table_name AS "table", column_name AS "column", data_type AS "type"
FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
"""


class Shell:
    """What the user can say, and what is answered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mode = "table"
        self.failed = False
        self._file: str | None = None  # that the next result goes to
        self._most = ROWS_ON_A_TERMINAL if sys.stdout.isatty() else output.TABLE_ROWS

    def answer(self, said: str) -> bool:
        """Answer a command or query; False when the user wants to leave."""
        said = said.strip()
        try:
            if is_command(said):
                return self._command(said)
            self._ask(said)
        except UnmuxError as error:
            self.failed = True
            sys.stdout.flush()
            print(escape_for_terminal(str(error), lines=True), file=sys.stderr)
        return True

    def _ask(self, said: str) -> None:
        import duckdb

        with output.duckdb_errors():
            statements = duckdb.extract_statements(said)
        for statement in statements:
            if self._file is None:
                output.ask(self.store, statement.query, self.mode, None, self._most)
            else:
                output.ask(self.store, statement.query, output.checked_format(None, self._file), self._file)
                source.remark(f"wrote {self._file}")
                self._file = None

    def _command(self, said: str) -> bool:
        word, _, rest = said.rstrip("; ").partition(" ")
        word = _OTHER_WORDS.get(word.lower(), word.lower())
        rest = rest.strip()
        if word in _LEAVING:
            return False
        if word == ".tables" or (word == ".schema" and said.startswith("\\") and not rest):
            output.ask(self.store, _TABLES, self.mode)
        elif word == ".schema":
            self._schema(rest)
        elif word == ".reports":
            for name in reports.names():
                print(f"{name:16} {reports.load(name).about}")
        elif word == ".report":
            if not rest:
                raise UsageError(f".report takes a name: {', '.join(reports.names())}")
            source.print_report(self.store, rest)
        elif word == ".mode":
            if rest not in output.FORMATS or rest == "parquet":
                raise UsageError(f".mode takes table, csv, json, jsonl or markdown; it is {self.mode}")
            self.mode = rest
        elif word == ".output":
            if rest:
                output.checked_format(None, rest)
            self._file = rest or None
        elif word == ".help":
            print(HELP)
        else:
            raise UsageError(f"{word}: no such command; .help lists them")
        return True

    def _schema(self, table: str) -> None:
        if not table:
            output.ask(self.store, _ALL_COLUMNS, self.mode)
            return
        result = output.Result(self.store, self.store.sql(_COLUMNS, {"table": table}))
        if table not in self.store.tables():
            raise UnmuxError(f"no table is called {table!r}; .tables lists them")
        output.write(result, self.mode)


def is_command(said: str) -> bool:
    """Whether a line is a command of the shell and no SQL."""
    word = said.rstrip("; ")
    return said.startswith((".", "\\")) or word.lower() in _LEAVING or word.lower() in _OTHER_WORDS


def run(store: Store, banner: str = BANNER) -> int:
    """Talk until the user leaves; without a terminal, answer what standard input says, statement by statement.

    ``banner`` is said first on a terminal. Returns the exit status: 1 when standard input was no terminal and something it said failed.
    """
    shell = Shell(store)
    if sys.stdin.isatty():
        _talk(shell, banner)
        return 0
    for statement in _statements(sys.stdin.read()):
        if not shell.answer(statement):
            break
    return 1 if shell.failed else 0


def _talk(shell: Shell, banner: str) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    words = {
        word
        for row in shell.store.sql("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
        for word in row
    }
    words |= {
        *reports.names(),
        ".tables",
        ".schema",
        ".reports",
        ".report",
        ".mode",
        ".output",
        ".quit",
        ".help",
        *output.FORMATS,
    }
    words |= {"SELECT", "FROM", "WHERE", "GROUP BY ALL", "ORDER BY", "LIMIT", "count(*)", "JOIN", "USING", "SUMMARIZE"}
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=WordCompleter(sorted(words), ignore_case=True, WORD=True),
        complete_while_typing=False,
    )
    print(banner)
    said = ""
    while True:
        try:
            line = session.prompt("unmux> " if not said else "   ... ")
        except KeyboardInterrupt:
            said = ""
            continue
        except EOFError:
            return
        said = f"{said}\n{line}".strip()
        if not said or not (_is_whole(said) or is_command(said)):
            continue
        try:
            if not _answer_in_pages(shell, said):
                return
        except Interrupted as error:
            if error.number != signal.SIGINT:
                raise
            print("stopped", file=sys.stderr)
        said = ""


def _answer_in_pages(shell: Shell, said: str) -> bool:
    with suppress(BrokenPipeError), Pager() as pager, redirect_stdout(pager):
        return shell.answer(said)
    return True  # who reads has seen enough


def _is_whole(said: str) -> bool:
    """Whether a query ends with the semicolon that is its end: not one inside a text or comment."""
    import duckdb

    if not said.rstrip().endswith(";"):
        return False
    try:
        duckdb.extract_statements(said)
    except duckdb.Error as error:
        return "unterminated" not in str(error)
    return True


def _statements(text: str) -> list[str]:
    """Dot commands by line, queries by semicolon."""
    found: list[str] = []
    said = ""
    for line in text.splitlines():
        said = f"{said}\n{line}".strip()
        if is_command(said) or _is_whole(said):
            found.append(said)
            said = ""
    return [*found, said] if said else found


def _history() -> "History":
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = state / "unmux"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is asked may quote what was captured
        with (folder / "history").open("ab+"):  # it may be of the user who called sudo, or of root
            pass
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(folder / "history"))
