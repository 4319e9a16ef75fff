"""Reading a file of weights without running anything that it says."""
