"""What a section of the settings is, and the sections of the agent server: runs, threads, the store."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Section(BaseModel):
    """A part's settings; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class StoreSettings(Section):
    """The long-term store of agents and clients."""

    fields: str | None = Field(
        "$",
        description="Paths of an item's value that it is found by, with commas between them; $: the whole value; "
        "empty: the store is not searched by meaning.",
    )
    ttl_minutes: float | None = Field(
        None, gt=0, description="How long an item is kept that says nothing of it, in minutes; empty: for ever."
    )
    refresh_on_read: bool = Field(True, description="Whether reading an item lets the time that it is kept begin anew.")


class RunSettings(Section):
    """Runs of agents."""

    worker: bool = Field(
        True, description="Whether the API's process executes runs too; false where `python -m app worker` runs."
    )
    concurrency: int = Field(200, ge=1, description="Runs that one process executes at once.")
    tenant_active: int = Field(200, ge=1, description="Runs of one tenant that are executed at once; others wait.")
    tenant_queued: int = Field(1000, ge=0, description="Runs of one tenant that may wait; more are refused with 429.")
    timeout_s: float = Field(1800.0, gt=0, description="Longest time for one run, in seconds, waiting not counted.")
    attempts: int = Field(5, ge=1, description="Processes that may die in one run before it is given up.")
    drain_s: float = Field(3.0, ge=0, description="How long runs may go on after a SIGTERM before others take over.")
    webhook_secret: SecretStr | None = Field(
        None, description="Key that calls of webhooks are signed with; empty: runs may name no webhook."
    )
    webhook_hosts: str | None = Field(
        None, description="Hosts of an intranet that webhooks may call, as in SOURCES__ALLOWED_HOSTS; empty: none."
    )
    log_mb: int = Field(
        64, ge=1, description="Most of what one run has streamed that is kept, in MiB; the oldest goes first."
    )
    log_days: float = Field(7.0, gt=0, description="How long it is kept after the run's end, in days.")


class ThreadSettings(Section):
    """Threads and their checkpoints: how many are kept, and for how long."""

    ttl_minutes: float | None = Field(
        None, gt=0, description="A new thread is deleted this long after its last change; empty: never."
    )
    keep_checkpoints: int | None = Field(
        100, ge=1, description="Newest checkpoints of a thread that are kept; empty: all."
    )
    keep_checkpoint_days: int | None = Field(
        None, ge=1, description="Age above which only the newest checkpoint of a thread is kept; empty: any."
    )
    checkpoint_max_kb: int = Field(
        16_384, ge=64, description="Most that one step of a run may add to the state of its thread, in KiB."
    )
