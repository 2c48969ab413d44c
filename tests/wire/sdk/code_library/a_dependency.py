"""What SDK v2 ships beside a script, by ``dependencies=``."""

NAME = "a dependency"
