"""The toy study: moons and circles."""
