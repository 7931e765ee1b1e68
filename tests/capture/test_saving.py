from pathlib import Path

import pytest

from analyzer.capture.saving import Saver
from analyzer.errors import CaptureError


def test_a_link_to_what_is_not_there_is_not_written_through(tmp_path: Path) -> None:
    path = tmp_path / "saved.pcapng"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match=r"saved\.pcapng"):
        Saver(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved.pcapng"]
