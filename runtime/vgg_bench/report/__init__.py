"""Results as a table in the terminal and as one self-contained page."""
