"""CloudWatch Logs over the logs of jobs: streams, events, and searching them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.aws import log_events
from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.identity import Identity
from orchestrator.api.aws.log_listing import StreamListing, StreamPage, Wanted
from orchestrator.api.aws.log_search import LogSearch
from orchestrator.api.aws.log_streams import GROUP, Stream, invalid, not_found
from orchestrator.api.aws.operations import Handler
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService

_STREAMS = 50


class Logs:
    """The operations of CloudWatch Logs that are served.

    Args:
        jobs: Use cases of training jobs.
        logs: Use cases of logs.
        identity: Whose account this is.
    """

    def __init__(self, jobs: JobService, logs: LogService, identity: Identity) -> None:
        self._logs = logs
        self._identity = identity
        self._listing = StreamListing(jobs, logs)
        self._search = LogSearch(jobs, logs, self._listing)

    def handlers(self) -> Mapping[str, Handler]:
        """Return what answers each operation."""
        return {
            "DescribeLogGroups": self.describe_log_groups,
            "DescribeLogStreams": self.describe_log_streams,
            "GetLogEvents": self.get_log_events,
            "FilterLogEvents": self.filter_log_events,
        }

    def describe_log_groups(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return the one group."""
        prefix, part = asked.get("logGroupNamePrefix", ""), asked.get("logGroupNamePattern", "")
        if not GROUP.startswith(prefix) or part not in GROUP:
            return {"logGroups": []}
        arn = self._arn(caller)
        group = {"logGroupName": GROUP, "arn": f"{arn}:*", "logGroupArn": arn, "storedBytes": 0}
        return {"logGroups": [group]}

    def describe_log_streams(self, asked: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return a page of streams, by name or by the time of their last event."""
        _check_group(asked)
        page = self._listed(asked)
        streams = [self._described(stream, caller) for stream in page.streams]
        token = {} if page.position is None else {"nextToken": page.position}
        return {"logStreams": streams, **token}

    def get_log_events(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return the next lines of one stream; at its end the token stays what it was."""
        _check_group(asked)
        stream = self._search.stream(asked["logStreamName"])
        log = self._logs.log_of(stream.job, stream.host, stream.attempt)
        return log_events.page(log, stream, asked)

    def filter_log_events(self, asked: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        """Return lines of several streams, and a token while there is more to search."""
        _check_group(asked)
        return self._search.page(asked)

    def _listed(self, asked: dict[str, Any]) -> StreamPage:
        prefix, descending = asked.get("logStreamNamePrefix", ""), bool(asked.get("descending"))
        position, limit = asked.get("nextToken"), asked.get("limit", _STREAMS)
        if asked.get("orderBy") != "LastEventTime":
            return self._listing.by_name(Wanted(prefix, descending), position, limit)
        if prefix:
            raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        return self._listing.by_time(descending=descending, position=position, limit=limit)

    def _described(self, stream: Stream, caller: Caller) -> dict[str, Any]:
        described = {
            "logStreamName": stream.name,
            "creationTime": int(stream.job.created_at.timestamp() * 1000),
            "arn": f"{self._arn(caller)}:log-stream:{stream.name}",
            "storedBytes": 0,
        }
        log = self._logs.log_of(stream.job, stream.host, stream.attempt)
        times = log.first_and_last_time_us()
        if times is None:
            return described
        first, last = (time_us // 1000 for time_us in times)
        return described | {
            "firstEventTimestamp": first,
            "lastEventTimestamp": last,
            "lastIngestionTime": last,
        }

    def _arn(self, caller: Caller) -> str:
        return f"arn:aws:logs:{caller.region}:{self._identity.account}:log-group:{GROUP}"


def _check_group(asked: dict[str, Any]) -> None:
    group = asked.get("logGroupName") or asked.get("logGroupIdentifier", "")
    if group != GROUP and not group.endswith(f":log-group:{GROUP}"):
        raise not_found("The specified log group does not exist.")
