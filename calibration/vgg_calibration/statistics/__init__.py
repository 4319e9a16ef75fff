"""Statistics from running the float model on images: ranges of activations, sensitivity of layers."""
