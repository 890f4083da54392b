"""A clock whose waiting advances its time."""

from leanbase_relay.clock import Poke


class FakeClock:
    """Waits cost nothing, are written down, and end early when poked."""

    def __init__(self, *, wall: float = 1_800_000_000.0) -> None:
        self.now = 1_000.0
        self.wall_offset = wall - self.now
        self.waits: list[float] = []
        self._stopping = False
        self._pokes: list[Poke] = []

    @property
    def stopping(self) -> bool:
        return self._stopping

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    @property
    def boot_id(self) -> str:
        return "8f14e45f-ceea-467f-a0e6-1f2d3c4b5a69"

    def since_boot(self) -> float:
        return self.now

    def poke(self) -> Poke:
        poke = Poke()
        self._pokes.append(poke)
        return poke

    def wait(self, seconds: float, poke: Poke) -> bool:
        if not self._stopping and not poke.take(0):
            self.waits.append(seconds)
            self.now += seconds
        return self._stopping

    def stop(self) -> None:
        self._stopping = True
        for poke in self._pokes:
            poke.set()
