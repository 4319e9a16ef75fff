"""Timing calls in separate processes that take turns."""
