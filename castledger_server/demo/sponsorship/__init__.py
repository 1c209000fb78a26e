"""The world of sponsors: made by seed, told through a tracker, a collector and the API, and held up to what is true."""
