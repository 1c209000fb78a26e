"""The demo: a believable month of a sample podcast, played through a real tracker and held up to the truth."""
