"""``python -m batchfleet_operator.rules``: the command line, as ``make generate`` uses it."""

import sys

from batchfleet_operator import generated
from batchfleet_operator.rules import files

sys.exit(generated.main(files(), "python -m batchfleet_operator.rules"))
