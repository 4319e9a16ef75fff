"""Compression of a network by factorization of its layers, from images without labels."""
