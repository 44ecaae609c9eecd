"""Training of a new final layer."""
