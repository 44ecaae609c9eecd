"""Calibration: from photos or data to the range of every tensor."""
