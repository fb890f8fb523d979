"""From landed bytes to checked records: one path for tasks, command line and tests."""

from __future__ import annotations

from collections.abc import Iterator

from coinswarm.datasets import dataset_named
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

    Raises:
        ContractViolation: the body as a whole is unusable.
    """
    dataset = dataset_named(request.dataset)
    for row, outcome in enumerate(parse(body, request)):
        if isinstance(outcome, Record):
            try:
                check(dataset, outcome, request.received_at)
            except FieldError as error:
                yield Rejected(row, error.field, error.reason, {"symbol": outcome.symbol[:100], **outcome.values})
                continue
        yield outcome
