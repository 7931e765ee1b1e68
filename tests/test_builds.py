"""The compiled and the interpreted build give identical rows."""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
DUMP = """
import json, sys
from pathlib import Path
import analyzer
from analyzer import build
target, *paths = sys.argv[1:]
tables = {}
if paths:
    with analyzer.analyze(paths, content="store", frames=True, mask_key=b"the same") as store:
        for name in store.tables():
            tables[name] = [repr(row) for row in store.sql(f'FROM "{name}" ORDER BY ALL').fetchall()]
about = {"compiled": build.is_compiled(), "source": str(Path(analyzer.__file__).parent), "tables": tables}
Path(target).write_text(json.dumps(about))
"""


def dumped(folder: Path, *paths: Path, checkout: Path | None = None) -> dict[str, object] | None:
    """What ``DUMP`` says in the build that is installed, or in ``checkout``; None where there is no such build."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    target = folder / "dump.json"
    command = [sys.executable, "-P", "-c", DUMP, str(target), *map(str, paths)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        if checkout is None and "No module named 'analyzer'" in ended.stderr:
            return None
        pytest.fail(ended.stderr)
    found: dict[str, object] = json.loads(target.read_text())
    return found


def test_the_compiled_and_the_interpreted_build_give_identical_rows(tmp_path: Path) -> None:
    installed = dumped(tmp_path)
    if installed is None or not installed["compiled"]:
        pytest.skip("no compiled build is installed" if installed is None else "the installed build is not compiled")
    interpreted = dumped(tmp_path, checkout=CHECKOUT)
    assert interpreted is not None
    if interpreted["compiled"]:
        pytest.skip("the checkout has compiled modules in it")
    sources = [str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "analyzer").rglob("*.py")]
    _, changed, missing = filecmp.cmpfiles(CHECKOUT, Path(str(installed["source"])).parent, sources, shallow=False)
    if changed or missing:
        pytest.skip(f"the installed build is of another source: {sorted(changed + missing)[0]}")
    samples = CHECKOUT / "sample_pcaps"
    compiled_tables = (dumped(tmp_path, samples) or {})["tables"]
    interpreted_tables = (dumped(tmp_path, samples, checkout=CHECKOUT) or {})["tables"]
    assert isinstance(compiled_tables, dict)
    assert isinstance(interpreted_tables, dict)
    assert list(compiled_tables) == list(interpreted_tables)
    for name, rows in compiled_tables.items():
        if name == "store_metadata":
            rows = [row for row in rows if not row.startswith("('build', 'compiled',")]
            interpreted_tables[name] = [row for row in interpreted_tables[name] if not row.startswith("('build', 'interpreted',")]
            assert rows
        assert rows == interpreted_tables[name], name
    assert len(compiled_tables["http_fields"]) > 1000
