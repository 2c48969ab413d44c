"""What runs jobs. See README.md for the states and who writes what."""
