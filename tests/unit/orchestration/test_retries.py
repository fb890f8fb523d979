"""Every expected error has a rule: it is tried again after a wait that grows, or it fails at once and says why."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction

from coinswarm import errors
from coinswarm.errors import (
    AccessDenied,
    Blocked,
    CoinswarmError,
    ContractViolation,
    GateFailed,
    IntegrityError,
    RateLimited,
    StoreUnavailable,
    Unavailable,
    UserError,
)
from coinswarm.orchestration.defaults import TASK_DEFAULTS
from coinswarm.orchestration.retries import LONGEST_WAIT, ProviderRetryPolicy
from coinswarm.storage.lake import ObjectDiffers

pytestmark = pytest.mark.unit

POLICY = ProviderRetryPolicy()


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("401"),
        Blocked("451"),
        ContractViolation("not JSON"),
        GateFailed("refused"),
        IntegrityError("batch"),
        ObjectDiffers("another content"),
        UserError("unknown"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_policy_when_waiting_cannot_help_then_fails_at_once_with_a_reason(error: Exception) -> None:
    decision = POLICY.evaluate(error, 1, 4)
    assert decision.action is RetryAction.FAIL
    assert decision.reason


@pytest.mark.parametrize("error", [Unavailable("503"), StoreUnavailable("restarting")], ids=["provider", "store"])
def test_policy_when_something_is_away_then_waits_twice_as_long_each_time_up_to_a_limit(error: Exception) -> None:
    decisions = [POLICY.evaluate(error, number, 10) for number in (1, 2, 3, 20)]
    assert {decision.action for decision in decisions} == {RetryAction.RETRY}
    waits = [decision.retry_delay for decision in decisions]
    assert waits == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120), LONGEST_WAIT]


@pytest.mark.parametrize(("asked", "least"), [(1.0, 1), (90.0, 90), (600.0, 600)])
@pytest.mark.parametrize("number", [1, 4])
def test_policy_when_rate_limited_then_waits_what_the_provider_asks_whatever_the_try(
    asked: float, least: int, number: int
) -> None:
    decision = POLICY.evaluate(RateLimited("429", retry_after=asked), number, 4)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is not None
    assert timedelta(seconds=least) <= decision.retry_delay <= timedelta(seconds=least + 2)


def test_policy_when_rate_limited_for_hours_then_asks_again_within_the_limit() -> None:
    assert POLICY.evaluate(RateLimited("418", retry_after=86_400), 1, 4).retry_delay == LONGEST_WAIT


def test_policy_when_the_error_is_nobodys_then_airflow_decides() -> None:
    assert POLICY.evaluate(ZeroDivisionError(), 1, 4).action is RetryAction.DEFAULT


def test_policy_when_all_expected_errors_are_listed_then_each_leaf_has_a_rule() -> None:
    known = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoinswarmError)]
    leaves = [kind for kind in known if not any(other is not kind and issubclass(other, kind) for other in known)]
    assert len(leaves) >= 9
    ruled = [kind for rule in POLICY.rules for kind in rule._resolve_exception_classes()]
    assert [kind.__name__ for kind in leaves if not issubclass(kind, tuple(ruled))] == []


def test_task_defaults_when_read_then_every_task_has_the_policy_and_tries_to_use() -> None:
    assert isinstance(TASK_DEFAULTS["retry_policy"], ProviderRetryPolicy)
    assert TASK_DEFAULTS["retries"] >= 2
