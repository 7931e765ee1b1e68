"""Bytes of one direction of which it is not decided yet what they are: at its beginning, and after a hole."""

from mypy_extensions import i64

from analyzer import limits


class Chunk:
    """Bytes with the time and packet that brought them."""

    def __init__(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet


class Undecided:
    """Keeps chunks until it is known where a frame begins in them."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.size: i64 = 0  # bytes in them

    def add(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Keep the next bytes."""
        self.chunks.append(Chunk(data, timestamp, released, packet))
        self.size += len(data)

    def memory(self) -> i64:
        """How many bytes of memory they take."""
        return self.size + len(self.chunks) * limits.UNDECIDED_CHUNK_BYTES

    def joined(self) -> bytes:
        """All bytes."""
        chunks = self.chunks
        return chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])

    def shorten(self, keep: i64) -> list[Chunk]:
        """Drop the oldest chunks that are not among the last ``keep`` bytes, and return them."""
        chunks = self.chunks
        dropped: list[Chunk] = []
        while chunks and self.size - len(chunks[0].data) >= keep:
            self.size -= len(chunks[0].data)
            dropped.append(chunks[0])
            del chunks[0]
        return dropped

    def clear(self) -> None:
        """Drop everything."""
        self.chunks = []
        self.size = 0

    def take_before(self, end: i64) -> list[Chunk]:
        """Take the first ``end`` bytes out, all where there are fewer; returns their chunks, the last of them cut there."""
        taken: list[Chunk] = []
        rest: list[Chunk] = []
        for chunk in self.chunks:
            size: i64 = len(chunk.data)
            if end >= size:
                taken.append(chunk)
                self.size -= size
                end -= size
                continue
            if end > 0:
                taken.append(Chunk(chunk.data[:end], chunk.timestamp, chunk.released, chunk.packet))
                chunk.data = chunk.data[end:]
                self.size -= end
                end = 0
            rest.append(chunk)
        self.chunks = rest
        return taken

    def take_after(self, passed: i64) -> list[Chunk]:
        """Give up everything; returns the chunks that follow after ``passed`` bytes, the first of them cut there."""
        rest: list[Chunk] = []
        for chunk in self.chunks:
            size: i64 = len(chunk.data)
            if passed >= size:
                passed -= size
                continue
            if passed > 0:
                chunk.data = chunk.data[passed:]
                passed = 0
            rest.append(chunk)
        self.clear()
        return rest
