"""How pods of one revision take the place of another's, and how they leave: ``rollout.split``."""
