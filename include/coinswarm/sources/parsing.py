"""From landed bytes to checked records: one path for tasks, command line and tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coinswarm.datasets import Dataset, dataset_named
from coinswarm.datasets.records import FieldError, Record, Rejected, check
from coinswarm.errors import UserError
from coinswarm.sources.spec import Parser, Request, SourceSpec


def parser_for(spec: SourceSpec, dataset: str) -> Parser:
    """The parser that a source has for a dataset.

    Raises:
        UserError: it has none; the message lists what it has.
    """
    for feed in spec.feeds:
        if feed.dataset == dataset:
            return feed.parse
    if dataset in spec.parsers:
        return spec.parsers[dataset]
    known = sorted({feed.dataset for feed in spec.feeds} | set(spec.parsers))
    raise UserError(f"{spec.slug} has no dataset {dataset[:40]!r}; it has {', '.join(known)}")


def parse_payload(parse: Parser, body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Parse a body and check every record against its dataset: what comes out fits the table.

    A row that repeats an earlier one word for word is given again (publishing keeps one); a row that has the key of an
    earlier one and says something else is rejected: of a contradiction the body's first word counts.

    Raises:
        ContractViolation: the body as a whole is unusable.
    """
    dataset = dataset_named(request.dataset)
    seen: dict[tuple[Any, ...], Record] = {}
    for row, outcome in enumerate(parse(body, request)):
        if isinstance(outcome, Record):
            try:
                check(dataset, outcome, request.received_at)
            except FieldError as error:
                yield Rejected(row, error.field, error.reason, _payload(outcome))
                continue
            earlier = seen.setdefault(natural_key(dataset, outcome), outcome)
            if earlier != outcome:
                reason = "the same key as an earlier row of this body, and other values"
                yield Rejected(row, dataset.key[-1], reason, _payload(outcome))
                continue
        yield outcome


def natural_key(dataset: Dataset, record: Record) -> tuple[Any, ...]:
    """Symbol and key columns of a record: what identifies it within its source."""
    own = {"event_at": record.event_at, "published_at": record.published_at}
    return (record.symbol, *(own[name] if name in own else record.values.get(name) for name in dataset.key))


def _payload(record: Record) -> dict[str, Any]:
    return {"symbol": record.symbol[:100], "event_at": record.event_at, **record.values}
