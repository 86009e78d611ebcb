"""Predictions for rows that users bring, and how far they are from what was measured."""
