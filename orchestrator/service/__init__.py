"""Use cases: what clients can ask for, whichever way they come in. See README.md."""
