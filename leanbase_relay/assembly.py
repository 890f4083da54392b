"""Assembly: each part of the relay, made as the configuration wants it.

The one place that knows which setting goes where. The daemon asks for the parts and
gives them their life.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leanbase_relay import descriptors
from leanbase_relay.clock import Clock
from leanbase_relay.config import Config, ProjectConfig
from leanbase_relay.forward.lane import Lane, Settings
from leanbase_relay.forward.upstream import Upstream
from leanbase_relay.intake.admission import Admission
from leanbase_relay.intake.event import Judge
from leanbase_relay.intake.profiles import Profiles
from leanbase_relay.intake.socket import SocketIntake
from leanbase_relay.intake.spool import Spool
from leanbase_relay.keys import KeyRing
from leanbase_relay.store.deposit import FileProgress
from leanbase_relay.store.known import Known
from leanbase_relay.store.presence import Presence
from leanbase_relay.store.reader import Reader
from leanbase_relay.store.reserve import Reserve
from leanbase_relay.store.row import Row
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import Limits, Writer

if TYPE_CHECKING:
    from leanbase_relay.intake.capture_api import CaptureApi


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes parts; keeps none."""

    config: Config
    clock: Clock
    keys: KeyRing

    def writer(
        self,
        store: Store,
        lock: Presence,
        *,
        on_committed: Callable[[Mapping[str, Totals]], None],
        on_stored: Callable[[Sequence[Row]], None],
        on_damage: Callable[[Exception], None],
    ) -> Writer:
        """The writer of this store."""
        config = self.config
        limits = Limits(
            max_bytes=config.store.max_bytes,
            drop_oldest=config.store.when_full == "drop_oldest",
            dead_letter_bytes=config.dead_letters.max_bytes,
            max_chunk_events=config.batch.max_events,
        )
        return Writer(
            store,
            self.clock,
            limits=limits,
            reserve=Reserve(store.path, min(limits.for_log, limits.max_bytes // 4)),
            lock=lock,
            on_committed=on_committed,
            on_stored=on_stored,
            on_damage=on_damage,
        )

    def lane(self, project: ProjectConfig, reader: Reader, writer: Writer) -> Lane:
        """The lane of a project, with a reader of its own."""
        return Lane(
            project.name,
            reader=reader,
            writer=writer,
            upstream=self.upstream(project),
            clock=self.clock,
            settings=self.lane_settings(),
        )

    def upstream(self, project: ProjectConfig) -> Upstream:
        """The upstream as this project's key opens it."""
        upstream = self.config.upstream
        return Upstream(
            upstream.url,
            key=project.api_key,
            clock=self.clock,
            protocol=upstream.protocol,
            compression=upstream.compression,
            connect_timeout_seconds=upstream.connect_timeout_seconds,
            timeout_seconds=upstream.timeout_seconds,
            proxy=upstream.proxy,
            ca_file=upstream.ca_file,
        )

    def lane_settings(self) -> Settings:
        """What is said of batches and retries."""
        batch, retry = self.config.batch, self.config.retry
        return Settings(
            max_events=batch.max_events,
            max_bytes=batch.max_bytes,
            max_wait_seconds=batch.max_wait_seconds,
            first_delay_seconds=retry.first_delay_seconds,
            max_delay_seconds=retry.max_delay_seconds,
            max_attempts=retry.max_attempts,
        )

    def judge(self, known: Known | None, *, from_sdk: bool = False) -> Judge:
        """A judge of events: one for each thread that judges."""
        config = self.config
        return Judge(
            max_bytes=config.events.max_bytes,
            projects=frozenset(config.projects),
            disable_geoip=config.events.disable_geoip,
            max_events=config.batch.max_events,
            profiles=Profiles(config.events.person_profiles, known),
            keys=self.keys,
            from_sdk=from_sdk,
        )

    def known(self, house: ExitStack) -> Known | None:
        """The ids of persons, where intake asks for them; closed with the house."""
        if self.config.events.person_profiles != "identified_only":
            return None
        known = Known(self.config.store.path)
        house.callback(known.close)
        return known

    def admission(self, max_descriptors: int) -> Admission:
        """The door of the socket."""
        return Admission(
            self.clock,
            allow_uids=self.config.socket.allow_uids,
            max_connections=descriptors.for_producers(
                max_descriptors, lanes=len(self.config.projects)
            ),
        )

    def socket_intake(
        self, writer: Writer, known: Known | None, admission: Admission
    ) -> SocketIntake:
        """Intake by the JSON Lines socket."""
        return SocketIntake(
            judge=self.judge(known),
            writer=writer,
            clock=self.clock,
            max_event_bytes=self.config.events.max_bytes,
            admission=admission,
        )

    def capture_api(self, writer: Writer, known: Known | None) -> "CaptureApi":
        """Intake by HTTP; for those who have an address for it."""
        # aiohttp takes 12 MB, which nobody is to pay for nothing.
        from leanbase_relay.intake.capture_api import CaptureApi

        return CaptureApi(
            a_judge=lambda: self.judge(known, from_sdk=True),
            keys=self.keys,
            writer=writer,
            clock=self.clock,
            allow_uids=self.config.socket.allow_uids,
        )

    def spool(
        self,
        writer: Writer,
        known: Known | None,
        progress: Iterable[FileProgress],
        max_descriptors: int,
    ) -> Spool | None:
        """Intake by the spool directory, where there is one."""
        if self.config.spool.path is None:
            return None
        return Spool(
            self.config.spool,
            judge=self.judge(known),
            writer=writer,
            clock=self.clock,
            projects=frozenset(self.config.projects),
            max_event_bytes=self.config.events.max_bytes,
            max_removed=descriptors.for_removed_files(max_descriptors),
            progress=progress,
        )
