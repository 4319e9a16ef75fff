"""Writing a bundle: variants, calibration, ranking, report."""
