"""Durable state of all jobs. See README.md for the rows and who writes them."""
