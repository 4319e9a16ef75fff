"""Layouts of quantized weights in a file, for faster loading. Outputs stay equal to the bit."""
