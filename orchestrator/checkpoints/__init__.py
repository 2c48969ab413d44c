"""Keeps directories that a program writes in step with an object store."""
