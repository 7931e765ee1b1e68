"""Interactive SQL: prompt_toolkit gives history, completion and editing."""

import sys
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from analyzer import reports
from analyzer.commands import output, source
from analyzer.errors import UnmuxError
from analyzer.store import Store

HELP = """\
SELECT …;              a query; it ends with a semicolon and may take several lines
.tables                the tables and views      .schema TABLE    its columns
.report NAME           a report                  .reports         their names
.mode FORMAT           table, csv, json, jsonl or markdown
.quit                  leave (Ctrl-D too)"""


class Shell:
    """What the user can say, and what is answered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mode = "table"

    def answer(self, said: str) -> bool:
        """Answer a command or query; False when the user wants to leave."""
        said = said.strip()
        try:
            if said.startswith("."):
                return self._command(said)
            if said:
                output.write(source.run_sql(self.store, said.rstrip(";")), self.mode, None)
        except UnmuxError as error:
            print(f"{error}", file=sys.stderr)
        return True

    def _command(self, said: str) -> bool:
        word, _, rest = said.partition(" ")
        rest = rest.strip().rstrip(";")
        if word in {".quit", ".exit", ".q"}:
            return False
        if word == ".tables":
            output.write(
                self.store.sql("SELECT table_name, table_type FROM information_schema.tables ORDER BY ALL"), self.mode, None
            )
        elif word == ".schema":
            about = "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
            output.write(self.store.sql(about, [rest]), self.mode, None)
        elif word == ".reports":
            print("\n".join(reports.names()))
        elif word == ".report":
            source.print_report(self.store, rest)
        elif word == ".mode" and rest in output.FORMATS and rest != "parquet":
            self.mode = rest
        else:
            print(HELP)
        return True


def run(store: Store) -> None:
    """Talk until the user leaves; without a terminal, answer what standard input says, statement by statement."""
    shell = Shell(store)
    if not sys.stdin.isatty():
        for statement in _statements(sys.stdin.read()):
            if not shell.answer(statement):
                return
        return
    words = {
        word
        for row in store.sql("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
        for word in row
    }
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=WordCompleter(sorted(words | set(reports.names())), ignore_case=True),
        complete_while_typing=False,
    )
    print("unmux shell; .help tells what can be said, Tab completes, Ctrl-D leaves")
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
        if not said or not (said.endswith(";") or said.startswith(".")):
            continue
        if not shell.answer(said):
            return
        said = ""


def _statements(text: str) -> list[str]:
    """Dot commands by line, queries by semicolon."""
    found: list[str] = []
    said = ""
    for line in text.splitlines():
        said = f"{said}\n{line}".strip()
        if said.endswith(";") or said.startswith("."):
            found.append(said)
            said = ""
    return [*found, said] if said else found


def _history() -> History:
    folder = Path.home() / ".local" / "state" / "unmux"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(folder / "history"))
