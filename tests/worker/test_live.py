from __future__ import annotations

import hashlib

import pytest

from batchfleet_worker.live import LiveSettings, Merging, hash_of, parse


def test_every_field_is_optional() -> None:
    settings = parse(b"{}")
    assert settings == LiveSettings()
    assert isinstance(settings, LiveSettings)
    assert settings.batching.max_batch_size is None
    assert settings.batching.max_queue_length == 1000
    assert settings.merging.mode is Merging.ENFORCE
    assert settings.requests.timeout_seconds == 300


def test_the_names_are_those_of_the_custom_resource() -> None:
    settings = parse(
        b'{"batching":{"maxBatchSize":64,"maxWaitMilliseconds":5,"maxQueueLength":10},'
        b'"merging":{"mode":"Observe"},"requests":{"timeoutSeconds":60}}'
    )
    assert isinstance(settings, LiveSettings)
    assert settings.batching.max_batch_size == 64
    assert settings.batching.max_wait_milliseconds == 5
    assert settings.batching.max_queue_length == 10
    assert settings.merging.mode is Merging.OBSERVE
    assert settings.requests.timeout_seconds == 60


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "JSON"),
        (b'{"batching":{"maxBatchSize":64', "JSON"),
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (b'{"bathcing":{}}', "bathcing"),
        (b'{"batching":{"maxBatchsize":1}}', "batching.maxBatchsize"),
        (b'{"batching":{"maxBatchSize":0}}', "batching.maxBatchSize"),
        (b'{"batching":{"maxBatchSize":"64"}}', "batching.maxBatchSize"),
        (b'{"batching":{"maxBatchSize":1.5}}', "batching.maxBatchSize"),
        (b'{"merging":{"mode":"On"}}', "merging.mode"),
        (b'{"requests":{"timeoutSeconds":0}}', "requests.timeoutSeconds"),
        (b'{"batching":{"maxWaitMilliseconds":10,"maxQueueLength":0}}', "maxQueueLength 0"),
        (b'{"batching":{"mode":"Automatic"}}', "batching.mode"),
        (b'{"batching":{"targetInterTokenMilliseconds":0}}', "targetInterTokenMilliseconds"),
        (b'{"batching":{"modelLimits":[{"model":"m"}]}}', "batching.modelLimits.0.maxBatchSize"),
        (
            b'{"batching":{"modelLimits":[{"model":"m","maxBatchSize":1},'
            b'{"model":"m","maxBatchSize":2}]}}',
            "modelLimits has more than one entry for the model 'm'",
        ),
        (b'{"merging":{"cacheTTLSeconds":-1}}', "merging.cacheTTLSeconds"),
        (b'{"merging":{"cacheMebibytes":0}}', "merging.cacheMebibytes"),
        (b'{"requests":{"queueTimeoutSeconds":0}}', "requests.queueTimeoutSeconds"),
        (b'{"requests":{"reservedSlotsPercent":91}}', "requests.reservedSlotsPercent"),
        (b'{"requests":{"maxConnectionAgeSeconds":-1}}', "requests.maxConnectionAgeSeconds"),
        (
            b'{"requests":{"rateLimits":[{"scope":"Tenant"}]}}',
            "requests.rateLimits.0: limits nothing",
        ),
        (
            b'{"requests":{"rateLimits":[{"requestsPerMinute":0}]}}',
            "requests.rateLimits.0.requestsPerMinute",
        ),
        (
            b'{"requests":{"rateLimits":[{"requestsPerMinute":1e999}]}}',
            "requests.rateLimits.0.requestsPerMinute",
        ),
        (
            b'{"requests":{"rateLimits":[{"scope":"Service","tenant":"a","tokensPerMinute":1}]}}',
            "names the tenant 'a', but scope Service counts everybody together",
        ),
        (
            b'{"requests":{"rateLimits":[{"tenant":"a","tokensPerMinute":1},'
            b'{"scope":"Tenant","tenant":"a","requestsPerMinute":1}]}}',
            "rateLimits has more than one entry for scope Tenant and tenant 'a'",
        ),
        (
            b'{"requests":{"rateLimits":[{"scope":"Service","tokensPerMinute":1},'
            b'{"scope":"Service","requestsPerMinute":1}]}}',
            "rateLimits has more than one entry for scope Service",
        ),
        (
            b'{"batching":{"maxWaitMilliseconds":5000},"requests":{"timeoutSeconds":5}}',
            "timeoutSeconds 5",
        ),
    ],
)
def test_bad_settings_are_refused_with_one_line_that_names_the_field(
    text: bytes, named: str
) -> None:
    error = parse(text)
    assert isinstance(error, str)
    assert named in error
    assert "\n" not in error


def test_a_queue_timeout_beyond_the_requests_own_is_no_contradiction() -> None:
    settings = parse(b'{"requests":{"timeoutSeconds":5,"queueTimeoutSeconds":60}}')
    assert isinstance(settings, LiveSettings)
    assert settings.requests.queue_timeout_seconds == 60


def test_one_tenant_may_have_a_limit_beside_everybodys() -> None:
    settings = parse(
        b'{"requests":{"rateLimits":[{"requestsPerMinute":600},{"scope":"Service",'
        b'"requestsPerMinute":6000},{"tenant":"a","requestsPerMinute":1200.5}]}}'
    )
    assert isinstance(settings, LiveSettings)
    assert [each.tenant for each in settings.requests.rate_limits] == [None, None, "a"]


def test_the_hash_is_of_the_bytes() -> None:
    assert hash_of(b"{}") == hashlib.sha256(b"{}").hexdigest()[:16]
    assert hash_of(b"{}") != hash_of(b"{ }")
