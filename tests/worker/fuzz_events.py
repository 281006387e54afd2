"""Random answers and random noise through everything that cuts, splices and folds streams.

    python -m tests.worker.fuzz_events --seconds 60

starts from ``corpus/events``, changes what it finds there, and saves as a new case whatever breaks
a rule of ``streams``.  Every case in the corpus is replayed by test_events.  A case is bytes: two
bytes of switches, the lengths of the pieces, and texts between 0xFF bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

from tests.worker.streams import LOOKALIKES, Spoken, check, check_noise

CORPUS = Path(__file__).parent / "corpus" / "events"
LONGEST_BYTES = 4096


def replay(case: bytes) -> None:
    """Raises AssertionError, or whatever the code itself raises."""
    switches, more, n_lengths = (*case[:3], 0, 0, 0)[:3]
    lengths = [length + 1 for length in case[3 : 3 + n_lengths % 32]]
    rest = case[3 + n_lengths % 32 :]
    if more & 128:
        check_noise(rest, lengths)
        return
    texts = [part.decode(errors="replace") for part in rest.split(b"\xff")]
    check(
        Spoken(
            texts=texts[1:] or [""],
            chat=not switches & 1,
            usage=not switches & 2,
            continuous=bool(switches & 4),
            tool_calls=bool(switches & 8),
            keep_alive=bool(switches & 16),
            crlf=bool(switches & 32),
            spaced=bool(switches & 64),
            model=texts[0],
            counts=(more & 15, n_lengths),
        ),
        lengths,
    )


def changed(case: bytes, other: bytes, chance: random.Random) -> bytes:
    """A neighbour of a case: bytes flipped, cut out, doubled, or spliced with lookalikes."""
    new = bytearray(case or b"\0\0\0")
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(new) + 1)
        match chance.randrange(6):
            case 0 if at < len(new):
                new[at] = chance.randrange(256)
            case 1:
                del new[at : at + chance.randint(1, 16)]
            case 2:
                new[at:at] = chance.choice(LOOKALIKES).encode()
            case 3:
                new[at:at] = b"\xff"
            case 4:
                new[at:at] = other[chance.randrange(len(other) + 1) :][:64]
            case _:
                if len(new) > 1:
                    new[chance.randrange(min(3, len(new)))] = chance.randrange(256)
    return bytes(new[:LONGEST_BYTES])


def explore(seconds: float, seed: int) -> int:
    """How many cases broke a rule; each is in the corpus afterwards."""
    chance = random.Random(seed)
    cases = [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))] or [b"\0\0\0"]
    until = time.monotonic() + seconds
    tried = broken = 0
    while time.monotonic() < until:
        case = changed(chance.choice(cases), chance.choice(cases), chance)
        tried += 1
        try:
            replay(case)
        except Exception:  # noqa: BLE001 - whatever it raises is what is looked for
            broken += 1
            path = CORPUS / f"found-{sha256(case).hexdigest()[:12]}.bin"
            path.write_bytes(case)
            traceback.print_exc()
            print(f"saved {path.name}", file=sys.stderr)
            if broken >= 10:
                break
        else:
            if len(cases) < 2000 and chance.random() < 0.02:
                cases.append(case)
    print(f"{tried} cases, {broken} broken (seed {seed})")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return 1 if explore(arguments.seconds, arguments.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
