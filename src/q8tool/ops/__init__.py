"""One registry row per operator, and what the host needs to run any of them."""
