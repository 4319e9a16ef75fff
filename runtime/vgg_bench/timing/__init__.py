"""Timing calls in processes of their own, in turns: what the choice of a backend and vgg-bench share."""
