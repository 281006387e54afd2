"""How many pods a service shall have, from the work that is offered to it: ``autoscale.decide``."""
