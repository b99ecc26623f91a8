"""Configs: composing them, and what they may hold."""
