"""The operator and trigger of the live feeds: a shard's pump runs in a triggerer, for as long as a session takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TaskSuccessEvent, TriggerEvent

from coinswarm.orchestration.tick_runs import SESSION_SECONDS, ShardRun, in_airflow, stop_leaving
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.shards import check_shard

if TYPE_CHECKING:
    from airflow.sdk import Context


class TickStreamTrigger(BaseTrigger):
    """Pumps one shard until its session is over.

    It tells nothing but its end, a success with the pump's counters: changes of state are in the log, ticks in Redis.
    Two copies may run at once, for instance after a network partition: the lease lets one of them write.
    """

    def __init__(
        self,
        shard: str,
        session_seconds: float = SESSION_SECONDS,
        since: str = "",
        settings: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        """Plain values only, as they are kept in Airflow's database.

        Args:
            shard: name of the shard.
            session_seconds: length of a session.
            since: ISO time at which the session began, from the run; empty: when the trigger starts.
            settings: those of `TickSettings` that differ from the defaults.
            unknown: arguments of another release: a deferred task outlives the deployment of a new one.
        """
        super().__init__()
        self.shard = shard
        self.session_seconds = session_seconds
        self.since = since
        self.settings = dict(settings or {})
        if unknown:
            self.log.warning("arguments of another release are ignored: %s", ", ".join(sorted(unknown)))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{__name__}.{type(self).__name__}", {
            "shard": self.shard,
            "session_seconds": self.session_seconds,
            "since": self.since,
            "settings": self.settings,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Pump; cancelling stops it at once, in an orderly way.

        Raises:
            CoinswarmError: the pump cannot work at all; Airflow tries again.
        """
        since = datetime.fromisoformat(self.since) if self.since else datetime.now(UTC)
        settings = TickSettings.from_mapping(self.settings)
        counters = await ShardRun(self.shard, settings, in_airflow(), self.session_seconds, since).until_due()
        yield TaskSuccessEvent(xcoms={"return_value": counters})

    async def on_kill(self) -> None:
        """Stop what lingers of an earlier session.

        Our own pump was stopped by being cancelled. Nothing is written to what triggerers share: this is called as well
        in one that comes back after its trigger was given to another, which must not be disturbed.
        """
        await stop_leaving(self.shard)


class TickStreamOperator(BaseOperator):
    """Holds a shard's live feed for one session, without a worker slot.

    With `start_from_trigger` the task never touches a worker while all is well. Such a trigger belongs to no queue, and
    `dag.test()` cannot run it; without, a worker defers the task, and its trigger goes to the task's queue.
    """

    template_fields = ("since",)
    ui_color = "#cfe2f3"

    def __init__(
        self,
        *,
        shard: str,
        session_seconds: float = SESSION_SECONDS,
        since: str = "{{ dag_run.start_date.isoformat() }}",
        settings: Mapping[str, Any] | None = None,
        start_from_trigger: bool = True,
        **kwargs: Any,
    ) -> None:
        """Arguments as those of the trigger.

        Raises:
            UserError: there is no such shard or setting.
        """
        super().__init__(**kwargs)
        check_shard(shard)
        TickSettings.from_mapping(settings or {})
        self.shard = shard
        self.session_seconds = session_seconds
        self.since = since
        self.settings = dict(settings or {})
        self.start_from_trigger = start_from_trigger
        if start_from_trigger:
            trigger_cls, arguments = self._trigger().serialize()
            self.start_trigger_args = StartTriggerArgs(
                trigger_cls=trigger_cls, trigger_kwargs=arguments, next_method="execute_complete", timeout=None
            )

    def execute(self, context: Context) -> None:
        """Defer to the trigger."""
        self.defer(trigger=self._trigger(), method_name="execute_complete")

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """The trigger's event, where one resumes the task: `dag.test()`."""
        return event

    def _trigger(self) -> TickStreamTrigger:
        return TickStreamTrigger(self.shard, self.session_seconds, self.since, self.settings)
