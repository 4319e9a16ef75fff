"""What running the float model over images tells: ranges of activations, and the sensitivity of layers."""
