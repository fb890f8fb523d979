"""Which errors are tried again, and when: the error classes of `coinswarm.errors` meet Airflow's retry policy here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.retry_policy import RetryDecision

from coinswarm.errors import (
    AccessDenied,
    Blocked,
    ContractViolation,
    GateFailed,
    IntegrityError,
    RateLimited,
    StoreUnavailable,
    Unavailable,
    UserError,
)

LONGEST_WAIT = timedelta(minutes=15)


class ProviderRetryPolicy(ExceptionRetryPolicy):
    """Retry what can heal by itself, honour a provider's own waiting time, and fail at once on everything else."""

    def __init__(self) -> None:
        """Build the rules; the class takes no options so that there is one policy."""
        super().__init__(
            [
                RetryRule(AccessDenied, RetryAction.FAIL, reason="the connection needs mending"),
                RetryRule(Blocked, RetryAction.FAIL, reason="the provider refuses this region"),
                RetryRule(ContractViolation, RetryAction.FAIL, reason="the payload is not what is documented"),
                RetryRule(GateFailed, RetryAction.FAIL, reason="the quality gate refused the batch"),
                RetryRule(IntegrityError, RetryAction.FAIL, reason="the store contradicts its ledger"),
                RetryRule(UserError, RetryAction.FAIL, reason="the request itself is wrong"),
                RetryRule(Unavailable, RetryAction.RETRY, timedelta(seconds=30), reason="the provider is unavailable"),
                RetryRule(
                    StoreUnavailable, RetryAction.RETRY, timedelta(seconds=30), reason="the store is unavailable"
                ),
                RetryRule(RateLimited, RetryAction.RETRY, timedelta(minutes=1), reason="rate limit"),
            ]
        )

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide for one failure; waits grow with the number of the try and never exceed 15 minutes."""
        if isinstance(exception, RateLimited):
            wait = min(timedelta(seconds=exception.retry_after + 1), LONGEST_WAIT)
            return RetryDecision.retry(wait, f"rate limit: the provider asks for {exception.retry_after:.0f} s")
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action is RetryAction.RETRY and decision.retry_delay is not None:
            wait = min(decision.retry_delay * 2 ** (try_number - 1), LONGEST_WAIT)
            return RetryDecision.retry(wait, decision.reason)
        return decision
