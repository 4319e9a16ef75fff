"""Engines that run a variant, behind one protocol: one file each, and one line each in registry.BACKENDS."""
