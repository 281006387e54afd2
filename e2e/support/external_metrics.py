"""One number for Kubernetes' external metrics API: what a real HorizontalPodAutoscaler acts on.

Runs in a pod, in the worker image; ``hpa.py`` sends this file's text there.  Whatever metric is
asked for, the answer is the content of ``/tmp/value``.  The API server is told not to verify the
certificate, which is made at start and never leaves the pod.
"""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

PORT = 8443
GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
VALUE = Path("/tmp/value")  # noqa: S108 - the pod's own


async def discovery(_: web.Request) -> web.Response:
    resource = {
        "name": "offered",
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    }
    return web.json_response(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": GROUP_VERSION,
            "resources": [resource],
        }
    )


async def values(request: web.Request) -> web.Response:
    item = {
        "metricName": request.match_info["metric"],
        "metricLabels": {},
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": VALUE.read_text().strip(),  # noqa: ASYNC240 - a few bytes in memory
    }
    return web.json_response(
        {
            "kind": "ExternalMetricValueList",
            "apiVersion": GROUP_VERSION,
            "metadata": {},
            "items": [item],
        }
    )


def main() -> None:
    VALUE.write_text("0")
    certificate, key = VALUE.with_name("tls.crt"), VALUE.with_name("tls.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=external-metrics"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    app = web.Application()
    root = f"/apis/{GROUP_VERSION}"
    app.router.add_get(root, discovery)
    app.router.add_get(root + "/namespaces/{namespace}/{metric}", values)
    web.run_app(app, port=PORT, ssl_context=tls, print=None)


if __name__ == "__main__":
    main()
