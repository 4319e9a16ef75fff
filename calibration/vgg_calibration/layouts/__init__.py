"""How quantized weights lie in a file, for the sake of loading. Outputs stay the same to the bit."""
