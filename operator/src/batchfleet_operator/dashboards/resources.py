"""What the pods take of their nodes: by cAdvisor's, kube-state-metrics' and DCGM's names."""

from __future__ import annotations

from batchfleet_operator.dashboards.panels import Query, Row, graph
from batchfleet_operator.dashboards.series import WINDOW, gpu, of

MEBIBYTE = 1024**2  # DCGM counts the frame buffer in these


def row(by: str, legend: str) -> Row:
    """CPU, memory, network and GPUs of the chosen services' pods."""
    pods = f"on (namespace, pod) group_left (service) {_pods()}"

    def of_containers(expr: str) -> str:
        return f"sum by ({by}) ({expr}\n  * {pods})"

    containers = 'namespace=~"$namespace",container!=""'
    network = 'namespace=~"$namespace"'
    return Row(
        "Resources",
        (
            graph(
                "CPU",
                "Cores that the containers use.",
                "short",
                Query(
                    of_containers(
                        f"rate(container_cpu_usage_seconds_total{{{containers}}}[{WINDOW}])"
                    ),
                    legend,
                ),
            ),
            graph(
                "Memory",
                "What cannot be taken back from the containers, and the smallest limit that ends "
                "one.",
                "bytes",
                Query(of_containers(f"container_memory_working_set_bytes{{{containers}}}"), legend),
                Query(
                    of_containers(
                        f'kube_pod_container_resource_limits{{{containers},resource="memory"}}'
                    ),
                    f"limit {legend}",
                ),
            ),
            graph(
                "Network",
                "What the pods receive and send.",
                "Bps",
                *[
                    Query(
                        of_containers(
                            f"rate(container_network_{way}_bytes_total{{{network}}}[{WINDOW}])"
                        ),
                        f"{word} {legend}",
                    )
                    for way, word in (("receive", "in"), ("transmit", "out"))
                ],
            ),
            graph(
                "GPU",
                "Share of the time in which a kernel ran, mean over the pods' GPUs. Needs NVIDIA's "
                "DCGM exporter; full does not mean well used.",
                "percentunit",
                Query(_averaged(by, f"{gpu('DCGM_FI_DEV_GPU_UTIL')}", pods, "/ 100"), legend),
                most=1,
            ),
            graph(
                "GPU memory",
                "Frame buffer in use. vLLM takes its share at the start and keeps it.",
                "bytes",
                Query(
                    _averaged(by, f"{gpu('DCGM_FI_DEV_FB_USED')}", pods, f"* {MEBIBYTE}"),
                    legend,
                ),
            ),
            graph(
                "Restarts",
                "Restarts of containers over the time that is shown.",
                "short",
                Query(
                    of_containers(
                        "increase(kube_pod_container_status_restarts_total"
                        f"{{{containers}}}[$__range])"
                    ),
                    legend,
                ),
                warn=1,
            ),
        ),
    )


def _pods() -> str:
    """1 for each pod of the chosen services, with the service that it is of."""
    return f"(max by (namespace, pod, service) ({of('batchfleet_ready')}) * 0 + 1)"


def _averaged(by: str, expr: str, pods: str, scaled: str) -> str:
    return f"avg by ({by}) (({expr})\n  * {pods}) {scaled}"
