"""Measuring side by side: one process per measured thing, in interleaved rounds.

Sessions of onnxruntime in one process disturb each other (their threads spin on the cores of whoever runs next), and
a shared machine drifts. So every subject lives in its own process, waits while the others run, and is compared
round by round.
"""
