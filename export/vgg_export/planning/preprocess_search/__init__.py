"""``--preprocess find``: the preprocessing found on labelled samples."""
