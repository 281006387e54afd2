"""What the simulator is started with: vLLM's flags under vLLM's names, and its own beside them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from .batch import Capacity, Timing
from .faults import Faults


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that does not change while the simulator runs."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    model: str = "simulated"
    served_model_names: tuple[str, ...] = ()  # the first is the metrics' model_name; empty: model
    max_model_len: int = 4096
    pooling: bool = False  # serves embeddings instead of completions, as vLLM's --runner says
    capacity: Capacity = field(default_factory=Capacity)
    timing: Timing = field(default_factory=Timing)
    speed: float = 1.0  # every duration of the timing model is divided by this
    output_tokens: int = 64  # mean length of an answer that no limit cuts
    embedding_size: int = 384
    startup_seconds: float = 0.0
    startup_error: str = ""
    faults: Faults = field(default_factory=Faults)
    control_port: int | None = None  # None: nobody can change faults; 0: any free port
    control_host: str = "127.0.0.1"

    @property
    def names(self) -> tuple[str, ...]:
        return self.served_model_names or (self.model,)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number") from None


def _number(text: str) -> float:
    value = _float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of at least 0")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _count(text: str) -> int:
    value = _int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _port(text: str) -> int:
    value = _int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return value


def _percent(text: str) -> float:
    value = _float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``batchfleet-worker simulate``; any other is an error."""
    parser.allow_abbrev = False
    default = Settings()
    capacity, timing = default.capacity, default.timing

    def add(group: Any, flag: str, kind: Any, value: Any, text: str) -> None:
        shown = f"{text} (default: %(default)s)" if value not in (None, "") else text
        group.add_argument(flag, type=kind, default=value, help=shown)

    engine = parser.add_argument_group("as in vLLM")
    add(engine, "--host", str, default.host, "address to listen on")
    add(engine, "--port", _port, default.port, "port to listen on")
    add(engine, "--model", str, default.model, "name of the model")
    engine.add_argument(
        "--served-model-name",
        nargs="+",
        default=[],
        help="names that requests may use; the first stands in the metrics (default: --model)",
    )
    add(engine, "--max-model-len", _count, default.max_model_len, "tokens of prompt and answer")
    add(engine, "--max-num-seqs", _count, capacity.max_num_seqs, "sequences that run at once")
    add(
        engine,
        "--max-num-batched-tokens",
        _count,
        capacity.max_num_batched_tokens,
        "tokens of one iteration",
    )
    add(engine, "--num-gpu-blocks-override", _count, capacity.num_gpu_blocks, "KV cache blocks")
    add(engine, "--block-size", _count, capacity.block_size, "tokens of a KV cache block")
    engine.add_argument(
        "--runner",
        choices=("generate", "pooling"),
        default="generate",
        help="serve completions or embeddings (default: %(default)s)",
    )

    times = parser.add_argument_group("how long things take")
    add(times, "--step-ms", _number, 1e3 * timing.step_seconds, "an iteration that decodes")
    add(
        times,
        "--step-ms-per-seq",
        _number,
        round(1e3 * timing.step_seconds_per_sequence, 6),
        "more for each decoding sequence",
    )
    add(times, "--prefill-ms", _number, 1e3 * timing.prefill_seconds, "an iteration that prefills")
    add(
        times,
        "--prefill-ms-per-token",
        _number,
        round(1e3 * timing.prefill_seconds_per_token, 6),
        "more for each prompt token",
    )
    add(times, "--speed", _positive, default.speed, "divides all of these")
    add(times, "--startup-seconds", _number, default.startup_seconds, "before the port opens")
    add(times, "--output-tokens", _count, default.output_tokens, "mean length of an answer")

    failures = parser.add_argument_group("failures")
    add(failures, "--fail-start", str, "", "print this message and exit 1 instead of serving")
    add(failures, "--fail-error-percent", _percent, 0.0, "requests answered with status 500")
    add(failures, "--fail-slow-factor", _positive, 1.0, "iterations take this many times longer")
    failures.add_argument(
        "--fail-stall", action="store_true", help="accept requests but never compute them"
    )
    failures.add_argument(
        "--fail-crash", action="store_true", help="exit 1 when a request comes in"
    )
    failures.add_argument(
        "--fail-break-after-tokens",
        type=_count,
        help="close the connection of an answer after so many tokens",
    )
    add(
        failures,
        "--fail-drop-pooled-percent",
        _percent,
        0.0,
        "requests on a kept-alive connection that closes unanswered instead",
    )
    add(
        failures,
        "--fail-close-after-percent",
        _percent,
        0.0,
        "answers after which the connection closes unannounced",
    )
    add(failures, "--fail-on-prompt", str, "", "only for requests whose prompt contains this")
    failures.add_argument(
        "--control-port",
        type=_port,
        help="GET and PATCH /faults here to change failures at run time (default: not served)",
    )
    add(failures, "--control-host", str, default.control_host, "address of the control port")


def of(args: argparse.Namespace) -> Settings:
    """The settings that the flags say.  Raises ValueError when they contradict each other."""
    return Settings(
        host=args.host,
        port=args.port,
        model=args.model,
        served_model_names=tuple(args.served_model_name),
        max_model_len=args.max_model_len,
        pooling=args.runner == "pooling",
        capacity=Capacity(
            max_num_seqs=args.max_num_seqs,
            max_num_batched_tokens=args.max_num_batched_tokens,
            num_gpu_blocks=args.num_gpu_blocks_override,
            block_size=args.block_size,
        ),
        timing=Timing(
            step_seconds=args.step_ms / 1e3,
            step_seconds_per_sequence=args.step_ms_per_seq / 1e3,
            prefill_seconds=args.prefill_ms / 1e3,
            prefill_seconds_per_token=args.prefill_ms_per_token / 1e3,
        ),
        speed=args.speed,
        output_tokens=args.output_tokens,
        startup_seconds=args.startup_seconds,
        startup_error=args.fail_start,
        faults=Faults(
            error_percent=args.fail_error_percent,
            slow_factor=args.fail_slow_factor,
            stall=args.fail_stall,
            crash=args.fail_crash,
            break_after_tokens=args.fail_break_after_tokens,
            drop_pooled_percent=args.fail_drop_pooled_percent,
            close_after_percent=args.fail_close_after_percent,
            on_prompt=args.fail_on_prompt,
        ),
        control_port=args.control_port,
        control_host=args.control_host,
    )
