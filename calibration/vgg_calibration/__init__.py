"""Real images for parity and calibration."""
