"""The daemon: its life from start to stop, in that order, and who watches whom.

Start: lock, store, listeners, threads, ready. Stop: no more events in, what was
received is committed, the request under way gets a bounded time, the writer ends, the
store closes, the lock goes. A thread that falls takes the process with it: an
`alive, useless, unnoticed` daemon is worse than one that systemd restarts.
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from leanbase_relay import __version__, descriptors, sockets, systemd, watch
from leanbase_relay import config as configuration
from leanbase_relay.assembly import Parts
from leanbase_relay.clock import Clock, Moment, SystemClock
from leanbase_relay.config import Config
from leanbase_relay.control import Aside, Command, Control
from leanbase_relay.errors import (
    ConfigError,
    RelayError,
    Stopping,
    StoreGone,
    StoreUnavailable,
)
from leanbase_relay.forward.standing import LaneStatus
from leanbase_relay.intake.event import Judge
from leanbase_relay.keys import KeyRing
from leanbase_relay.observe.answers import Answers
from leanbase_relay.observe.listening import Listening
from leanbase_relay.observe.metrics import Measured, exposition
from leanbase_relay.observe.rates import Rates
from leanbase_relay.seldom import Seldom
from leanbase_relay.status import (
    ProjectView,
    SpoolView,
    StoreView,
    View,
    one_line,
    screen_status,
    seconds,
)
from leanbase_relay.store import aside, lock, place
from leanbase_relay.store.damage import is_damage
from leanbase_relay.store.names import Names
from leanbase_relay.store.reader import Life, Reader
from leanbase_relay.store.recovery import Recovery
from leanbase_relay.store.store import Store
from leanbase_relay.store.totals import Totals
from leanbase_relay.store.writer import IDLE_SECONDS
from leanbase_relay.watch import Failure, Watch
from leanbase_relay.wishes import Wishes

log = logging.getLogger(__name__)

# What stopping may take, in order; their sum stays below the 10 s of the contract.
INTAKE_SECONDS = 2.0
DELIVERY_SECONDS = 3.0
ABORT_SECONDS = 1.0
SPOOL_SECONDS = 1.0
WRITER_SECONDS = 2.0
CONTROL_SECONDS = 0.25
LOOP_SECONDS = 0.25

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
# A broken lease (see intake.lease) is told by SIGIO, whose default is to end us.
_BLOCKED = _SIGNALS | {signal.SIGIO}


class Daemon:
    """One relay: everything between its lock and its exit code.

    Args:
        load: reads the configuration anew, for SIGHUP.
    """

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        clock: Clock | None = None,
    ) -> None:
        self._config = self._started_with = config
        self._load = load
        self._clock = clock or SystemClock()
        self._failure = Failure(self._foresaw)
        self._seldom_none_left = Seldom(self._clock)
        self._threads: list[threading.Thread] = []
        self._reload_problem: str | None = None
        self._watch = Watch(self._clock, on_hang=_show_stacks)
        self._keys = KeyRing(config.projects.values())

    def run(self) -> int:
        """Live until SIGTERM or SIGINT; returns the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        os.umask(0o027)  # the store is for its owner, and to be read by its group
        with ExitStack() as house:
            try:
                self._start(house)
            except Stopping:  # a salvage takes its time; the next start begins it anew
                log.info("stopped")
                return 0
            systemd.notify("READY=1", f"MAINPID={os.getpid()}")
            log.info("started version=%s pid=%d", __version__, os.getpid())
            self._watch_signals()
            systemd.notify("STOPPING=1")
            log.info("stopping")
            self._failure.leaving = True
            # From here on a second signal ends us at once.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
            self._stop()
        log.info("stopped")
        return 1 if self._failure.error is not None else 0

    # Start.

    def _start(self, house: ExitStack) -> None:
        config = self._config
        place.check(config.store.path)
        place.make_directory(config.store.path.parent)
        held = house.enter_context(lock.held(config.store.path))
        self._started_at = self._clock.monotonic()
        self._begun = Moment.now(self._clock)
        store = Recovery(
            config.store.path.resolve(),
            self._clock,
            config.projects.keys(),
            is_stopping=_is_told_to_stop,
        ).open()
        house.callback(self._close_store, store)
        parts = Parts(config, self._clock, self._keys)
        self._rates = Rates(self._clock, store.totals, list(config.projects))
        self._names = Names(self._clock)
        self._writer = parts.writer(
            store,
            held,
            on_committed=self._committed,
            on_stored=self._names.note,
            on_damage=lambda error: self._failure.record("writer", error),
        )
        self._reader = self._open_reader(house)
        self._last_before = self._reader.last_chunk()
        self._lanes = {
            name: replace(
                parts, clock=self._watch.pulse(f"lane {name}", self._longest_attempt)
            ).lane(project, self._open_reader(house), self._writer)
            for name, project in config.projects.items()
        }
        known = parts.known(house)
        progress = self._reader.spool_progress()
        may_open = descriptors.raise_limit()
        spool_clock = self._watch.pulse("spool", lambda: watch.SPOOL_BUSY_SECONDS)
        self._spool = replace(parts, clock=spool_clock).spool(
            self._writer, known, progress, may_open
        )
        self._admission = parts.admission(may_open)
        self._intake = parts.socket_intake(self._writer, known, self._admission)
        self._control = Control(self._commands(lambda: parts.judge(known)))
        listening = sockets.opened(config, house)
        self._capture_api = (
            parts.capture_api(self._writer, known) if listening.http else None
        )
        self._listening = Listening(
            Answers(lambda: self._look(history=True), self._metrics)
        )
        self._writer_thread = self._thread("writer", self._writer.run)
        self._watch.add_steps(
            "writer", lambda: self._writer.stepped_at, every_seconds=IDLE_SECONDS
        )
        self._lane_threads = [
            self._thread(f"lane {name}", lane.run) for name, lane in self._lanes.items()
        ]
        if self._spool is not None:
            self._spool.prepare()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._task_fell)
        self._loop_thread = self._thread("intake", self._loop.run_forever)
        self._watch.add_loop("intake", self._loop)
        self._in_loop(self._intake.start(listening.intake))
        self._in_loop(self._control.start(listening.control))
        if self._capture_api is not None:
            self._in_loop(self._capture_api.start(listening.http))
        self._in_loop(self._listening.start(listening.metrics))
        self._spool_thread = (
            self._thread("spool", self._spool.run) if self._spool else None
        )

    def _open_reader(self, house: ExitStack) -> Reader:
        reader = Reader(self._config.store.path)
        house.callback(reader.close)
        return reader

    def _foresaw(self, error: BaseException) -> bool:
        """If the store is damaged, have the next start mend it; see `Failure`."""
        if isinstance(error, StoreGone):
            log.critical("store_gone error=%s", error)
            return True
        if not is_damage(error):
            return False
        log.critical("store_damaged error=%s; the next start salvages it", error)
        aside.suspect(self._config.store.path, str(error))
        return True

    # Threads.

    def _longest_attempt(self) -> float:
        return self._config.upstream.timeout_seconds + watch.NAME_SERVERS_SECONDS

    def _thread(self, name: str, body: Callable[[], object]) -> threading.Thread:
        """Start a thread under a roof: what it raises ends the process."""

        def roof() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - the one place for all
                self._failure.record(name, error)

        # Daemonic: a lane that hangs in a name server must not keep us from leaving.
        thread = threading.Thread(target=roof, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _task_fell(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        error = context.get("exception") or RuntimeError(context.get("message"))
        if isinstance(error, OSError) and error.errno in descriptors.NONE_LEFT:
            if times := self._seldom_none_left.times():
                log.error("no_descriptors_left times=%d error=%s", times, error)
        elif isinstance(error, OSError):  # of one connection
            loop.default_exception_handler(context)
        else:
            self._failure.record("intake", error)

    def _in_loop(self, coroutine: Any, timeout_seconds: float = 10.0) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_seconds)

    def _committed(self, totals: Mapping[str, Totals]) -> None:
        self._rates.note(totals)
        for lane in self._lanes.values():
            lane.tell(totals)

    # Signals.

    def _watch_signals(self) -> None:
        every = self._watch.every_seconds
        while True:
            self._watch.step(self._state)
            number = watch.next_signal(_SIGNALS, every)
            if number == signal.SIGHUP:
                systemd.notify_reloading(self._clock)
                self._reload()
                systemd.notify("READY=1")
            elif number == signal.SIGUSR1:
                _show_stacks()
            elif number is not None:
                return

    def _state(self) -> str:
        """How it stands, in one line, from memory alone."""
        return one_line(
            [lane.status().state for lane in self._lanes.values()],
            waiting=sum(one.backlog_events for one in self._writer.totals.values()),
            refuses=self._writer.full or self._writer.trouble is not None,
            problem=self._reload_problem,
        )

    def _reload(self) -> None:
        """Take the new configuration, or keep the old one and say why."""
        try:
            config = self._load()
        except ConfigError as error:
            for problem in error.problems:
                log.error("config_refused problem=%s", problem)  # noqa: TRY400 - no trace
            self._reload_problem = (
                "The configuration was not read again, the old one stays: "
                + "; ".join(error.problems)
            )
            return
        self._reload_problem = _needs_restart(self._started_with, config)
        self._config = config
        parts = Parts(config, self._clock, self._keys)
        kept = [
            config.projects[name] for name in self._lanes if name in config.projects
        ]
        self._keys.renew(kept)
        for project in kept:
            upstream = parts.upstream(project)
            self._lanes[project.name].reconfigure(upstream, parts.lane_settings())
        log.info("config_reloaded")
        if self._reload_problem:
            log.warning("config_needs_restart %s", self._reload_problem)

    # Stop.

    def _stop(self) -> None:
        self._clock.stop()  # lanes and spool end at their next step
        with contextlib.suppress(TimeoutError, RuntimeError):
            self._in_loop(self._stop_intake(), INTAKE_SECONDS + 0.5)
        _join(self._lane_threads, DELIVERY_SECONDS, self._clock)
        for lane in self._lanes.values():
            lane.upstream.abort()
        _join(self._lane_threads, ABORT_SECONDS, self._clock)
        if self._spool_thread is not None:
            self._spool_thread.join(SPOOL_SECONDS)
        self._writer.finish()
        self._writer_thread.join(WRITER_SECONDS)
        with contextlib.suppress(TimeoutError, RuntimeError):
            self._in_loop(self._listening.stop(), CONTROL_SECONDS)
            self._in_loop(self._control.stop(CONTROL_SECONDS / 2), CONTROL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join(LOOP_SECONDS)
        if not self._loop_thread.is_alive():
            self._loop.close()  # or the interpreter does, at its end, and complains

    async def _stop_intake(self) -> None:
        stops = [self._intake.stop(INTAKE_SECONDS)]
        if self._capture_api is not None:
            stops.append(self._capture_api.stop(INTAKE_SECONDS))
        await asyncio.gather(*stops)

    def _close_store(self, store: Store) -> None:
        # A writer that hangs on a dead disk keeps its connection; the process ends.
        thread = getattr(self, "_writer_thread", None)
        if thread is None or not thread.is_alive():
            store.close()

    # Commands.

    def _commands(self, judge: Callable[[], Judge]) -> dict[str, Command]:
        beside = Aside()
        wishes = Wishes(
            self._config.store.path,
            apply=lambda change: self._writer.apply(change).wait(),
            judge=judge,
            projects=frozenset(self._config.projects),
            clock=self._clock,
            max_chunk_events=self._config.batch.max_events,
        )
        granted = {
            **wishes.by_name(),
            "purge_backlog": lambda request: self._purge(wishes, request),
        }
        return {
            "status": lambda request: self._look(history=bool(request.get("history"))),
            "metrics": lambda _: {"metrics": self._metrics()},
            "names": beside(lambda _: self._names.look()),
            "flush": self._flush,
        } | {name: beside(wish) for name, wish in granted.items()}

    def _look(self, *, history: bool = False) -> dict[str, Any]:
        config = self._config
        try:
            projects = self._project_views()
        except sqlite3.Error as error:  # whoever looks is told; we go on
            raise StoreUnavailable(f"the store cannot be read: {error}") from error
        problems = [self._reload_problem] if self._reload_problem else []
        problems += self._admission.problems()
        if self._capture_api is not None:
            problems += self._capture_api.problems()
        view = View(
            now=self._clock.wall(),
            store=StoreView(
                path=config.store.path,
                bytes=self._reader.size(),
                max_bytes=config.store.max_bytes,
                full=self._writer.full,
                trouble=self._writer.trouble,
                set_aside=aside.reports(config.store.path),
            ),
            spool=self._spool_view(),
            projects=projects,
            pid=os.getpid(),
            uptime_seconds=self._clock.monotonic() - self._started_at,
            problems=problems,
        )
        beside = {"rates": self._rates.flow().as_json()}
        if history:
            beside["history"] = self._rates.history()
        return screen_status(view, **beside)

    def _project_views(self) -> dict[str, ProjectView]:
        now = self._clock.monotonic()
        refused_ms = self._reader.lately_refused_ms()
        projects = {}
        for name, lane in self._lanes.items():
            look = lane.status()
            projects[name] = ProjectView(
                url=lane.upstream.url,
                totals=self._writer.totals.get(name, Totals()),
                oldest_at=self._oldest_at(name),
                refused_at=seconds(refused_ms.get(name)),
                lane=look,
                max_request_bytes=self._config.batch.max_bytes,
                next_attempt_in_seconds=None
                if look.next_attempt_at is None
                else max(look.next_attempt_at - now, 0.0),
            )
        return projects | self._left_over(refused_ms)

    def _oldest_at(self, project: str) -> float | None:
        oldest = self._reader.oldest(project)
        life = Life(self._last_before, self._begun.told(self._clock))
        return oldest.since(life) if oldest else None

    def _left_over(self, refused_ms: Mapping[str, int]) -> dict[str, ProjectView]:
        """What waits of projects that are in the store, and not configured now."""
        return {
            name: ProjectView(
                url="",
                totals=totals,
                oldest_at=self._oldest_at(name),
                refused_at=seconds(refused_ms.get(name)),
                lane=LaneStatus(state="held"),
                is_configured=False,
            )
            for name, totals in self._writer.totals.items()
            if name not in self._lanes and totals.backlog_events
        }

    def _metrics(self) -> str:
        lanes = {name: lane.attempts for name, lane in self._lanes.items()}
        return exposition(self._look(), Measured(self._writer.commits, lanes))

    def _spool_view(self) -> SpoolView:
        if self._spool is None:
            return SpoolView(path=None)
        look = self._spool.snapshot()
        return SpoolView(
            look.path, look.waiting_files, look.ignored_files, look.problems
        )

    def _flush(self, request: dict[str, Any]) -> dict[str, Any]:
        """Of one project or of all; and who waits all the same, for how many seconds.

        Raises:
            RelayError: there is no such project.
        """
        project = request.get("project")
        if project is not None and project not in list(self._lanes):  # of any type
            raise RelayError(f"project {project} is not configured")
        names = self._lanes if project is None else [project]
        waits = {name: self._lanes[name].flush() for name in names}
        waiting = {name: round(left, 1) for name, left in waits.items() if left > 0}
        return {"flushing": True, "waiting": waiting}

    def _purge(self, wishes: Wishes, request: dict[str, Any]) -> dict[str, Any]:
        """Give up a slice; once it was the last, a lane may wait with what is gone."""
        answer = wishes.purge_backlog(request)
        if answer["after"] is None:
            for lane in self._lanes.values():
                lane.look_again()
        return answer


def run(load: Callable[[], Config] = configuration.load) -> int:
    """Read the configuration and be the daemon; returns the exit code."""
    return Daemon(load(), load=load).run()


def _show_stacks() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)


def _is_told_to_stop() -> bool:
    """Whether the signal to end waits for us to look at it."""
    return bool(signal.sigpending() & {signal.SIGTERM, signal.SIGINT})


def _needs_restart(old: Config, new: Config) -> str | None:
    """What changed that only a restart takes up."""
    fixed = (
        "store",
        "dead_letters",
        "socket",
        "spool",
        "http",
        "control",
        "events",
        "metrics",
    )
    changed = [name for name in fixed if getattr(old, name) != getattr(new, name)]
    if old.projects.keys() != new.projects.keys():
        changed.append("projects (added or removed)")
    if not changed:
        return None
    return f"The configuration changed in {', '.join(changed)}: restart the relay."


def _join(threads: list[threading.Thread], seconds: float, clock: Clock) -> None:
    """Wait for all of them, so long together."""
    deadline = clock.monotonic() + seconds
    for thread in threads:
        thread.join(max(deadline - clock.monotonic(), 0.0))
