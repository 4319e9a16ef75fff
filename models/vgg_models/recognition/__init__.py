"""Reading an architecture off the keys and shapes of a state dict, with no class and no name given."""
