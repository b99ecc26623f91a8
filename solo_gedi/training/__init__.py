"""Pretraining and the linear probe."""
