"""``python -m batchfleet_operator``: the same as ``batchfleet-operator``."""

from batchfleet_operator.cli import main

main()
