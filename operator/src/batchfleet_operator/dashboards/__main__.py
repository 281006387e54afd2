"""``python -m batchfleet_operator.dashboards``: the command line, as ``make generate`` uses it."""

import sys

from batchfleet_operator import generated
from batchfleet_operator.dashboards import files

sys.exit(generated.main(files(), "python -m batchfleet_operator.dashboards"))
