"""Comparing every variant with eager PyTorch."""
