"""What is done when a number is out of bounds, and what keeps it from being done:
``alerts.judge``."""
