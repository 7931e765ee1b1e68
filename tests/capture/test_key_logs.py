import pytest

from analyzer import limits
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.key_logs import key_log_blocks
from analyzer.errors import CaptureError


def test_a_key_log_comes_in_blocks_of_whole_lines(tmp_path):
    lines = [b"CLIENT_RANDOM %064x %096x" % (number, number) for number in range(20_000)]
    path = tmp_path / "keys"
    path.write_bytes(b"\n".join(lines))
    blocks = list(key_log_blocks(str(path)))
    assert len(blocks) > 2
    assert [line for block in blocks for line in block.split(b"\n")] == lines


def test_what_is_no_key_log_is_refused_without_showing_what_it_holds(tmp_path):
    with pytest.raises(CaptureError, match="required a key log that can be read, found: No such file"):
        list(key_log_blocks(str(tmp_path / "missing")))
    path = tmp_path / "endless"
    path.write_bytes(b"secret" * 400_000)
    with pytest.raises(CaptureError) as raised:
        list(key_log_blocks(str(path)))
    assert "a line of more than" in str(raised.value)
    assert "secretsecret" not in str(raised.value)


def test_secrets_of_a_file_are_there_before_its_packets_wherever_they_stand(files, tmp_path):
    path = tmp_path / "late.pcapng"
    written = (
        files.Pcapng("<").interface().simple(b"packet").section(">").interface().simple(b"other").secrets(b"CLIENT_RANDOM late\n")
    )
    path.write_bytes(bytes(written.bytes))
    captures = CaptureSet([str(path)])
    assert captures.secrets == [b"CLIENT_RANDOM late\n"]
    while captures.next() is not None:
        pass
    assert not captures.has_pipes
    assert captures.secrets[0] == b"CLIENT_RANDOM late\n"
    assert sum(map(len, captures.secrets)) <= 2 * limits.SECRETS_BYTES


def test_secrets_behind_damage_are_not_sought(files, tmp_path):
    path = tmp_path / "damaged.pcapng"
    written = files.Pcapng("<").interface().simple(b"packet")
    path.write_bytes(bytes(written.bytes) + b"\x06\0\0\0\x01\0\0\0" + bytes(files.Pcapng("<").secrets(b"key").bytes))
    assert CaptureSet([str(path)]).secrets == []
