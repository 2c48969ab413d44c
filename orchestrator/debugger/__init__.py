"""What a job's debugger found: read from its files, judged, told to who asked for it."""
