"""Engines that run a variant, behind one protocol: one file each, one line each in base.BACKENDS."""
