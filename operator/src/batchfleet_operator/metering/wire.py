"""Prometheus' JSON: what its HTTP API answers, checked and made into our values.

Pure; between ``prometheus``, which fetches, and ``answers``.  What nobody reads is left out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from batchfleet_operator.errors import NoAnswerError, PrometheusError, QueryRefusedError
from batchfleet_operator.metering.answers import Alert, Answer, Sample

STRANGE = "the answer is not one of Prometheus' HTTP API: check the address, path included"
MESSAGE_MOST = 500
LATE_INTERVALS = 3
"""A group of rules that was not evaluated for this many of its intervals says nothing."""
LATE_LEAST = timedelta(seconds=60)


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Series(TypedDict):
    """Not a model: a large fleet's answer has fifty thousand, and checking one costs half so."""

    metric: NotRequired[dict[str, str]]
    value: NotRequired[tuple[float, str]]  # not there: a native histogram


class _Vector(_Json):
    result_type: Literal["vector"] = Field(alias="resultType")
    result: list[_Series]


class _Scalar(_Json):
    result_type: Literal["scalar"] = Field(alias="resultType")
    result: tuple[float, str]


class _Other(_Json):
    result_type: Literal["matrix", "string"] = Field(alias="resultType")
    result: Any


class _Query(_Json):
    status: Literal["success"]
    data: Annotated[_Vector | _Scalar | _Other, Field(discriminator="result_type")]
    warnings: list[str] = Field(default_factory=list)
    infos: list[str] = Field(default_factory=list)


class _Active(_Json):
    labels: dict[str, str]
    state: Literal["pending", "firing"]


class _Rule(_Json):
    name: str
    type: str
    health: str = "ok"
    last_error: str = Field("", alias="lastError")
    last_evaluation: datetime | None = Field(None, alias="lastEvaluation")
    alerts: list[_Active] = Field(default_factory=list)


class _Group(_Json):
    interval: float = 0.0
    rules: list[_Rule]


class _Groups(_Json):
    groups: list[_Group]


class _Rules(_Json):
    status: Literal["success"]
    data: _Groups


class _Failure(_Json):
    status: Literal["error"]
    error_type: str = Field("", alias="errorType")
    error: str


def answer(body: bytes, now: float, most_seconds: float) -> Answer:
    """Of ``/api/v1/query``.  ``now``: Unix time by the server's clock, or the time that was asked
    for; an answer of another time is none.

    Raises :class:`NoAnswerError`.
    """
    try:
        found = _Query.model_validate_json(body)
        data = found.data
        samples: list[Sample] = []
        moments: list[float] = []
        if isinstance(data, _Vector):
            plain = [each for each in data.result if "value" in each]
            samples = [Sample(each.get("metric", {}), float(each["value"][1])) for each in plain]
            moments = [each["value"][0] for each in plain]
        elif isinstance(data, _Scalar):
            samples = [Sample({}, float(data.result[1]))]
            moments = [data.result[0]]
    except ValueError as error:  # pydantic's is one, too
        raise NoAnswerError(STRANGE) from error
    # A query is evaluated when it is asked: what is older was kept by something in between.
    if any(abs(now - at) > most_seconds for at in moments):
        raise NoAnswerError(f"its answers are more than {most_seconds:g} s old: is there a cache?")
    at = moments[0] if moments else None
    return Answer(data.result_type, samples, found.warnings, found.infos, at)


def alerts(body: bytes, now: datetime) -> list[Alert]:
    """Of ``/api/v1/rules``: each alert rule, and each of its alerts.  ``now`` by Prometheus' clock.

    Raises :class:`NoAnswerError`.
    """
    try:
        found = _Rules.model_validate_json(body)
    except ValidationError as error:
        raise NoAnswerError(STRANGE) from error
    told = []
    for group in found.data.groups:
        for rule in group.rules:
            if rule.type != "alerting":
                continue
            told.append(_rule(rule, group.interval, now))
            told += [Alert(rule.name, each.state, each.labels) for each in rule.alerts]
    return told


def _rule(rule: _Rule, interval_seconds: float, now: datetime) -> Alert:
    if rule.health == "err":
        return Alert(rule.name, None, problem=rule.last_error[:MESSAGE_MOST] or "it fails")
    late = max(LATE_INTERVALS * timedelta(seconds=interval_seconds), LATE_LEAST)
    at = rule.last_evaluation
    if rule.health != "ok" or (at is not None and now - at > late):
        return Alert(rule.name, None)
    return Alert(rule.name, "inactive")


def failure(status: int, body: bytes) -> PrometheusError:
    """Of an answer that is not 200.  Only what Prometheus' API says is told on: an address that is
    not one of a Prometheus must not speak through our status."""
    if status in (401, 403):
        return NoAnswerError(f"HTTP {status}: it does not take the credentials")
    if 300 <= status < 400:
        return NoAnswerError(
            f"HTTP {status}: it redirects, which is not followed; name its final address"
        )
    try:
        said = _Failure.model_validate_json(body)
    except ValidationError:
        return NoAnswerError(f"HTTP {status}: {STRANGE}")
    text = said.error[:MESSAGE_MOST]
    if status in (400, 422):
        return QueryRefusedError(text)
    return NoAnswerError(f"HTTP {status}: {text}")
