"""``python -m batchfleet_worker``."""

import sys

from batchfleet_worker.cli import main

sys.exit(main())
