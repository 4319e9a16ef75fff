"""From the values of an activation to the range that 8 bits cover."""
