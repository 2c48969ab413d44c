"""When and where jobs run: pure decisions, and the loop that carries them out."""
