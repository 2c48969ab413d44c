"""Self-contained HTML reports: pure functions of records, curves and log lines. See README.md."""
