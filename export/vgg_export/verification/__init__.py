"""Holding every variant against eager PyTorch."""
