"""How many pods a policy needs for how much attainment: ``python -m bench.autoscale``."""
