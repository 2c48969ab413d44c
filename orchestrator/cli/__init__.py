"""The ``orchestrator`` command: one file per verb, loaded when it is chosen. See README.md."""
