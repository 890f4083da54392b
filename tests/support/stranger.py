"""Somebody else on the relay's socket, who answers each connection from a script."""

import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 20.0


class Stranger:
    """Takes a line on each connection, answers it with the next words, hangs up.

    Args:
        answers: bytes; None = hangs up without having read.
    """

    def __init__(self, path: Path, answers: Iterable[bytes | None]) -> None:
        self.lines: list[bytes] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(PATIENCE_SECONDS)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(PATIENCE_SECONDS)
                if answer is not None:
                    with connection.makefile("rb") as lines:
                        self.lines.append(lines.readline())
                    connection.sendall(answer)
