"""Reading a file of weights without running any code in it."""
