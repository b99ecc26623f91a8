"""Trained models, to be used."""
