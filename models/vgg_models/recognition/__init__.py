"""Recognising an architecture by the keys and shapes of a state dict, without a class or a name."""
