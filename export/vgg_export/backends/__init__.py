"""PyTorch as a backend of the runtime and of vgg-bench, plugged in by entry points."""
