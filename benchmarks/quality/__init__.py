"""Diagnosis quality: every method on the same blocks, windows and labels."""
