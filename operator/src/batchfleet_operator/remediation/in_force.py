"""The settings that alert actions have put in place of the spec's: whose they are, what ends them.

``status.automatic`` as stored goes in; as it is to be stored comes out.  Each setting belongs to
the rule that set it last: it comes back when that rule is well, and goes when that rule goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from batchfleet_operator.api.status import Automatic, Intent, Setting
from batchfleet_operator.conditions import time
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.case import Case
from batchfleet_operator.remediation.presets import Policy

HELD_BY_HAND = timedelta(hours=1)
TURNING = ("ScaleBatchSize", "Shed")
"""Actions that somebody who edits the batch would not want to see at once."""


def values(automatic: Automatic | None) -> dict[Setting, int]:
    """What is in force in place of the spec's, in the order in which it comes back."""
    if automatic is None:
        return {}
    held: Mapping[Setting, int | None] = {
        "maxBatchSize": automatic.max_batch_size,
        "maxQueueLength": automatic.max_queue_length,
    }
    return {setting: value for setting, value in held.items() if value is not None}


def owner(automatic: Automatic, setting: Setting) -> str:
    """Name of the rule whose setting it is."""
    if setting == "maxQueueLength" and automatic.queue_rule is not None:
        return automatic.queue_rule
    return automatic.rule


def with_setting(
    automatic: Automatic | None, intent: Intent, value: int | None, case: Case
) -> Automatic | None:
    """``automatic`` with the intent's setting at ``value``; what the spec says anyway is none."""
    assert intent.setting is not None  # noqa: S101 - only asked of intents that have one
    held = values(automatic)
    wanted = {each: number for each, number in held.items() if each != intent.setting}
    own = case.own_limit if intent.setting == "maxBatchSize" else case.queue_length
    if value is not None and value != own:
        wanted[intent.setting] = value
    if automatic is not None and wanted == held:
        return automatic
    owners = {each: owner(automatic, each) for each in held} if automatic is not None else {}
    return _of(wanted, {**owners, intent.setting: intent.rule}, time(case.now), case)


def after_edits(
    automatic: Automatic | None, policies: Sequence[Policy], case: Case
) -> Automatic | None:
    """``automatic`` after what people did: an edit of the spec ends it and holds for an hour; a
    rule that is gone, or only observes by now, leaves nothing behind."""
    acting = {each.name for each in policies if each.mode == "Enforce"}
    if automatic is None:
        turning = [e for e in policies if e.name in acting and e.action in TURNING]
        return _held(turning[0].name, case) if case.edited and turning else None
    if _is_edited(automatic, case):
        return _held(automatic.rule, case)
    if automatic.held_until is not None:
        return automatic if case.now < parse_time(automatic.held_until) else None
    if case.intents or case.paused:
        return automatic
    held = values(automatic)
    owners = {each: owner(automatic, each) for each in held}
    kept = {each: number for each, number in held.items() if owners[each] in acting}
    return automatic if kept == held else _of(kept, owners, automatic.since, case)


def _of(
    wanted: Mapping[Setting, int], owners: Mapping[Setting, str], since: str, case: Case
) -> Automatic | None:
    if not wanted:
        return None
    queue_rule = owners.get("maxQueueLength")
    rule = owners[next(each for each in ("maxBatchSize", *wanted) if each in wanted)]
    return Automatic(
        max_batch_size=wanted.get("maxBatchSize"),
        max_queue_length=wanted.get("maxQueueLength"),
        rule=rule,
        queue_rule=queue_rule if "maxQueueLength" in wanted and queue_rule != rule else None,
        since=since,
        spec_batch_size=case.spec_batch_size,
        spec_queue_length=case.queue_length,
    )


def _held(rule: str, case: Case) -> Automatic:
    return Automatic(
        rule=rule,
        since=time(case.now),
        spec_batch_size=case.spec_batch_size,
        spec_queue_length=case.queue_length,
        held_until=time(case.now + HELD_BY_HAND),
    )


def _is_edited(automatic: Automatic, case: Case) -> bool:
    """Whether the spec's own limit or queue is another than when the operator set one."""
    queue = automatic.spec_queue_length
    return automatic.spec_batch_size != case.spec_batch_size or (
        queue is not None and queue != case.queue_length
    )
