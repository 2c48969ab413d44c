"""How good the search is: `make bench-tuning`."""
