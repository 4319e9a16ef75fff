"""From image files to the input arrays of a network."""
