"""``--preprocess find``: the preprocessing that labelled samples show."""
