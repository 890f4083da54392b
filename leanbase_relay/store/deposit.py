"""Deposits: what intake hands to the writer, committed as a whole or not at all."""

from dataclasses import dataclass

from leanbase_relay.store.chunk import Chunk


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event, or a line, that is kept because it will not be delivered.

    Attributes:
        door: ``intake`` (a refused line, never accepted) or ``upstream``.
        project: whose it is; for a line that names no known project, ``default``.
        reason: the sentence that was told to the producer, or upstream's text.
        origin: where it came from: ``socket uid=1000 pid=4711 line=3``, or
            ``spool shop/a.jsonl line=17``.
        line: the bytes as they came (cut to `events.max_bytes`), or as stored.
        status: the HTTP status of the refusal, for the door ``upstream``.
        event, distinct_id, uuid: where they could be read.
        accepted_at_ms: when intake accepted it; None if it never did.
        events: how many events it stands for; more than one for a damaged chunk.
        requeues: how often it was brought back before.
        historical: whether it came as an import (`historical_migration`).
    """

    door: str
    project: str
    reason: str
    origin: str
    line: bytes
    status: int | None = None
    event: str | None = None
    distinct_id: str | None = None
    uuid: str | None = None
    accepted_at_ms: int | None = None
    events: int = 1
    requeues: int = 0
    historical: bool = False


@dataclass(frozen=True, slots=True)
class FileId:
    """Which spool file: inode numbers are reused, so they alone do not tell.

    Attributes:
        device, inode: from ``fstat``.
    """

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a spool file is taken, stored in the transaction of its events.

    Attributes:
        file: which one.
        name: its path below the spool directory, for people.
        offset: bytes taken (of the decompressed text, for a gzip file).
        lines: lines taken, so that a bad one can be named.
        digest: of the first and the last bytes before `offset`, so that another
            file under the same inode number is not mistaken for this one.
        finished_ctime_ns: the file's ``st_ctime_ns`` when its last byte was taken;
            None while there may be more. A finished file with this very ctime is
            only to be removed; with another one it is a new file.
        within_line: whether `offset` is within a line that was refused as too long.
    """

    file: FileId
    name: str
    offset: int
    lines: int
    digest: bytes
    finished_ctime_ns: int | None = None
    within_line: bool = False


@dataclass(frozen=True, slots=True)
class Deposit:
    """What one run of lines came to.

    Attributes:
        chunks: its events, in order within each project.
        refused: the lines that intake turned down.
        progress: the spool file's new progress, if the run came from one.
        forget: spool files that are gone, whose progress is not needed any more.
    """

    chunks: tuple[Chunk, ...] = ()
    refused: tuple[DeadLetter, ...] = ()
    progress: FileProgress | None = None
    forget: tuple[FileId, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that the deposit brings, before compression."""
        return sum(len(chunk.event_bytes) for chunk in self.chunks) + sum(
            len(letter.line) for letter in self.refused
        )
