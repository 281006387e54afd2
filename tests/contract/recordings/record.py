"""Record what a real vLLM answers, for the contract test of the simulator.

Start vLLM in the folder that holds the model (``e2e/kind/vllm/make_model.py`` makes it), under a
relative path, so that no path of a machine gets into the recording; then, from the repository:

    python -m tests.contract.recordings.record HOST:PORT generate
    python -m tests.contract.recordings.record HOST:PORT embed      # vLLM with an embedding model

README.md beside this file has the whole commands and the versions that were recorded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.contract.recordings.exchanges import EMBEDDINGS, EXCHANGES, Exchange, send

HERE = Path(__file__).parent
TABLES: dict[str, tuple[Exchange, ...]] = {"generate": EXCHANGES, "embed": EMBEDDINGS}


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[2] not in TABLES:
        sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    folder = HERE / sys.argv[2]
    folder.mkdir(exist_ok=True)
    for exchange in TABLES[sys.argv[2]]:
        answer = send(host, int(port), exchange)
        record = {"status": answer.status, "headers": answer.headers, "text": answer.text}
        (folder / f"{exchange.name}.json").write_text(
            json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        )
        print(answer.status, exchange.name)
    metrics = send(host, int(port), Exchange("metrics", "GET", "/metrics"))
    (folder / "metrics.txt").write_text(metrics.text)


if __name__ == "__main__":
    main()
